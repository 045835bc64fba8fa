"""Passwords of the page, as scrypt hashes (RFC 7914) in a file of the manager's own.

``passwords.json`` in the state directory, mode 0600, is wholly the old one or wholly the new one:
``{"users": {NAME: {"uid", "gid", "n", "r", "p", "salt", "hash"}}}``, salt and hash in hexadecimal.
Each hash has its parameters with it, so that they can be raised: one with others is made anew
when its user logs in next.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kcms.errors import ConfigError, Conflict, InvalidRequest, Unavailable
from kcms.manager.sessions import Account
from kcms.node import durable

log = logging.getLogger("kcms.manager")

FILE = "passwords.json"
SHORTEST = 8
LONGEST = 1024
"""Characters; the hash takes any length, the time to read a request does not."""

MOST_USERS = 5000
SALT_BYTES = 16
HASH_BYTES = 32
MEMORY_LIMIT = 1 << 28


@dataclass(frozen=True)
class Cost:
    """The parameters of scrypt: 32 MiB and 0.3 s of a present processor for one hash."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3

    @property
    def possible(self) -> bool:
        power = self.n > 1 and self.n & (self.n - 1) == 0
        return power and 0 < self.p <= 64 and 0 < 128 * self.r * self.n <= MEMORY_LIMIT // 2

    def hash(self, password: str, salt: bytes) -> bytes:
        return hashlib.scrypt(
            _normal(password),
            salt=salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=MEMORY_LIMIT,
            dklen=HASH_BYTES,
        )


@dataclass(frozen=True)
class Entry:
    """A user's password, and whose it is."""

    account: Account
    cost: Cost
    salt: bytes
    hash: bytes

    @classmethod
    def make(cls, account: Account, password: str, cost: Cost) -> Entry:
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(account, cost, salt, cost.hash(password, salt))

    @classmethod
    def nobody(cls, cost: Cost) -> Entry:
        """What no password fits, at the same cost."""
        salt, digest = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(HASH_BYTES)
        return cls(Account("", -1, -1), cost, salt, digest)

    def fits(self, password: str) -> bool:
        return hmac.compare_digest(self.cost.hash(password, self.salt), self.hash)

    def row(self) -> dict[str, Any]:
        ids = {"uid": self.account.uid, "gid": self.account.gid}
        return {**ids, **asdict(self.cost), "salt": self.salt.hex(), "hash": self.hash.hex()}

    @classmethod
    def parse(cls, user: str, row: Any) -> Entry:
        """:raises ConfigError: no such row"""
        try:
            numbers = {name: row[name] for name in ("uid", "gid", "n", "r", "p")}
            if not all(type(each) is int and each >= 0 for each in numbers.values()):
                raise ValueError("a number is none")
            account = Account(user, numbers.pop("uid"), numbers.pop("gid"))
            cost = Cost(**numbers)
            if not cost.possible:
                raise ValueError("parameters that cannot be")
            salt, digest = bytes.fromhex(row["salt"]), bytes.fromhex(row["hash"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the row of {user} cannot be used") from error
        return cls(account, cost, salt, digest)


def _normal(password: str) -> bytes:
    """The same bytes for the same characters, whichever keyboard made them."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def check_password(value: Any) -> str:
    """A new password.  :raises InvalidRequest: it cannot be one"""
    if not isinstance(value, str) or not SHORTEST <= len(value) <= LONGEST:
        raise InvalidRequest(f"a password must be {SHORTEST} to {LONGEST} characters of text")
    if any("\ud800" <= each <= "\udfff" for each in value):
        raise InvalidRequest("a password must be UTF-8 text")
    return value


class Passwords:
    """The file and what it says.  A file that cannot be used is left as it is: no job depends on
    it, so the manager works on, and says to everybody who would log in why that cannot be."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._entries: dict[str, Entry] = {}
        self._trouble = ""
        try:
            self._entries = _read(directory)
        except (OSError, ValueError, ConfigError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._trouble = f"{directory}/{FILE} cannot be used: {reason}"
            log.error("nobody can log in: %s; put a good copy back, or remove it", self._trouble)

    def require(self) -> None:
        """:raises Unavailable: the file cannot be used"""
        if self._trouble:
            raise Unavailable(
                "the manager's file of passwords cannot be used; its journal says why"
            )

    def get(self, user: str) -> Entry | None:
        return self._entries.get(user)

    def put(self, user: str, entry: Entry | None) -> None:
        """Set or take away a password, on the disk first.

        :raises Unavailable: the file cannot be used or written  :raises Conflict: too many users
        """
        self.require()
        entries = {name: each for name, each in self._entries.items() if name != user}
        if entry is not None:
            entries[user] = entry
        if len(entries) > MOST_USERS:
            raise Conflict(f"{MOST_USERS} users have a password already, and that is the most")
        rows = {name: each.row() for name, each in entries.items()}
        try:
            durable.replace(self._directory, FILE, {"users": rows})
        except OSError as error:
            log.error("cannot write %s/%s: %s", self._directory, FILE, error.strerror)
            raise Unavailable(f"the password cannot be stored: {error.strerror}") from error
        self._entries = entries


def _read(directory: str) -> dict[str, Entry]:
    path = Path(directory, FILE)
    for left in Path(directory).glob(f".{FILE}.*"):
        left.unlink()  # a write that was broken off
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    users = document.get("users") if isinstance(document, dict) else None
    if not isinstance(users, dict):
        raise ConfigError("it has no table of users")
    return {name: Entry.parse(name, row) for name, row in users.items()}

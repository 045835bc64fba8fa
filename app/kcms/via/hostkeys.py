"""Is this host the one that is meant?  Decided by ``known_hosts`` files (sshd(8)).  Pure.

Ours and not paramiko's: that one knows no patterns, passes over ``@revoked``, and looks at the
first key of a host alone.  A key that a certificate authority (``@cert-authority``) vouches for
is not known here.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kcms.via.errors import HostKeyError

REVOKED, AUTHORITY = "@revoked", "@cert-authority"


@dataclass(frozen=True)
class Entry:
    """A line: whose key it is (patterns, or one hashed name), its type and its bytes."""

    hosts: tuple[str, ...]
    kind: str
    key: bytes
    revoked: bool = False

    def of(self, name: str) -> bool:
        wanted = [each for each in self.hosts if not each.startswith("!")]
        barred = [each[1:] for each in self.hosts if each.startswith("!")]
        return any(_matches(each, name) for each in wanted) and not any(
            _matches(each, name) for each in barred
        )


def entries(text: str) -> list[Entry]:
    """The lines of a file; those that say nothing that is understood are passed over."""
    return [found for line in text.splitlines() if (found := _entry(line)) is not None]


def _entry(line: str) -> Entry | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#") or marker not in ("", REVOKED):
        return None
    try:
        key = base64.b64decode(words[2], validate=True)
    except binascii.Error:
        return None
    return Entry(
        tuple(words[0].lower().split(",")) if words[0][0] != "|" else (words[0],),
        words[1],
        key,
        bool(marker),
    )


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _is_hash_of(pattern, name)
    if "*" in pattern or "?" in pattern:
        return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
    return pattern == name


def _is_hash_of(pattern: str, name: str) -> bool:
    """``|1|SALT|HASH``: SHA-1 is the form's, and guards nothing but the names of hosts."""
    try:
        salt, told = (base64.b64decode(each) for each in pattern[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), told)


def fingerprint(key: bytes) -> str:
    """As ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def kinds(known: Iterable[Entry], name: str) -> list[str]:
    """The types of the keys that are known of a host, which it is to be asked for first."""
    return list(dict.fromkeys(each.kind for each in known if each.of(name) and not each.revoked))


def check(known: Sequence[Entry], name: str, kind: str, key: bytes, files: Sequence[str]) -> None:
    """:param files: where ``known`` is from, for the sentence
    :raises HostKeyError: the key is not that of the host ``name``, or not known to be"""
    mine = [each for each in known if each.of(name)]
    if any(each.revoked and each.key == key for each in mine):
        raise HostKeyError(f"THE HOST KEY OF {name} IS REVOKED: {kind} {fingerprint(key)}")
    good = [each for each in mine if not each.revoked]
    if any(each.key == key for each in good):
        return
    if good:
        raise HostKeyError(_changed(name, kind, key, good, files))
    raise HostKeyError(_unknown(name, kind, key, files))


def _changed(name: str, kind: str, key: bytes, good: Sequence[Entry], files: Sequence[str]) -> str:
    kept = ", ".join(f"{each.kind} {fingerprint(each.key)}" for each in good)
    return (
        f"THE HOST KEY OF {name} HAS CHANGED, so this may be another machine that wants to be "
        f"taken for it, and nothing was sent to it: it shows {kind} {fingerprint(key)}, and "
        f"{files[0]} has {kept}; ask whoever runs it, and only if it was set up anew: "
        f"ssh-keygen -f {files[0]} -R '{name}'"
    )


def _unknown(name: str, kind: str, key: bytes, files: Sequence[str]) -> str:
    return (
        f"{name} is not known to this machine: its key is {kind} {fingerprint(key)}; compare that "
        "with what whoever runs it says (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub there), and "
        f"add the key to {files[0]}, as ssh does when you log in with it once"
    )

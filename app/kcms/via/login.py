"""Logs in to a head: the connection, the proof that it is the head, and who the user is."""

from __future__ import annotations

import getpass
import logging
import os
import site
import socket
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kcms.errors import InvalidRequest
from kcms.via import hostkeys
from kcms.via.errors import HostKeyError, ViaError
from kcms.via.keys import Keys, there
from kcms.via.route import Route, included, route
from kcms.via.target import Target

CONFIG = "~/.ssh/config"
CONNECT_SECONDS = 30.0
LOGIN_SECONDS = 60.0
ALIVE_SECONDS = 15  # between two signs of life, so that a line that is cut is found out
CUT_MILLISECONDS = 60_000  # what was sent and nobody acknowledged for so long: it is cut
TRIES = 3  # of a password
PASSWORDS = {"password", "keyboard-interactive"}
DEPTH = 16  # of files that include each other, as in ssh
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""The quickest first: with the others paramiko makes a checksum of each packet in Python."""


def load_paramiko() -> Any:
    """paramiko, which --via alone needs.  :raises ViaError: it is not here"""
    if sys.flags.no_site:
        site.main()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ciphers that it names and nobody asked for
            import paramiko
    except ImportError as error:
        raise ViaError(
            "--via needs paramiko: apt install python3-paramiko, or pip install 'kcms[via]'"
            + ("" if error.name == "paramiko" else f" ({error})")
        ) from None
    log = logging.getLogger("paramiko")
    log.addHandler(logging.NullHandler())
    log.propagate = False  # what goes wrong is said in our own line
    return paramiko


def ask_password(what: str) -> str | None:
    """Ask at the terminal; None when there is none, or nobody wants to say."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return None
    try:
        return getpass.getpass(what) or None
    except EOFError:
        return None


def configuration(path: Path, depth: int = 0) -> str:
    """The text of an SSH configuration with what it includes; paramiko does not include."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ViaError(f"cannot read {path}: {error.strerror}") from error
    text = []
    for line in lines:
        names = included(line)
        text += [] if names else [line]
        for name in names if depth < DEPTH else ():
            pattern = path.parent / Path(name).expanduser()
            inner = sorted(Path("/").glob(str(pattern.absolute())[1:]))
            text += [configuration(each, depth + 1) for each in inner]
    return "\n".join(text)


class Login:
    """Logs in with what the user has: keys, an agent, or a password.

    :param known_hosts: the one file of host keys that is to be believed; the user's when None
    :param ask: for a password or passphrase
    """

    def __init__(
        self,
        known_hosts: str | None = None,
        config: str = CONFIG,
        ask: Callable[[str], str | None] = ask_password,
    ) -> None:
        self._paramiko = load_paramiko()
        self._given = known_hosts
        self._ask = ask
        self._keys = Keys(self._paramiko, ask)
        self._hops: list[Any] = []  # logins that lead to the next one
        text = configuration(Path(config).expanduser())
        try:
            self._config = self._paramiko.SSHConfig.from_text(text)
        except (self._paramiko.SSHException, ValueError) as error:
            raise ViaError(f"cannot make sense of {config}: {error}") from error

    def log_in(self, target: Target) -> tuple[Route, Any]:
        """The way taken and paramiko's client, logged in.

        :raises HostKeyError: the host key is unknown, changed or revoked
        :raises ViaError: anything else that keeps the user out
        """
        way, through = self._route(target), None
        for each in way.jumps:
            hop = self._route(each)
            through = self._enter(hop, through)
            self._hops.append(through)
        return way, self._enter(way, through)

    def close(self) -> None:
        for each in reversed(self._hops):
            each.close()

    def _route(self, target: Target) -> Route:
        try:
            told = self._config.lookup(target.host)
        except Exception as error:  # of "Match exec" without its package, and others
            raise ViaError(f"the SSH configuration cannot be used: {error}") from error
        return route(target, told, getpass.getuser(), self._given)

    def _enter(self, way: Route, through: Any) -> Any:
        known = self._known(way)
        files = there(way.identities)
        locked = tuple(each for each in files if self._keys.is_locked(each))
        proof = _Proof(tuple(each for each in files if each not in locked), locked)
        while True:
            try:
                return self._attempt(way, self._line(way, through), known, proof)
            except _RefusedError as refused:
                more = self._more(way, proof, refused.offered)
                if more is None:
                    raise ViaError(_not_let_in(way, refused.error)) from refused.error
                proof = more
            except self._paramiko.SSHException as error:
                raise ViaError(f"cannot log in as {way.name}: {error}") from error
            except (OSError, EOFError) as error:
                raise ViaError(f"the connection to {way.asked} broke: {error}") from error

    def _more(self, way: Route, proof: _Proof, offered: set[str]) -> _Proof | None:
        """What else the user has for a host that offers these ways in; None: nothing."""
        locked = proof.locked
        while locked and "publickey" in offered and proof.password is None:
            path, *rest = locked
            locked = tuple(rest)
            key = self._keys.unlocked(path)
            if key is not None:
                return replace(proof, locked=locked, key=key)
        if not proof.left or not offered & PASSWORDS:
            return None
        password = self._ask(f"Password for {way.name}: ")
        if password is None:
            return None
        return replace(proof, locked=(), password=password, left=proof.left - 1)

    def _attempt(self, way: Route, line: Any, known: list[hostkeys.Entry], proof: _Proof) -> Any:
        client = self._paramiko.SSHClient()
        client.set_missing_host_key_policy(_Judge(way, known))
        try:
            client.connect(
                way.host,
                way.port,
                way.user,
                proof.password,
                proof.key,
                key_filename=list(proof.files),
                allow_agent=not way.only_identities,
                look_for_keys=False,
                sock=line,
                timeout=CONNECT_SECONDS,
                auth_timeout=LOGIN_SECONDS,
                transport_factory=self._transports(hostkeys.kinds(known, way.key_name)),
            )
        except BaseException as error:
            offered = self._offered(client, way.user, error)
            client.close()
            if offered:
                raise _RefusedError(error, offered) from error
            raise
        client.get_transport().set_keepalive(ALIVE_SECONDS)
        return client

    def _offered(self, client: Any, user: str, error: BaseException) -> set[str]:
        """The ways in that the host offers to who was refused; none when it was not about that."""
        if isinstance(error, self._paramiko.BadAuthenticationType):
            return set(error.allowed_types)
        transport = client.get_transport()
        if not isinstance(error, self._paramiko.SSHException) or transport is None:
            return set()
        try:
            transport.auth_none(user)
        except self._paramiko.BadAuthenticationType as told:
            return set(told.allowed_types)
        except (self._paramiko.SSHException, OSError, EOFError):
            pass  # the connection is gone
        return set()

    def _transports(self, kinds: list[str]) -> Callable[..., Any]:
        """Transports that ask a host for the types of keys that are known of it."""

        def made(line: Any, **more: Any) -> Any:
            transport = self._paramiko.Transport(line, **more)
            options = transport.get_security_options()
            options.key_types = _first(key_types(kinds), options.key_types)
            options.ciphers = _first(CIPHERS, options.ciphers)
            transport.auth_interactive_dumb = self._not_by_itself
            return transport

        return made

    def _not_by_itself(self, _user: str) -> Any:
        """In place of paramiko's own questions at the terminal, in words that the host chose."""
        said = "it wants a password after the key"
        raise self._paramiko.BadAuthenticationType(said, sorted(PASSWORDS))

    def _line(self, way: Route, through: Any) -> Any:
        """What leads to the head's sshd."""
        if way.command is not None:
            return self._paramiko.ProxyCommand(way.command)
        if through is not None:
            place = (way.host, way.port)
            transport = through.get_transport()
            return transport.open_channel(
                "direct-tcpip", place, ("127.0.0.1", 0), timeout=CONNECT_SECONDS
            )
        return _connected(way)

    def _known(self, way: Route) -> list[hostkeys.Entry]:
        found = [each for name in way.known_hosts for each in self._entries(name)]
        site = [each for name in way.revoking for each in self._entries(name)]
        return found + [each for each in site if each.revoked]

    def _entries(self, name: str) -> list[hostkeys.Entry]:
        try:
            text = Path(name).expanduser().read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            if name == self._given:
                raise InvalidRequest(f"there is no file of known hosts {name}") from None
            return []
        except OSError as error:
            raise ViaError(f"cannot read {name}: {error.strerror}") from error
        return hostkeys.entries(text)


@dataclass(frozen=True)
class _Proof:
    """What an attempt has to show: unlocked files, and a key that was unlocked, and a password.

    :param locked: files whose passphrase nobody was asked for yet
    :param left: how many passwords may still be asked for
    """

    files: tuple[str, ...]
    locked: tuple[str, ...]
    key: Any = None
    password: str | None = None
    left: int = TRIES


class _RefusedError(Exception):
    """A host that does not let the user in by what was shown, and says what it would take."""

    def __init__(self, error: BaseException, offered: set[str]) -> None:
        super().__init__(str(error))
        self.error = error
        self.offered = offered


class _Judge:
    """Has every host key checked by us: paramiko is given none to compare with."""

    def __init__(self, way: Route, known: list[hostkeys.Entry]) -> None:
        self._way = way
        self._known = known

    def missing_host_key(self, _client: Any, _name: str, key: Any) -> None:
        way = self._way
        hostkeys.check(self._known, way.key_name, key.get_name(), key.asbytes(), way.known_hosts)


def key_types(kinds: list[str]) -> list[str]:
    """What a host is asked for, to show a key of one of these types: RSA has several hashes."""
    rsa = ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]
    return [name for kind in kinds for name in (rsa if kind == "ssh-rsa" else [kind])]


def _first(wanted: Any, there: Any) -> list[str]:
    able = [each for each in wanted if each in there]
    return able + [each for each in there if each not in able]


def _not_let_in(way: Route, error: BaseException) -> str:
    return (
        f"{way.asked} does not let {way.user} in: {str(error).rstrip('.')}; "
        f"see whether `ssh {way.name}` does"
    )


def _connected(way: Route) -> socket.socket:
    place = f"{way.host} port {way.port}"
    try:
        line = socket.create_connection((way.host, way.port), CONNECT_SECONDS)
    except socket.gaierror:
        raise ViaError(f"there is no host named {way.host}, as far as this machine knows") from None
    except ConnectionRefusedError:
        raise ViaError(f"no SSH server answers at {place}") from None
    except OSError as error:
        why = (
            f"nothing within {CONNECT_SECONDS:g} s"
            if isinstance(error, TimeoutError)
            else error.strerror
        )
        raise ViaError(f"cannot reach {place}: {why or error}") from error
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CUT_MILLISECONDS)
    return line


__all__ = ["HostKeyError", "Login", "ask_password", "configuration", "key_types", "load_paramiko"]

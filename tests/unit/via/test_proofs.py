"""What a server is shown of a user's secrets: one of paramiko's own, on this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from kcms.via import keys
from kcms.via.errors import ViaError
from kcms.via.login import TRIES, Login
from kcms.via.target import Target

PHRASE, PASSWORD = "of the key", "of the account"


class Server(paramiko.ServerInterface):
    """Lets in who has the key, or knows the password; and keeps what it was shown."""

    def __init__(self) -> None:
        self.offers = "publickey"
        self.both = False
        self.shown: list[str] = []
        self.key: Any = None
        self.host_key = paramiko.ECDSAKey.generate()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[paramiko.Transport] = []

    def serve(self) -> None:
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(line)
            transport.add_server_key(self.host_key)
            transport.start_server(threading.Event(), self)
            self.open.append(transport)

    def get_allowed_auths(self, username: str) -> str:
        return self.offers

    def check_auth_publickey(self, username: str, key: Any) -> int:
        if key != self.key:
            return paramiko.AUTH_FAILED
        if self.both:
            self.offers = "password"
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return paramiko.AUTH_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        self.shown.append(password)
        return paramiko.AUTH_SUCCESSFUL if password == PASSWORD else paramiko.AUTH_FAILED


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    running = threading.Thread(target=made.serve, daemon=True)
    running.start()
    yield made
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()
    running.join()
    for each in made.open:
        each.close()


class User:
    """With one key, locked, and answers to what is asked."""

    def __init__(self, home: Path, server: Server) -> None:
        self.home = home
        self.server = server
        self.key = paramiko.ECDSAKey.generate()
        self.path = str(home / "key")
        self.key.write_private_key_file(self.path, PHRASE)
        self.answers: dict[str, list[str]] = {}
        self.asked: list[str] = []
        (home / "config").write_text(f"Host *\n IdentityFile {self.path}\n IdentitiesOnly yes\n")
        name, kind = f"[127.0.0.1]:{server.port}", server.host_key.get_name()
        (home / "known").write_text(f"{name} {kind} {server.host_key.get_base64()}\n")

    def ask(self, question: str) -> str | None:
        self.asked.append(question)
        left = self.answers.get(question.split()[0], [])
        return left.pop(0) if left else None

    def log_in(self) -> None:
        login = Login(str(self.home / "known"), str(self.home / "config"), self.ask)
        try:
            login.log_in(Target("127.0.0.1", "me", self.server.port))[1].close()
        finally:
            login.close()

    @property
    def for_key(self) -> str:
        return f"Passphrase of {self.path}: "


FOR_ACCOUNT = "Password for me@127.0.0.1: "


@pytest.fixture
def user(tmp_path: Path, server: Server) -> User:
    return User(tmp_path, server)


@pytest.mark.parametrize("offers", ["publickey", "publickey,password"])
def test_a_passphrase_unlocks_the_key_and_is_shown_to_no_server(
    user: User, server: Server, offers: str
) -> None:
    server.key, server.offers = user.key, offers
    user.answers = {"Passphrase": ["wrong", PHRASE]}
    user.log_in()
    assert user.asked == [user.for_key] * 2
    assert server.shown == []


def test_a_passphrase_of_a_key_that_does_not_fit_is_shown_to_no_server_either(
    user: User, server: Server
) -> None:
    server.offers = "publickey,password"
    user.answers = {"Passphrase": [PHRASE], "Password": [PASSWORD]}
    user.log_in()
    assert user.asked == [user.for_key, FOR_ACCOUNT]
    assert server.shown == [PASSWORD]


def test_a_passphrase_that_nobody_says_is_asked_for_so_often(user: User, server: Server) -> None:
    server.key = user.key
    user.answers = {"Passphrase": ["wrong"] * 9}
    with pytest.raises(ViaError, match="does not let me in"):
        user.log_in()
    assert user.asked == [user.for_key] * keys.TRIES


def test_no_password_is_asked_for_where_none_is_taken(user: User, server: Server) -> None:
    paramiko.ECDSAKey.generate().write_private_key_file(user.path)  # not locked, and not known
    user.answers = {"Password": [PASSWORD]}
    with pytest.raises(ViaError, match="does not let me in"):
        user.log_in()
    assert (user.asked, server.shown) == ([], [])


def test_no_passphrase_is_asked_for_where_no_key_is_taken(user: User, server: Server) -> None:
    server.offers = "password"
    user.answers = {"Password": ["wrong"] * 9}
    with pytest.raises(ViaError, match="does not let me in"):
        user.log_in()
    assert user.asked == [FOR_ACCOUNT] * TRIES
    assert server.shown == ["wrong"] * TRIES


def test_a_password_after_the_key_is_asked_for_as_such(user: User, server: Server) -> None:
    server.key, server.both = user.key, True
    user.answers = {"Passphrase": [PHRASE], "Password": [PASSWORD]}
    user.log_in()
    assert user.asked == [user.for_key, FOR_ACCOUNT]
    assert server.shown == [PASSWORD]

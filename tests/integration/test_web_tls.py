"""The page over TLS: the door alone with its bounds, and the daemon with the site's certificate."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import Authority, Request
from flask import Flask, request

from kcms.config import WebConfig
from kcms.errors import ConfigError
from kcms.web import servers, tls
from kcms.web.tls import Door, Limits
from tests.integration.fake_gateway import FakeGateway
from tests.integration.test_web_daemon import Daemon, free_port


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, web.pem and web.key, as the rollout makes them for a page called ``localhost``."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.make("test", datetime.now(UTC))
    wanted = Request("localhost", "web", ["localhost"], ["127.0.0.1"])
    pair = authority.issue(wanted, datetime.now(UTC))
    (folder / "ca.pem").write_bytes(authority.pair().certificate)
    (folder / "web.pem").write_bytes(pair.certificate)
    (folder / "web.key").write_bytes(pair.key)
    return folder


@pytest.fixture
def client(certificates: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates / "ca.pem"))


class Echo:
    """What is behind the door: sends back what it gets, and counts those who came."""

    def __init__(self, path: str) -> None:
        self.came = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                channel, _ = self._listener.accept()
                self.came += 1
                threading.Thread(target=self._serve, args=(channel,), daemon=True).start()

    def _serve(self, channel: socket.socket) -> None:
        with contextlib.suppress(OSError), channel:
            while data := channel.recv(65536):
                channel.sendall(data)
                if data.endswith(b"bye"):
                    return

    def close(self) -> None:
        self._listener.close()


class Guarded:
    """A door with an echo behind it."""

    def __init__(self, folder: Path, certificates: Path, limits: Limits) -> None:
        path = str(folder / "inside")
        self.echo = Echo(path)
        listener = servers.listen("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        context = tls.context(str(certificates / "web.pem"), str(certificates / "web.key"))
        self.door = Door(listener, context, path, limits)
        self.door.start()
        self._channels: list[socket.socket] = []

    def raw(self) -> socket.socket:
        channel = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self._channels.append(channel)
        return channel

    def through(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection after its handshake."""
        channel = context.wrap_socket(self.raw(), server_hostname="localhost")
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        self.door.close()
        self.echo.close()


@contextlib.contextmanager
def guarded(folder: Path, certificates: Path, limits: Limits) -> Iterator[Guarded]:
    running = Guarded(folder, certificates, limits)
    try:
        yield running
    finally:
        running.close()


def test_bytes_pass_both_ways_whole(
    tmp_path: Path, certificates: Path, client: ssl.SSLContext
) -> None:
    sent = bytes(range(256)) * 4000 + b"bye"

    async def exchange(port: int) -> bytes:
        # Not two threads: one object of OpenSSL's is for one at a time.
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        writer.write(sent)
        got, _ = await asyncio.wait_for(asyncio.gather(reader.read(), writer.drain()), 30)
        writer.close()
        return got

    with guarded(tmp_path, certificates, Limits()) as here:
        assert asyncio.run(exchange(here.port)) == sent


def test_old_tls_is_refused(tmp_path: Path, certificates: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(str(certificates / "ca.pem"))
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with guarded(tmp_path, certificates, Limits()) as here:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            here.through(old)
        assert here.echo.came == 0


def test_a_silent_or_foolish_handshake_ends(tmp_path: Path, certificates: Path) -> None:
    with guarded(tmp_path, certificates, Limits(handshake=0.2)) as here:
        silent, foolish = here.raw(), here.raw()
        foolish.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for channel in (silent, foolish):
            with contextlib.suppress(ConnectionError):
                while channel.recv(4096):
                    pass
        assert here.echo.came == 0


def test_an_idle_connection_ends(
    tmp_path: Path, certificates: Path, client: ssl.SSLContext
) -> None:
    with guarded(tmp_path, certificates, Limits(idle=0.3)) as here:
        channel = here.through(client)
        channel.sendall(b"hello")
        assert channel.recv(100) == b"hello"
        with contextlib.suppress(ssl.SSLError):
            assert channel.recv(100) == b""


def test_one_address_has_so_many_places_and_gets_them_back(
    tmp_path: Path, certificates: Path, client: ssl.SSLContext
) -> None:
    with guarded(tmp_path, certificates, Limits(of_one_address=2)) as here:
        held = [here.through(client) for _ in range(2)]
        for channel in held:
            channel.sendall(b"x")
            assert channel.recv(1) == b"x"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            here.through(client)
        held[0].sendall(b"bye")
        while held[0].recv(100):
            pass
        held[0].close()
        for _ in range(100):  # its place is free once its end has been seen
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                again = here.through(client)
                again.sendall(b"y")
                assert again.recv(1) == b"y"
                return
            time.sleep(0.05)
        pytest.fail("the place was never given back")


@contextlib.contextmanager
def telling(certificates: Path) -> Iterator[tuple[int, int]]:
    """A page that answers with the address it is called from: its ports in clear and for TLS."""
    app = Flask("telling")

    @app.get("/")
    def address() -> str:
        return request.remote_addr or "nobody"

    config = WebConfig(
        bind="127.0.0.1",
        port=0,
        tls_port=free_port(),
        tls_certificate=str(certificates / "web.pem"),
        tls_key=str(certificates / "web.key"),
    )
    plain = servers.plain(app, config)
    thread = threading.Thread(target=plain.run, daemon=True)
    with servers.secure(app, config):
        thread.start()
        yield plain.effective_port, config.tls_port
    plain.task_dispatcher.shutdown(timeout=3)
    plain.trigger.pull_trigger(plain.close)


def test_the_page_behind_the_door_learns_the_address(
    certificates: Path, client: ssl.SSLContext
) -> None:
    with telling(certificates) as (_, port):
        connection = http.client.HTTPSConnection("localhost", port, context=client, timeout=30)
        connection.source_address = ("127.0.0.9", 0)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"X-Forwarded-For": "10.9.9.9"})
            assert connection.getresponse().read() == b"127.0.0.9"


def test_one_address_leaves_room_for_others_in_clear(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "OF_ONE_ADDRESS", 3)

    def connect(port: int, address: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), 20, source_address=(address, 0))

    with telling(certificates) as (port, _), contextlib.ExitStack() as stack:
        for _ in range(3):
            held = stack.enter_context(connect(port, "127.0.0.8"))
            held.sendall(b"GET / HTTP/1.1\r\nHost: page\r\n\r\n")
            assert held.recv(4096).startswith(b"HTTP/1.1 200")
        assert stack.enter_context(connect(port, "127.0.0.8")).recv(1) == b""
        other = stack.enter_context(connect(port, "127.0.0.9"))
        other.sendall(b"GET / HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n")
        assert other.recv(4096).startswith(b"HTTP/1.1 200")


class Secure(Daemon):
    """The page's daemon with TLS, before a gateway."""

    def __init__(self, folder: Path, certificates: Path, gateway: str) -> None:
        self.tls_port = free_port()
        super().__init__(
            folder,
            "127.0.0.1",
            more=f'tls_port = {self.tls_port}\ntls_certificate = "{certificates}/web.pem"\n'
            f'tls_key = "{certificates}/web.key"\ngateway_socket = "{gateway}"\n',
            environment={"TMPDIR": str(folder)},
        )

    def ask(
        self, client: ssl.SSLContext, method: str, path: str, body: str = "", cookie: str = ""
    ) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPSConnection(
            "localhost", self.tls_port, context=client, timeout=30
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        with contextlib.closing(connection):
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer, answer.read().decode()


def test_the_daemon_logs_in_over_tls_and_ends_cleanly(
    tmp_path: Path, certificates: Path, client: ssl.SSLContext
) -> None:
    gateway = FakeGateway(tmp_path / "api.sock")
    daemon = Secure(tmp_path, certificates, gateway.path)
    try:
        assert daemon.ready.recv(100) == b"READY=1"
        shown, page = daemon.ask(client, "GET", "/login")
        cookie = shown.headers["Set-Cookie"].partition(";")[0]
        seal = page.partition('name="form" value="')[2].partition('"')[0]
        body = f"form={seal}&user=alice&password=correct+horse&next=%2Fcluster%2Falpha%2Fresults"
        answer, _ = daemon.ask(client, "POST", "/login", body, cookie)
        assert (answer.status, answer.headers["Location"]) == (303, "/cluster/alpha/results")
        cookie = answer.headers.get_all("Set-Cookie")[0].partition(";")[0]
        assert cookie.startswith("__Host-kcms-session=")
        results, page = daemon.ask(client, "GET", "/cluster/alpha/results", cookie=cookie)
        assert (results.status, "No job has been submitted yet" in page) == (200, True)
        assert list(tmp_path.glob("kcms-web-*"))
        status, log = daemon.end()
        assert status == 0
        assert "Traceback" not in log
        assert "alice logs in: alpha, beta" in log
        assert "correct horse" not in log
        assert list(tmp_path.glob("kcms-web-*")) == []
    finally:
        daemon.close()
        gateway.close()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tls_key": ""}, "tls_port is 8443, so tls_key must name a PEM file"),
        ({"tls_key": "/nowhere.key"}, "cannot use tls_certificate .*No such file.*run the site"),
        ({"port": 8443}, "port and tls_port are both 8443; they must differ"),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    certificates: Path, changes: dict[str, str | int], line: str
) -> None:
    given = {
        "tls_port": 8443,
        "tls_certificate": str(certificates / "web.pem"),
        "tls_key": str(certificates / "web.key"),
    }
    config = WebConfig(**{**given, **changes})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=line), servers.secure(Flask("none"), config):
        pass

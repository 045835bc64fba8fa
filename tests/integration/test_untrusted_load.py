"""Too much of everything, at a gateway's socket and at a manager's port: memory stays as it was,
and others are served."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import make_site
from tests.integration.test_face_daemons import (
    ALICE,
    Grid,
    needs_root,
    prepare_files,
    start_daemons,
)
from tests.integration.test_web_daemon import Daemon

MIB = 1 << 20
SENT = 96 * MIB
"""Of a gigabyte that is announced; what is not refused by then would have been taken."""

GROWTH = 24 * MIB
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def grid() -> Iterator[Grid]:
    with tempfile.TemporaryDirectory(prefix="kcms-load-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        made = Grid(directory, make_site(directory / "site"))
        prepare_files(made)
        try:
            start_daemons(made)
            yield made
        finally:
            made.stop()


class Target:
    """One daemon of the grid: its process, and connections to it."""

    def __init__(self, grid: Grid, name: str) -> None:
        self.grid = grid
        self.name = name
        self.process = grid.processes[0 if name == "manager" else 1]
        listens = "manager" if name == "manager" else "alpha1"
        settings = (grid.directory / f"{listens}.toml").read_text()
        self.port = int(next(x for x in settings.splitlines() if x.startswith("port")).split()[2])

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        if self.name == "gateway":
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(20)
            try:
                plain.connect(str(self.grid.directory / "alpha1.sock"))
            except OSError:
                plain.close()
                raise
            return plain
        return self.encrypted(source)

    def encrypted(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """At the port: the manager's, or that of a gateway for other gateways."""
        plain = self.raw(source)
        context = ssl._create_unverified_context()
        place = self.grid.directory / "site" / "alpha1"
        context.load_cert_chain(place.with_suffix(".pem"), place.with_suffix(".key"))
        return context.wrap_socket(plain)

    def raw(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection to the port, without TLS."""
        return socket.create_connection(("127.0.0.1", self.port), 20, (source, 0))

    def memory(self) -> int:
        """Bytes that are resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(each for each in status.splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def serves(self) -> None:
        done = self.grid.kcms("clusters", host="head")
        assert done.returncode == 0, done.stderr
        assert " UP " in done.stdout, done.stdout


@pytest.fixture(params=["gateway", "manager"])
def target(request: pytest.FixtureRequest, grid: Grid) -> Target:
    made = Target(grid, request.param)
    with contextlib.closing(made.connect()) as warm:  # what the first request alone takes
        warm.sendall(POST + b"Content-Length: 200000\r\nConnection: close\r\n\r\n" + b"x" * 200000)
        assert b'{"error": ' in answer(warm)
    return made


class Page(Target):
    """The page, in clear, before an aggregator that is nowhere."""

    def __init__(self, directory: Path) -> None:
        self.name = "page"
        self.daemon = Daemon(directory, "127.0.0.1")
        assert self.daemon.ready.recv(100) == b"READY=1"
        self.process, self.port = self.daemon.process, self.daemon.port

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return self.raw(source)

    def serves(self) -> None:
        assert self.daemon.get("/health")[0] == 200


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    made = Page(tmp_path)
    made.serves()
    yield made
    made.daemon.close()


def answer(channel: socket.socket) -> bytes:
    """What comes until the other end closes."""
    parts = []
    with contextlib.suppress(OSError):
        while part := channel.recv(65536):
            parts.append(part)
    return b"".join(parts)


def pour(channel: socket.socket, head: bytes, block: bytes) -> int:
    """Send a head and then the same block over and over; how many bytes were taken."""
    sent = 0
    channel.settimeout(3)
    with contextlib.suppress(OSError):
        channel.sendall(head)
        while sent < SENT:
            channel.sendall(block)
            sent += len(block)
    return sent


BLOCK = b"x" * 65536
POURED = {
    "a gigabyte that is announced": (POST + b"Content-Length: 1073741824\r\n\r\n", BLOCK),
    "a body without an end": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + BLOCK + b"\r\n",
    ),
    "a header without an end": (b"GET /v1/ping HTTP/1.1\r\nX: ", BLOCK),
    "headers without an end": (b"GET /v1/ping HTTP/1.1\r\n", b"X: " + b"x" * 4000 + b"\r\n"),
    "a path without an end": (b"GET /v1/", BLOCK),
    "requests whose answers nobody takes": (
        b"",
        b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500,
    ),
}


@needs_root
@pytest.mark.parametrize("what", POURED)
def test_what_is_poured_in_is_refused_and_not_kept(target: Target, what: str) -> None:
    before = target.memory()
    with contextlib.closing(target.connect()) as channel:
        taken = pour(channel, *POURED[what])
        grown = target.memory() - before
        assert grown < GROWTH, f"{taken >> 20} MiB sent, {grown >> 20} MiB kept"
    target.serves()
    assert target.process.poll() is None


@needs_root
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"spec": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
        b'{"spec": {"executable": "/x", "priority": ' + b"9" * 100_000 + b"}}",
        b'{"spec": {"executable": "/x", "priority": 1e999999}}',
        b'{"spec": {"executable": "/x", "priority": NaN}}',
        b'{"spec": {"executable": "\\ud800"}}',
        b"\xff\xfe\x00",
        b'{"spec": 1, "spec": {"executable": "/x", "a": 2}}',
    ],
)
def test_what_is_no_request_is_one_error(target: Target, body: bytes) -> None:
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    user = b"Kcms-User: news\r\nKcms-Uid: 9\r\nKcms-Gid: 13\r\n"
    if target.name == "gateway":
        user = b"Kcms-As: news\r\n"
    with contextlib.closing(target.connect()) as channel:
        channel.sendall(POST + user + length + body)
        head, _, content = answer(channel).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400", head
    error = json.loads(content)["error"]
    assert error["code"] == "invalid_request"
    assert len(error["message"]) < 1000
    assert "\n" not in error["message"]


@needs_root
def test_two_lengths_of_one_body_are_none(target: Target) -> None:
    """What one end takes for a body, the other must not take for a request."""
    hidden = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    for lengths in (
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5_0\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ):
        with contextlib.closing(target.connect()) as channel:
            channel.settimeout(2)
            channel.sendall(POST + lengths + b"\r\n0\r\n\r\n" + hidden)
            assert b'"openapi"' not in answer(channel), lengths


@pytest.mark.parametrize("what", POURED)
def test_the_page_keeps_nothing_of_what_is_poured_in(page: Page, what: str) -> None:
    test_what_is_poured_in_is_refused_and_not_kept(page, what)


def test_connections_to_the_page_take_no_place_of_others(page: Page) -> None:
    before = page.memory()
    channels = held(page.raw, 600)
    try:
        end = time.monotonic() + 8
        while (left := open_ones(channels)) > 96 and time.monotonic() < end:
            time.sleep(0.2)
        assert 0 < left <= 96
        assert page.memory() - before < GROWTH
        with contextlib.closing(page.raw("127.0.0.2")) as other:
            other.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in answer(other)
    finally:
        for each in channels:
            each.close()


def held(connect: Callable[[], socket.socket], count: int) -> list[socket.socket]:
    found = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            found.append(connect())
    return found


def open_ones(channels: list[socket.socket]) -> int:
    """How many the other end has not closed yet."""
    count = 0
    for each in channels:
        each.setblocking(False)
        try:
            each.recv(65536)  # "" or an answer that turns away
        except BlockingIOError:
            count += 1
        except OSError:
            continue
    return count


@needs_root
def test_thousands_of_connections_take_no_place_of_others(target: Target) -> None:
    """Before TLS at the manager: whoever reaches the port may try."""
    before = target.memory()
    connect = target.connect if target.name == "gateway" else target.raw
    channels = held(connect, 2000)
    try:
        end = time.monotonic() + 8
        most = 32 if target.name == "gateway" else 256
        while (left := open_ones(channels)) > most and time.monotonic() < end:
            time.sleep(0.2)
        assert 0 < left <= most
        assert target.memory() - before < GROWTH
        if target.name == "manager":
            with contextlib.closing(target.connect("127.0.0.2")) as other:
                other.sendall(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"200 OK" in answer(other)
        else:
            assert target.grid.kcms("jobs", user=ALICE).returncode == 0
        time.sleep(11)  # a handshake, and a request, must be begun within 10 s
        assert open_ones(channels) == 0
    finally:
        for each in channels:
            each.close()
    target.serves()


@needs_root
def test_connections_to_the_port_for_gateways_take_no_place_of_others(grid: Grid) -> None:
    """Before TLS, too: whoever reaches it may try."""
    target = Target(grid, "gateway")
    ask = b'{"kind": "none"}\n'
    with contextlib.closing(target.encrypted()) as warm:
        warm.sendall(ask)
        assert b"no streams of kind" in answer(warm)
    before = target.memory()
    channels = held(target.raw, 2000)
    try:
        end = time.monotonic() + 8
        while (left := open_ones(channels)) > 256 and time.monotonic() < end:
            time.sleep(0.2)
        assert 0 < left <= 256
        assert target.memory() - before < GROWTH
        with contextlib.closing(target.encrypted("127.0.0.2")) as other:
            other.sendall(ask)
            assert b"no streams of kind" in answer(other)
        time.sleep(11)  # a handshake must be over within 10 s
        assert open_ones(channels) == 0
    finally:
        for each in channels:
            each.close()
    target.serves()


@needs_root
def test_a_request_that_dribbles_is_given_up(grid: Grid) -> None:
    """A byte now and then, in the head and in the body, at the gateway; each has 10 s."""
    target = Target(grid, "gateway")
    body = POST + b"Content-Length: 1000\r\n\r\n"
    with contextlib.closing(target.connect()) as one, contextlib.closing(target.connect()) as two:
        two.sendall(body)
        one.sendall(b"GET /v1/ping HTTP/1.1\r\nX-")
        began = time.monotonic()
        ended: dict[str, float] = {}
        while len(ended) < 2 and time.monotonic() - began < 30:
            for name, channel in (("head", one), ("body", two)):
                if name not in ended:
                    try:
                        channel.sendall(b"a")
                        channel.setblocking(False)
                        if name == "body" and b"408" in channel.recv(4096):
                            ended[name] = time.monotonic() - began
                    except BlockingIOError:
                        pass
                    except OSError:
                        ended[name] = time.monotonic() - began
            time.sleep(0.5)
    assert ended.keys() == {"head", "body"}
    assert all(5 < each < 20 for each in ended.values()), ended

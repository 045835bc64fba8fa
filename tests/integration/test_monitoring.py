"""Real monitors and a real aggregator on loopback: multicast, XML, files, and what may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psutil")
rrdtool = pytest.importorskip("rrdtool")

from kcms.aggregator.daemon import Aggregator  # noqa: E402
from kcms.aggregator.rrd import metric_path  # noqa: E402
from kcms.config import AggregatorConfig, MonitorConfig  # noqa: E402
from kcms.monitor import daemon as monitor_daemon  # noqa: E402
from kcms.monitor.channel import Channel, ChannelAddress  # noqa: E402
from kcms.monitor.daemon import Monitor  # noqa: E402
from kcms.wire import packets  # noqa: E402
from kcms.wire.fetch import fetch_tree, read_tree  # noqa: E402
from kcms.wire.ganglia_xml import Cluster, GangliaTree, Host  # noqa: E402
from kcms.wire.packets import Kind, Metadata, Request, Value  # noqa: E402

PATIENCE = 30.0
NAMES = {"127.0.0.11": "one", "127.0.0.12": "two"}
GROUP = "239.2.11.99"


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def port() -> int:
    """The channel's port; skips where the loopback takes no multicast."""
    port = free_port(socket.SOCK_DGRAM)
    try:
        channel = Channel(ChannelAddress(GROUP, port, "127.0.0.11", 1))
    except OSError as error:
        pytest.skip(f"no multicast on the loopback: {error}")
    with contextlib.closing(channel):
        channel.send(b"probe")
        deadline = time.monotonic() + 2
        while channel.receive() is None:
            if time.monotonic() > deadline:
                pytest.skip("multicast on the loopback does not come back")
            time.sleep(0.01)
    return port


async def eventually(probe: Callable[[], Awaitable[Any]], what: str) -> Any:
    """What ``probe`` returns once that is something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s for {what}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(daemon: Monitor | Aggregator) -> AsyncIterator[None]:
    """``daemon`` as its main runs it, until the block is left."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(daemon.run(stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield
    finally:
        waiting.cancel()
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await task


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_daemon, "WARM_UP", 0.2)
    monkeypatch.setattr(monitor_daemon, "GATHER", 0.1)
    monkeypatch.setattr(monitor_daemon, "REOPEN", 0.2)
    monkeypatch.setattr(monitor_daemon, "ANNOUNCE_DELAY", (0.1, 0.2))


def monitor(address: str, port: int, **more: Any) -> MonitorConfig:
    return MonitorConfig(
        host=NAMES.get(address, "x"), address=address, cluster="lab", channel=GROUP, port=port,
        xml_bind=address, xml_port=free_port(), names=NAMES, **more,
    )  # fmt: skip


async def tree(config: MonitorConfig) -> GangliaTree:
    return await read_tree(config.address, config.xml_port, 5, 5)


async def cluster_of(config: MonitorConfig) -> Cluster:
    (found,) = (await tree(config)).clusters
    return found


async def host_of(config: MonitorConfig, name: str) -> Host | None:
    return next((h for h in (await cluster_of(config)).hosts if h.name == name), None)


def value_of(host: Host | None, metric: str) -> str | None:
    return next((m.value for m in host.metrics if m.name == metric), None) if host else None


async def test_every_monitor_tells_the_whole_cluster(port: int) -> None:
    one, two = monitor("127.0.0.11", port), monitor("127.0.0.12", port)
    async with running(Monitor(one)):
        await eventually(lambda: has(one, "one", "cpu_num"), "one's own picture of itself")
        async with running(Monitor(two)):  # what one told at its start, two did not hear
            for asked in (one, two):
                for name in ("one", "two"):
                    await eventually(
                        lambda a=asked, n=name: has(a, n, "cpu_num"),  # type: ignore[misc]
                        f"{name} in the XML of {asked.host}",
                    )
            found = await cluster_of(two)
            assert sorted(each.name for each in found.hosts) == ["one", "two"]
            for host in found.hosts:
                names = {metric.name for metric in host.metrics}
                assert {"load_one", "cpu_idle", "mem_free", "proc_total", "pkts_in"} <= names
                assert abs(host.gmond_started - time.time()) < 60
                assert not host.late


async def has(config: MonitorConfig, host: str, metric: str) -> bool:
    return value_of(await host_of(config, host), metric) is not None


async def test_datagrams_from_outside(port: int) -> None:
    config = monitor("127.0.0.11", port)
    spoofed = Value("127.0.0.11:one", "spoofed", Kind.STRING, "x", spoof=True)
    async with running(Monitor(config)):
        other = Channel(ChannelAddress(GROUP, port, "127.0.0.12", 1))
        with contextlib.closing(other):
            for raw in (b"", b"\0", b"\0\0\0\x86garbage", b"\xff" * 1473, b"\0" * 3000):
                other.send(raw)
            other.send(packets.encode(Metadata("liar", "temp", "float", "C")))
            other.send(packets.encode(Metadata("127.0.0.11:one", "spoofed", "string", spoof=True)))
            other.send(packets.encode(spoofed))
            other.send(packets.encode(Value("liar", "temp", Kind.FLOAT, 41.5, "%.1f")))
            await eventually(lambda: has(config, "two", "temp"), "the metric of two")
            assert value_of(await host_of(config, "two"), "temp") == "41.5"
            assert not await has(config, "two", "spoofed")
            assert not await has(config, "one", "spoofed")


async def test_questions_are_asked_and_answered(port: int) -> None:
    config = monitor("127.0.0.11", port)
    asker = Channel(ChannelAddress(GROUP, port, "127.0.0.12", 1))
    with contextlib.closing(asker):
        async with running(Monitor(config)):
            await eventually(lambda: has(config, "one", "load_one"), "the start")
            asker.send(packets.encode(Value("two", "mystery", Kind.UINT, 1)))
            heard = await listen_for(asker, Request)
            assert (heard.host, heard.name) == ("two", "mystery")


async def listen_for(channel: Channel, kind: type[Any]) -> Any:
    async def next_one() -> Any:
        while (received := channel.receive()) is not None:
            packet = packets.decode(received[0])
            if isinstance(packet, kind):
                return packet
        return None

    return await eventually(next_one, kind.__name__)


async def test_a_network_that_comes_late(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    there = False
    real = Channel

    def late(where: ChannelAddress) -> Channel:
        if not there:
            raise OSError(99, "Cannot assign requested address")
        return real(where)

    monkeypatch.setattr(monitor_daemon, "Channel", late)
    one, two = monitor("127.0.0.11", port), monitor("127.0.0.12", port)
    async with running(Monitor(one)), running(Monitor(two)):
        await eventually(lambda: has(one, "one", "cpu_num"), "one without a network")
        assert await host_of(one, "two") is None
        there = True
        await eventually(lambda: has(one, "two", "cpu_num"), "two, heard over the network")


async def test_a_reader_that_never_reads_harms_nobody(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = monitor("127.0.0.11", port, xml_timeout=1.0)
    async with running(Monitor(config)):
        feeder = Channel(ChannelAddress(GROUP, port, "127.0.0.12", 1))
        with contextlib.closing(feeder):
            for number in range(1000):  # quotes take six bytes: more than sockets' buffers hold
                name = f"m{number}"
                extra = (("DESC", '"' * 1000),)
                feeder.send(packets.encode(Metadata("h", name, "string", extra=extra)))
                feeder.send(packets.encode(Value("h", name, Kind.STRING, '"' * 1000)))
                if number % 20 == 0:
                    await asyncio.sleep(0.01)
            await eventually(lambda: has(config, "two", "m999"), "all metrics")
            with stalled(config.address, config.xml_port) as stall:
                await asyncio.sleep(0)
                feeder.send(packets.encode(Value("h", "m0", Kind.STRING, "news")))
                await eventually(
                    lambda: told(config, "two", "m0", "news"), "news beside a stalled reader"
                )
                with pytest.raises(ConnectionError):
                    await eventually(lambda: dropped(stall), "the stalled reader to be dropped")
            assert "127.0.0.1 did not take the XML within 1 s" in caplog.text


async def told(config: MonitorConfig, host: str, metric: str, value: str) -> bool:
    return value_of(await host_of(config, host), metric) == value


@contextlib.contextmanager
def stalled(address: str, port: int) -> Any:
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((address, port))
        reader.setblocking(False)
        yield reader


async def dropped(reader: socket.socket) -> bool:
    reader.send(b"x")  # a connection that was reset refuses it
    return False


async def test_strangers_get_nothing(port: int) -> None:
    config = MonitorConfig(
        host="one", address="127.0.0.11", channel=GROUP, port=port, xml_port=free_port()
    )
    one = Monitor(config)
    one._server._trusted = _Nobody()  # type: ignore[assignment]
    async with running(one):
        reader, writer = await asyncio.open_connection("127.0.0.11", config.xml_port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


class _Nobody:
    def __contains__(self, address: str) -> bool:
        return False


class Fake:
    """A source that answers with set bytes, or holds its tongue."""

    def __init__(self) -> None:
        self.answer: bytes | None = b""
        self.asked = 0

    async def __aenter__(self) -> Fake:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


def document(host: str, load: float = 1.0, tn: int = 0) -> bytes:
    return (
        '<GANGLIA_XML VERSION="3.7.2" SOURCE="gmond"><CLUSTER NAME="lab" LOCALTIME="1">'
        f'<HOST NAME="{host}" IP="10.0.0.1" REPORTED="1" TN="{tn}" TMAX="20" DMAX="0">'
        f'<METRIC NAME="load_one" VAL="{load}" TYPE="float" UNITS=" " TN="1" TMAX="70" DMAX="0" '
        'SLOPE="both"/></HOST></CLUSTER></GANGLIA_XML>'
    ).encode()


def aggregator(root: Path, *lines: str, **more: Any) -> AggregatorConfig:
    given = {"connect_timeout": 0.5, "read_timeout": 0.5} | more
    return AggregatorConfig(
        gridname="Grid", authority="http://here/", data_source=list(lines), xml_bind="127.0.0.1",
        xml_port=free_port(), rrd_directory=str(root), **given,
    )  # fmt: skip


async def grid_hosts(config: AggregatorConfig) -> dict[str, Host]:
    grid = (await read_tree("127.0.0.1", config.xml_port, 5, 5)).grid
    assert (grid.name, grid.authority) == ("Grid", "http://here/")
    return {host.name: host for cluster in grid.clusters for host in cluster.hosts}


async def test_the_next_address_is_asked_when_one_is_dead_silent_or_wrong(tmp_path: Path) -> None:
    async with Fake() as first, Fake() as second:
        first.answer, second.answer = document("a"), document("b")
        line = f'"lab" 1 127.0.0.1:{first.port} 127.0.0.1:{second.port}'
        config = aggregator(tmp_path, line)

        async def shows(name: str) -> bool:
            return list(await grid_hosts(config)) == [name]

        async with running(Aggregator(config)):
            await eventually(lambda: shows("a"), "the first")
            assert second.asked == 0
            first.answer = document("a")[:-5]
            await eventually(lambda: shows("b"), "the second, as the first is malformed")
            first.answer, second.answer = document("a"), None
            await eventually(lambda: shows("a"), "the first, as the second says nothing")
            first.answer, second.answer = b"", document("b")
            await eventually(lambda: shows("b"), "the second, as the first is empty")


async def test_a_dead_source_stays_on_show_and_goes_silent(tmp_path: Path) -> None:
    async with Fake() as source:
        source.answer = document("a", tn=10)
        config = aggregator(tmp_path, f'"lab" 1 127.0.0.1:{source.port}')
        async with running(Aggregator(config)):
            await eventually(lambda: grid_hosts(config), "the host")
            source.answer = b"<GANGLIA_XML><CLUSTER NAME='lab'><HOST NAME='half'"

            async def silent() -> bool:
                hosts = await grid_hosts(config)
                assert list(hosts) == ["a"]
                return hosts["a"].tn >= 13

            await eventually(silent, "the silence to grow")


async def test_only_live_hosts_are_stored_and_values_come_back(tmp_path: Path) -> None:
    async with Fake() as source, Fake() as dead:
        source.answer = document("a", 2.5)
        dead.answer = document("gone", tn=80).replace(b'"lab"', b'"other"')
        lines = (f'"lab" 1 127.0.0.1:{source.port}', f'"other" 1 127.0.0.1:{dead.port}')
        config = aggregator(tmp_path, *lines)
        path = metric_path(tmp_path, "load_one", "lab", "a")

        async def stored() -> bool:
            return path.exists() and rrdtool.lastupdate(str(path))["ds"] == {"sum": 2.5}

        async with running(Aggregator(config)):
            await eventually(stored, "the value on disk")
            summary = metric_path(tmp_path, "load_one", "lab")
            assert rrdtool.lastupdate(str(summary))["ds"] == {"sum": 2.5, "num": 1.0}
            assert sorted(await grid_hosts(config)) == ["a", "gone"]
            assert not (tmp_path / "other" / "gone").exists()


async def test_two_sources_of_one_name_do_not_mix(tmp_path: Path) -> None:
    async with Fake() as first, Fake() as second:
        first.answer, second.answer = document("a"), document("b")
        config = aggregator(
            tmp_path, f'"x" 1 127.0.0.1:{first.port}', f'"y" 1 127.0.0.1:{second.port}'
        )
        async with running(Aggregator(config)):
            await eventually(lambda: grid_hosts(config), "a host")

            async def both_asked_twice() -> bool:
                return first.asked > 1 and second.asked > 1

            await eventually(both_asked_twice, "two rounds")
            assert len(await grid_hosts(config)) == 1


async def test_a_reader_that_never_reads_does_not_stop_the_polls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Fake() as source:
        metric = '<METRIC NAME="m{}" VAL="' + "y" * 5000 + '" TYPE="string"/>'
        many = "".join(metric.format(number) for number in range(1000)).encode()
        source.answer = document("a").replace(b"<METRIC", many + b"<METRIC", 1)
        config = aggregator(tmp_path, f'"lab" 1 127.0.0.1:{source.port}', xml_timeout=1.5)
        async with running(Aggregator(config)):
            await eventually(lambda: grid_hosts(config), "the host")
            with stalled("127.0.0.1", config.xml_port) as stall:
                asked = source.asked

                async def polled() -> bool:
                    return source.asked >= asked + 2

                await eventually(polled, "two more polls")
                assert list(await grid_hosts(config)) == ["a"]
                with pytest.raises(ConnectionError):
                    await eventually(lambda: dropped(stall), "the stalled reader to be dropped")
            assert "127.0.0.1 did not take the XML within 1.5 s" in caplog.text


async def test_a_reader_that_speaks_first_gets_everything(tmp_path: Path) -> None:
    async with Fake() as source:
        source.answer = document("a")
        config = aggregator(tmp_path, f'"lab" 1 127.0.0.1:{source.port}')
        async with running(Aggregator(config)):
            await eventually(lambda: grid_hosts(config), "the host")
            reader, writer = await asyncio.open_connection("127.0.0.1", config.xml_port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n" * 100)
            assert (await reader.read()).endswith(b"</GRID>\n</GANGLIA_XML>\n")
            writer.close()


async def test_a_disk_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Fake() as source:
        source.answer = document("a")
        blocked = tmp_path / "rrd"
        blocked.write_bytes(b"")
        config = aggregator(blocked, f'"lab" 1 127.0.0.1:{source.port}')
        async with running(Aggregator(config)):

            async def polled() -> bool:
                return source.asked >= 3

            await eventually(polled, "polls beside a bad disk")
            assert caplog.text.count("cannot be stored") == 1
            blocked.unlink()
            path = metric_path(blocked, "load_one", "lab", "a")

            async def stored() -> bool:
                return path.exists()

            await eventually(stored, "files once the disk is well")


async def test_monitor_to_aggregator_to_file(port: int, tmp_path: Path) -> None:
    one = monitor("127.0.0.11", port)
    config = aggregator(tmp_path, f'"lab" 1 127.0.0.9:1 127.0.0.11:{one.xml_port}')
    async with running(Monitor(one)), running(Aggregator(config)):

        async def complete() -> bool:
            hosts = await grid_hosts(config)
            return "one" in hosts and value_of(hosts["one"], "pkts_in") is not None

        await eventually(complete, "the node in the grid")
        path = metric_path(tmp_path, "cpu_num", "lab", "one")

        async def stored() -> bool:
            return path.exists()

        await eventually(stored, "its file")
        grid = await asyncio.to_thread(fetch_tree, "127.0.0.1", config.xml_port, 5)
        assert grid.grid.clusters[0].name == "lab"

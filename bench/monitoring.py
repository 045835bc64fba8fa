"""Our monitor beside Debian 12's gmond: both at once, each alone in a network of its own.

Idle processor time over the same 80 seconds, then both get the same packets of many hosts (one
address each, nothing spoofed), tell them as XML, and take in values at growing rates.  Loss is what
the kernel's drop counter of the channel's socket says.  A ratio below 1 is in our favour, except
for rates.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [each for each in (str(ROOT), str(ROOT / "app")) if each not in sys.path]

from kcms.metrics import catalog  # noqa: E402
from kcms.wire import packets  # noqa: E402
from kcms.wire.fetch import fetch_tree  # noqa: E402
from kcms.wire.packets import KIND_OF_TYPE, Kind, Metadata, Value  # noqa: E402
from tests.interop import ganglia, hosts  # noqa: E402
from tests.interop.hosts import Host, eventually  # noqa: E402

ADDRESS, GROUP, PORT = "198.18.0.1", "239.2.11.71", 8649
SETTLE = 5.0  # seconds before the idle measurement
IDLE = 80.0  # seconds of it: the period of all metrics but the constant ones
HOSTS = 500
FILL_RATE = 6000  # datagrams a second
DUMPS = 7
RATES = (2500, 5000, 10000, 20000, 40000)  # values a second
BURST = 1.5  # seconds of each rate
BATCH = 0.002  # seconds between two groups of datagrams
MONITOR = f"""
host = "bench1"
address = "{ADDRESS}"
cluster = "bench"
"""


@dataclass
class Daemon:
    """One of the two, on its host."""

    name: str
    host: Host
    process: subprocess.Popen[bytes]
    figures: dict[str, float] = field(default_factory=dict)
    clean: float = 0.0  # the highest rate that it took without loss

    @property
    def cpu(self) -> float:
        """Processor seconds of all its threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9

    @property
    def rss(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def drops(self) -> int:
        """Datagrams that found no room in the socket."""
        table = Path(f"/proc/{self.process.pid}/net/udp").read_text().splitlines()[1:]
        port = f":{PORT:04X}"
        return sum(int(row.split()[-1]) for row in table if row.split()[1].endswith(port))

    def pending(self) -> int:
        """Bytes in its socket that it did not take yet."""
        table = Path(f"/proc/{self.process.pid}/net/udp").read_text().splitlines()[1:]
        port = f":{PORT:04X}"
        rows = [row.split() for row in table if row.split()[1].endswith(port)]
        return sum(int(row[4].split(":")[1], 16) for row in rows)

    def drained(self) -> None:
        """Wait until it took everything."""

        def check() -> None:
            assert self.pending() == 0, f"{self.name} still has {self.pending()} bytes to take"

        eventually(check, 20)


@contextlib.contextmanager
def both(directory: Path) -> Iterator[list[Daemon]]:
    """Our monitor and gmond, each on a host of its own."""
    real = ganglia.ganglia()
    conf, toml = directory / "gmond.conf", directory / "monitor.toml"
    conf.write_text(real.gmond("bench"))
    toml.write_text(MONITOR)
    our_environment = {**os.environ, "PYTHONPATH": str(ROOT / "app")}
    ours_words = (sys.executable, "-m", "kcms", "daemon", "monitor", "--config", str(toml))
    with hosts.host(ADDRESS) as one, hosts.host(ADDRESS) as other:
        for each in (one, other):
            hosts.alone(each)
            add_addresses(each)
        ours = one.start(*ours_words, log=directory / "monitor.log", env=our_environment)
        gmond_words = (real.program("gmond"), "-c", str(conf), "-f")
        theirs = other.start(*gmond_words, log=directory / "gmond.log", env=real.environment)
        daemons = [Daemon("kcms-monitor", one, ours), Daemon("gmond", other, theirs)]
        for daemon in daemons:
            eventually(lambda daemon=daemon: dump(daemon), 15)  # type: ignore[misc]
        yield daemons


def sources() -> list[str]:
    """The addresses of the hosts that are made up."""
    return [f"198.18.{1 + number // 250}.{1 + number % 250}" for number in range(HOSTS)]


def add_addresses(on: Host) -> None:
    lines = "".join(f"address add {each}/32 dev {hosts.LINK}\n" for each in sources())
    on.run("ip", "-batch", "-", given=lines)


def dump(daemon: Daemon) -> tuple[float, int]:
    """Seconds and bytes of one whole answer."""

    def read() -> tuple[float, int]:
        begun, size = time.perf_counter(), 0
        with socket.create_connection(("127.0.0.1", PORT), 30) as connection:
            while piece := connection.recv(1 << 18):
                size += len(piece)
        return time.perf_counter() - begun, size

    return daemon.host.here(read)


def messages() -> list[bytes]:
    """Description and value of each metric, as one host sends them at its start."""
    made: list[bytes] = []
    for row in catalog.by_name(catalog.groups(0)).values():
        kind = KIND_OF_TYPE[row.type]
        value = "x86_64" if kind is Kind.STRING else 1
        described = Metadata(
            "bench", row.name, row.type, row.units, row.slope, row.tmax, 0, row.extra
        )
        made.append(packets.encode(described))
        made.append(packets.encode(Value("bench", row.name, kind, value, row.form)))
    return made


def fill(daemon: Daemon) -> None:
    """Everything of every host that is made up, at a bounded rate."""
    data = messages()

    def send() -> None:
        for address in sources():
            with channel(address) as sender:
                paced(sender, data, FILL_RATE)

    daemon.host.here(send)
    daemon.drained()


@contextlib.contextmanager
def channel(address: str) -> Iterator[Callable[[bytes], int]]:
    """How ``address`` sends to the channel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 0))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ADDRESS))
        sender.connect((GROUP, PORT))
        yield sender.send


def paced(send: Callable[[bytes], int], data: Iterable[bytes], rate: float) -> float:
    """Send each of ``data``, ``rate`` a second; the seconds it took."""
    begun = time.perf_counter()
    for number, each in enumerate(data):
        ahead = begun + number / rate - time.perf_counter()
        if ahead > BATCH:
            time.sleep(ahead)
        send(each)
    return time.perf_counter() - begun


def burst(daemon: Daemon, rate: int) -> tuple[float, float, float]:
    """Values at ``rate``: those sent a second, share lost, and processor us for each taken."""
    value = packets.encode(Value("bench", "load_one", Kind.FLOAT, 0.5, "%.2f"))
    count = int(rate * BURST)
    drops, cpu = daemon.drops, daemon.cpu

    def send() -> float:
        with channel(sources()[0]) as sender:
            return paced(sender, (value for _ in range(count)), rate)

    seconds = daemon.host.here(send)
    daemon.drained()
    lost = daemon.drops - drops
    return count / seconds, lost / count, (daemon.cpu - cpu) / max(count - lost, 1) * 1e6


def idle(daemons: list[Daemon]) -> None:
    """Both at once, so that they have the same machine."""
    time.sleep(SETTLE)
    before = [each.cpu for each in daemons]
    time.sleep(IDLE)
    for daemon, was in zip(daemons, before, strict=True):
        daemon.figures["idle: CPU ms a minute"] = (daemon.cpu - was) * 1000 * 60 / IDLE
        daemon.figures["idle: RSS MiB"] = daemon.rss


def filled(daemon: Daemon) -> None:
    drops, cpu = daemon.drops, daemon.cpu
    fill(daemon)
    sent = HOSTS * len(messages())
    title = f"{HOSTS} hosts:"
    daemon.figures[f"{title} fill CPU us/datagram"] = (daemon.cpu - cpu) / sent * 1e6
    daemon.figures[f"{title} lost of {sent}"] = daemon.drops - drops
    known = daemon.host.here(lambda: fetch_tree("127.0.0.1", PORT, 60)).clusters[0].hosts
    daemon.figures[f"{title} hosts told"] = len(known)


def dumped(daemons: list[Daemon]) -> None:
    """Whole answers, in turns; the best is the one the rest of the machine disturbed least."""
    title = f"{HOSTS} hosts:"
    seconds: dict[str, list[float]] = {each.name: [] for each in daemons}
    before = {each.name: each.cpu for each in daemons}
    for _ in range(DUMPS):
        for daemon in daemons:
            took, size = dump(daemon)
            seconds[daemon.name].append(took * 1000)
            daemon.figures[f"{title} dump MB"] = size / 1e6
    for daemon in daemons:
        cpu = daemon.cpu - before[daemon.name]
        daemon.figures[f"{title} dump ms, median"] = statistics.median(seconds[daemon.name])
        daemon.figures[f"{title} dump ms, best"] = min(seconds[daemon.name])
        daemon.figures[f"{title} dump CPU ms"] = cpu * 1000 / DUMPS
        daemon.figures[f"{title} RSS MiB"] = daemon.rss


def rates(daemons: list[Daemon]) -> None:
    """Growing rates in turns, for each up to the first at which values are lost."""
    going = list(daemons)
    for rate in RATES:
        for daemon in tuple(going):
            reached, lost, cost = burst(daemon, rate)
            daemon.figures[f"values at {rate}/s: lost %"] = lost * 100
            daemon.figures[f"values at {rate}/s: CPU us each"] = cost
            if lost:
                going.remove(daemon)
            else:
                daemon.clean = reached
    for daemon in daemons:
        daemon.figures["values a second without loss"] = daemon.clean


def table(daemons: list[Daemon]) -> str:
    """Every figure of both, and ours divided by theirs."""
    ours, theirs = daemons
    lines = [f"{'':<34}{ours.name:>14}{theirs.name:>12}{'ratio':>9}"]
    for what in {**theirs.figures, **ours.figures}:
        left, right = ours.figures.get(what), theirs.figures.get(what)
        ratio = f"{left / right:9.2f}" if left is not None and right else ""
        shown = [f"{each:.2f}" if each is not None else "-" for each in (left, right)]
        lines.append(f"{what:<34}{shown[0]:>14}{shown[1]:>12}{ratio}")
    return "\n".join(lines)


def main() -> int:
    if os.geteuid() != 0:
        raise SystemExit("bench: network namespaces need root")
    try:
        with tempfile.TemporaryDirectory() as scratch, both(Path(scratch)) as daemons:
            idle(daemons)
            for daemon in daemons:
                filled(daemon)
            dumped(daemons)
            rates(daemons)
            print(table(daemons))
    except ganglia.Missing as reason:
        raise SystemExit(f"bench: {reason}") from reason
    room = Path("/proc/sys/net/core/rmem_max").read_text().strip()
    print(
        f"\n{os.cpu_count()} processors, load average afterwards {os.getloadavg()[0]:.1f}, "
        f"net.core.rmem_max {room} (gmond keeps its default"
        f" buffer); rates end at what the generator can send or {RATES[-1]}/s"
    )
    return 0

"""Two hosts on one cable: ours runs our monitor and aggregator, theirs the real gmond and gmetad.

Our monitor serves cluster alpha, gmond cluster beta; both are on one channel, so each knows both
hosts.  gmetad asks our monitor for alpha and our aggregator for its grid; our aggregator asks gmond
for beta.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kcms.wire.fetch import fetch_tree
from kcms.wire.ganglia_xml import GangliaTree
from kcms.wire.ganglia_xml import Host as Told
from tests.interop import ganglia, hosts
from tests.interop.ganglia import GZIP_PORT, Ganglia, Missing
from tests.interop.hosts import Host, eventually

OURS, THEIRS = "198.18.77.1", "198.18.77.2"
NAMES = {OURS: "ours1", THEIRS: "theirs1"}
SECONDS = 3  # between two readings of gmond, so that no test waits for its 20 minutes

MONITOR = f"""
host = "ours1"
address = "{OURS}"
cluster = "alpha"
trusted_hosts = ["{THEIRS}"]
names = {{ "{OURS}" = "ours1", "{THEIRS}" = "theirs1" }}
"""
AGGREGATOR = """
gridname = "lower"
authority = "http://head:8080/"
data_source = ['"beta" 2 {theirs}:{port}']
trusted_hosts = ["{theirs}"]
rrd_directory = "{rrd}"
"""


@dataclass
class Pair:
    """Both hosts, and the four daemons by name."""

    ours: Host
    theirs: Host
    real: Ganglia
    directory: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def gmetad_rrds(self) -> Path:
        return self.directory / "gmetad-rrds"

    @property
    def aggregator_rrds(self) -> Path:
        return self.directory / "aggregator-rrds"

    def start(self, name: str) -> None:
        """Start monitor, aggregator, gmond or gmetad."""
        log = self.directory / f"{name}.log"
        if name in ("gmond", "gmetad"):
            conf = str(self.directory / f"{name}.conf")
            words = [self.real.program(name), "-c", conf]
            words += ["-f"] if name == "gmond" else ["-d", "1"]
            started = self.theirs.start(*words, log=log, env=self.real.environment)
        else:
            conf = str(self.directory / f"{name}.toml")
            words = [sys.executable, "-m", "kcms", "daemon", name, "--config", conf]
            env = {**os.environ, "PYTHONPATH": str(ganglia.ROOT / "app")}
            started = self.ours.start(*words, log=log, env=env)
        self.daemons[name] = started

    def end(self, name: str) -> int:
        """End one of them; how it ended."""
        process = self.daemons.pop(name)
        return (self.theirs if name in ("gmond", "gmetad") else self.ours).end(process)

    def gmetric(self, *words: str) -> None:
        """Run the real gmetric on their host."""
        conf = str(self.directory / "gmond.conf")
        command = (self.real.program("gmetric"), "-c", conf, *words)
        self.theirs.run(*command, env=self.real.environment)

    def told(self, server: str, host: str) -> Told:
        """What the monitor of ``server`` tells of ``host`` (both addresses)."""
        tree = self.tree(server, 8649)
        found = {each.ip: each for each in tree.clusters[0].hosts}
        assert host in found, f"{server} knows no {host} yet"
        return found[host]

    def tree(self, server: str, port: int) -> GangliaTree:
        """The XML on a port of a host, read from that host itself."""
        on = self.ours if server == OURS else self.theirs
        return on.here(lambda: fetch_tree("127.0.0.1", port, 5))

    def logs(self) -> str:
        """The end of what each daemon said."""
        texts = {
            each.stem: each.read_text(errors="replace") for each in self.directory.glob("*.log")
        }
        return "\n".join(f"--- {name}\n{text[-2000:]}" for name, text in sorted(texts.items()))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both hosts with all four daemons, each answering."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        real = ganglia.ganglia()
    except Missing as reason:
        pytest.skip(str(reason))
    directory = tmp_path_factory.mktemp("interop")
    with hosts.host(OURS) as ours, hosts.host(THEIRS) as theirs:
        hosts.connect(ours, theirs)
        pair = Pair(ours, theirs, real, directory)
        configure(pair)
        for name in ("gmond", "monitor", "aggregator", "gmetad"):
            pair.start(name)
        try:
            for server, port in ((OURS, 8649), (OURS, 8651), (THEIRS, 8649), (THEIRS, 8651)):
                answering(pair, server, port)
            yield pair
        finally:
            print(pair.logs())


def configure(pair: Pair) -> None:
    write = {
        "monitor.toml": MONITOR,
        "aggregator.toml": AGGREGATOR.format(
            theirs=THEIRS, port=GZIP_PORT, rrd=pair.aggregator_rrds
        ),
        "gmond.conf": pair.real.gmond("beta", SECONDS),
        "gmetad.conf": ganglia.gmetad(
            "upper", pair.gmetad_rrds, [f'"alpha" 2 {OURS}:8649', f'"lower" 2 {OURS}:8651']
        ),
    }
    pair.gmetad_rrds.mkdir()
    pair.aggregator_rrds.mkdir()
    for name, text in write.items():
        (pair.directory / name).write_text(text)


def answering(pair: Pair, server: str, port: int) -> None:
    try:
        eventually(lambda: pair.tree(server, port), 15)
    except Exception as error:
        raise AssertionError(
            f"no good answer of {server}:{port}: {error}\n{pair.logs()}"
        ) from error

"""What the pages show of a tree.  Pure: a tree and its age in, words and numbers out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kcms.errors import NotFound
from kcms.web import bands, words
from kcms.web.bands import Band, State
from kcms.wire.ganglia_xml import Cluster, Grid, Host

UNANSWERED = 60.0
_NOT_USED = ("mem_free", "mem_buffers", "mem_cached", "mem_sreclaimable")


@dataclass(frozen=True)
class NodeView:
    """One node's picture.  ``silence`` is in seconds."""

    name: str
    state: State
    band: Band
    load: float | None
    cpus: float | None
    silence: float

    @property
    def picture(self) -> str:
        """Which drawing of a computer: its band, or ``down``."""
        return "down" if self.state is State.DOWN else self.band.key

    @property
    def heard(self) -> str:
        """When it was last heard, in words."""
        return f"{words.span(self.silence)} ago"

    @property
    def short(self) -> str:
        """The line below the name."""
        if self.state is not State.UP:
            return f"{self.state.value} {words.brief(self.silence)}"
        return "no load known" if self.load is None else words.percent(self.load, self.cpus or 1.0)

    @property
    def sentence(self) -> str:
        """The picture in words."""
        if self.state is State.DOWN:
            return f"{self.name} is down, last heard {self.heard}"
        told = f"{self.name} is {self.state.value}"
        if self.state is State.LATE:
            told += f", last heard {self.heard}"
        if self.load is None:
            return f"{told}, no load known"
        cpus = self.cpus or 1.0
        share = words.percent(self.load, cpus)
        return f"{told}, load {words.number(self.load)} on {cpus:g} CPUs ({share})"


@dataclass(frozen=True)
class Totals:
    """Sums over the nodes that are not down.  Memory in KiB."""

    up: int = 0
    late: int = 0
    down: int = 0
    cpus: int = 0
    load: float = 0.0
    total: float = 0.0
    used: float = 0.0

    @property
    def nodes(self) -> int:
        return self.up + self.late + self.down

    @property
    def load_text(self) -> str:
        return words.number(self.load)

    @property
    def load_share(self) -> str:
        return words.percent(self.load, self.cpus)

    @property
    def memory_text(self) -> str:
        return words.kibibytes(self.used)

    @property
    def memory_total(self) -> str:
        return words.kibibytes(self.total)


@dataclass(frozen=True)
class ClusterView:
    """One cluster: its nodes in the order of their numbers.

    ``age`` is how many seconds ago the cluster itself last answered the aggregator.
    """

    name: str
    nodes: tuple[NodeView, ...]
    totals: Totals
    age: float

    def node(self, name: str) -> NodeView:
        """:raises NotFound: there is no such node"""
        for node in self.nodes:
            if node.name == name:
                return node
        raise NotFound(f"there is no node {name!r} in the cluster {self.name!r}")

    @property
    def trouble(self) -> str:
        """Why its nodes look silent, if the cluster has not answered for a while."""
        if self.age < UNANSWERED:
            return ""
        return f"no monitor of this cluster has answered for {words.span(self.age)}"


@dataclass(frozen=True)
class GridView:
    """The whole grid."""

    name: str
    clusters: tuple[ClusterView, ...]
    totals: Totals

    def cluster(self, name: str) -> ClusterView:
        """:raises NotFound: there is no such cluster"""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise NotFound(f"there is no cluster {name!r} in this grid")


def grid_view(grid: Grid, age: float, name: str) -> GridView:
    """The view of ``grid``, ``age`` seconds after it was fetched; ``name`` if it tells none."""
    clusters = tuple(
        cluster_view(each, age) for each in sorted(grid.clusters, key=lambda each: each.name)
    )
    shown = grid.name if grid.name and grid.name != "unspecified" else name
    return GridView(shown, clusters, _sum(cluster.totals for cluster in clusters))


def cluster_view(cluster: Cluster, age: float) -> ClusterView:
    """The view of one cluster, ``age`` seconds after it was fetched."""
    hosts = sorted(cluster.hosts, key=lambda each: in_order(each.name))
    pairs = [(node_view(host, age, cluster.age), host) for host in hosts]
    totals = _sum(_totals(node, host) for node, host in pairs)
    return ClusterView(cluster.name, tuple(node for node, _ in pairs), totals, cluster.age + age)


def node_view(host: Host, age: float, cluster_age: float) -> NodeView:
    """The view of one node, ``age`` seconds after it was fetched.

    ``cluster_age`` is how old its cluster's answer (:attr:`Cluster.age`) was then.
    """
    load, cpus = reading(host, "load_one"), reading(host, "cpu_num")
    silence = host.tn + age
    state = bands.state(silence, host.tmax, unasked=cluster_age + age)
    return NodeView(host.name, state, bands.band(load, cpus), load, cpus, silence)


def find_host(grid: Grid, cluster: str, host: str) -> Host:
    """:raises NotFound: there is no such node"""
    for each in grid.clusters:
        if each.name == cluster:
            for found in each.hosts:
                if found.name == host:
                    return found
    raise NotFound(f"there is no node {host!r} in the cluster {cluster!r}")


def reading(host: Host, name: str) -> float | None:
    """The value of a metric as a number; None when it is not there or none."""
    return next((metric.number for metric in host.metrics if metric.name == name), None)


def memory(host: Host) -> tuple[float, float]:
    """Memory of a host and how much of it is in use, in KiB; zero when it is not told."""
    total = reading(host, "mem_total") or 0.0
    unused = sum(reading(host, name) or 0.0 for name in _NOT_USED)
    return total, max(total - unused, 0.0)


def in_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts ``node2`` before ``node10``."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.findall(r"[0-9]+|[^0-9]+", name)
    ]


def _totals(node: NodeView, host: Host) -> Totals:
    if node.state is State.DOWN:
        return Totals(down=1)
    total, used = memory(host)
    return Totals(
        up=int(node.state is State.UP),
        late=int(node.state is State.LATE),
        cpus=int(node.cpus or 0),
        load=node.load or 0.0,
        total=total,
        used=used,
    )


def _sum(parts: Iterable[Totals]) -> Totals:
    whole = Totals()
    for part in parts:
        whole = Totals(
            whole.up + part.up,
            whole.late + part.late,
            whole.down + part.down,
            whole.cpus + part.cpus,
            whole.load + part.load,
            whole.total + part.total,
            whole.used + part.used,
        )
    return whole

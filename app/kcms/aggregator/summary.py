"""Sums over hosts and clusters, as Ganglia's gmetad makes them.  Pure.

A host is up while it was silent for less than 4 x TMAX.  Every numeric metric of the hosts that are
up is summed; ``num`` tells how many hosts have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kcms.wire.ganglia_xml import DEFAULT_TMAX, DOWN_FACTOR, Cluster, Grid, Host, Metric, MetricSum


@dataclass
class Summary:
    """Hosts up and down, and the sums by metric."""

    up: int = 0
    down: int = 0
    metrics: dict[str, MetricSum] = field(default_factory=dict)

    def add(self, other: Summary) -> None:
        """Count ``other`` in."""
        self.up += other.up
        self.down += other.down
        for each in other.metrics.values():
            self._add(each)

    def _add(self, told: MetricSum) -> None:
        known = self.metrics.get(told.name)
        if known is None:
            self.metrics[told.name] = told
            return
        self.metrics[told.name] = MetricSum(
            told.name,
            known.sum + told.sum,
            known.num + told.num,
            "double",
            known.units,
            known.slope,
            known.source,
            known.extra,
        )


def is_up(host: Host, age: float) -> bool:
    """Whether ``host`` is up, ``age`` seconds after its TN was told."""
    return host.tn + age < DOWN_FACTOR * (host.tmax or DEFAULT_TMAX)


def readings(host: Host, age: float) -> Iterable[tuple[Metric, float]]:
    """The numeric metrics of a host that are not older than they may be."""
    for metric in host.metrics:
        number = metric.number
        fresh = not 0 < metric.dmax < metric.tn + age
        if number is not None and fresh and metric.type != "timestamp":
            yield metric, number


def of_cluster(cluster: Cluster, age: float = 0) -> Summary:
    """The summary of a cluster that was heard ``age`` seconds ago."""
    if not cluster.hosts:
        return _told(cluster.hosts_up, cluster.hosts_down, cluster.metrics)
    summary = Summary()
    sums: dict[str, tuple[float, int, Metric]] = {}
    for host in cluster.hosts:
        if not is_up(host, age):
            summary.down += 1
            continue
        summary.up += 1
        for metric, number in readings(host, age):
            total, count, first = sums.get(metric.name, (0.0, 0, metric))
            sums[metric.name] = (total + number, count + 1, first)
    summary.metrics = {
        name: MetricSum(
            name, total, count, "double", first.units, first.slope, first.source, first.extra
        )
        for name, (total, count, first) in sums.items()
    }
    return summary


def of_grid(grid: Grid) -> Summary:
    """The summary of another grid: what it says of itself, else the sum of what it holds."""
    if not grid.clusters and not grid.grids:
        return _told(grid.hosts_up, grid.hosts_down, grid.metrics)
    summary = Summary()
    for cluster in grid.clusters:
        summary.add(of_cluster(cluster))
    for below in grid.grids:
        summary.add(of_grid(below))
    return summary


def _told(up: int, down: int, metrics: Iterable[MetricSum]) -> Summary:
    return Summary(up, down, {each.name: each for each in metrics})

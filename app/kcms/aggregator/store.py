"""What of a tree is stored, as batches of samples.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kcms.aggregator import summary
from kcms.aggregator.rrd import Batch, Sample
from kcms.aggregator.summary import Summary
from kcms.wire.ganglia_xml import Cluster, Host


def summary_batch(name: str | None, found: Summary) -> Batch:
    """The sums of the cluster or grid ``name``; without a name of the whole grid."""
    samples = tuple(
        Sample(each.name, each.sum, each.slope, each.num) for each in found.metrics.values()
    )
    return Batch(name, None, samples)


def host_batches(cluster: Cluster) -> Iterator[Batch]:
    """The numbers of every host that is up."""
    for host in cluster.hosts:
        if summary.is_up(host, 0):
            yield Batch(cluster.name, host.name, tuple(_samples(host)))


def _samples(host: Host) -> Iterator[Sample]:
    for metric, number in summary.readings(host, 0):
        yield Sample(metric.name, number, metric.slope)

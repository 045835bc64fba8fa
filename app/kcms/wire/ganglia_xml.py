"""The tree that Ganglia's XML tells: a grid of clusters of hosts of metrics.

:mod:`kcms.wire.xml_write` turns it into XML, :mod:`kcms.wire.xml_read` XML into it.  Times are in
seconds: ``tn`` since something was last heard, ``tmax`` the longest expected silence, ``dmax``
after which it is forgotten (0: never); ``localtime``, ``reported`` and ``gmond_started`` are epoch
seconds of the one who tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

DOWN_FACTOR = 4
DEFAULT_TMAX = 20
NUMERIC_TYPES = frozenset(
    ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float", "double", "timestamp")
)
SLOPES = ("zero", "positive", "negative", "both", "unspecified", "derivative")

Extra = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One reading of one host.  ``extra`` holds pairs such as ``("GROUP", "load")``."""

    name: str
    value: str
    type: str = "string"
    units: str = ""
    tn: float = 0
    tmax: int = 0
    dmax: int = 0
    slope: str = "unspecified"
    source: str = "gmond"
    extra: Extra = ()

    @property
    def number(self) -> float | None:
        """The value as a number; None when it is text or not finite."""
        return number(self.type, self.value)


@dataclass(frozen=True, slots=True)
class Host:
    """One host."""

    name: str
    ip: str = ""
    reported: int = 0
    tn: float = 0
    tmax: int = DEFAULT_TMAX
    dmax: int = 0
    location: str = "unspecified"
    gmond_started: int = 0
    tags: str = ""
    metrics: tuple[Metric, ...] = ()

    @property
    def late(self) -> bool:
        """Silent for longer than expected (2003: "not working"); one lost packet may be why."""
        return self.tn > (self.tmax or DEFAULT_TMAX)

    @property
    def down(self) -> bool:
        """Silent for 4 x TMAX and more, which is when Ganglia's gmetad stops counting a host."""
        return self.tn >= DOWN_FACTOR * (self.tmax or DEFAULT_TMAX)


@dataclass(frozen=True, slots=True)
class MetricSum:
    """The sum of one metric over the ``num`` live hosts that have it."""

    name: str
    sum: float
    num: int
    type: str = "double"
    units: str = ""
    slope: str = "unspecified"
    source: str = "gmond"
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster.  A source that tells a summary only gives counts and sums instead of hosts.

    ``age`` is how old the answer of the cluster was when it was told: 0 from the cluster itself,
    time since the last poll from an aggregator.  It is contained in every TN below.
    """

    name: str
    localtime: int = 0
    owner: str = "unspecified"
    latlong: str = "unspecified"
    url: str = "unspecified"
    hosts: tuple[Host, ...] = ()
    hosts_up: int = 0
    hosts_down: int = 0
    metrics: tuple[MetricSum, ...] = ()
    age: float = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid; the counts and sums are those told by a grid that tells no clusters."""

    name: str
    authority: str = ""
    localtime: int = 0
    clusters: tuple[Cluster, ...] = ()
    grids: tuple[Grid, ...] = ()
    hosts_up: int = 0
    hosts_down: int = 0
    metrics: tuple[MetricSum, ...] = ()


@dataclass(frozen=True, slots=True)
class GangliaTree:
    """A whole document: ``source`` is ``gmond`` from one cluster, ``gmetad`` from a grid."""

    source: str
    version: str = ""
    clusters: tuple[Cluster, ...] = field(default=())
    grids: tuple[Grid, ...] = field(default=())

    @property
    def grid(self) -> Grid:
        """The grid it tells of; clusters without one stand in a grid without a name."""
        if self.grids:
            return self.grids[0]
        return Grid("unspecified", clusters=self.clusters)


def number(kind: str, text: str) -> float | None:
    """``text`` of a metric of type ``kind`` as a finite number; None when it is none."""
    if kind not in NUMERIC_TYPES:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

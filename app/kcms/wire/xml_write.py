"""Ganglia's XML of a tree, piece by piece, always well-formed whatever the names and values hold.

``gmond`` and ``gmetad`` order the attributes of HOST differently and only the latter tells the
SOURCE of a metric; both orders are kept, for readers that compare or cut lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from kcms.wire.ganglia_xml import Cluster, Extra, Grid, Host, Metric, MetricSum

FORMAT_VERSION = "3.7.2"  # the Ganglia whose format this is; its readers look at it

_PLAIN = re.compile(r"[ !#-%(-;=?-~]*")
_SPECIAL = re.compile(r"""[^ !#-%(-;=?-~]""")
_ENTITIES = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;",
    "\t": "&#9;", "\n": "&#10;", "\r": "&#13;",
}  # fmt: skip

DTD = """<!DOCTYPE GANGLIA_XML [
<!ELEMENT GANGLIA_XML (GRID|CLUSTER|HOST)*>
<!ATTLIST GANGLIA_XML VERSION CDATA #REQUIRED SOURCE CDATA #REQUIRED>
<!ELEMENT GRID (CLUSTER|GRID|HOSTS|METRICS)*>
<!ATTLIST GRID NAME CDATA #REQUIRED AUTHORITY CDATA #REQUIRED LOCALTIME CDATA #IMPLIED>
<!ELEMENT CLUSTER (HOST|HOSTS|METRICS)*>
<!ATTLIST CLUSTER NAME CDATA #REQUIRED LOCALTIME CDATA #REQUIRED OWNER CDATA #IMPLIED
  LATLONG CDATA #IMPLIED URL CDATA #IMPLIED>
<!ELEMENT HOST (METRIC)*>
<!ATTLIST HOST NAME CDATA #REQUIRED IP CDATA #REQUIRED TAGS CDATA #IMPLIED
  REPORTED CDATA #REQUIRED TN CDATA #IMPLIED TMAX CDATA #IMPLIED DMAX CDATA #IMPLIED
  LOCATION CDATA #IMPLIED GMOND_STARTED CDATA #IMPLIED>
<!ELEMENT METRIC (EXTRA_DATA*)>
<!ATTLIST METRIC NAME CDATA #REQUIRED VAL CDATA #REQUIRED
  TYPE (string|int8|uint8|int16|uint16|int32|uint32|float|double|timestamp) #REQUIRED
  UNITS CDATA #IMPLIED TN CDATA #IMPLIED TMAX CDATA #IMPLIED DMAX CDATA #IMPLIED
  SLOPE (zero|positive|negative|both|unspecified|derivative) #IMPLIED SOURCE CDATA "gmond">
<!ELEMENT EXTRA_DATA (EXTRA_ELEMENT*)>
<!ELEMENT EXTRA_ELEMENT EMPTY>
<!ATTLIST EXTRA_ELEMENT NAME CDATA #REQUIRED VAL CDATA #REQUIRED>
<!ELEMENT HOSTS EMPTY>
<!ATTLIST HOSTS UP CDATA #REQUIRED DOWN CDATA #REQUIRED SOURCE (gmond|gmetad) #REQUIRED>
<!ELEMENT METRICS (EXTRA_DATA*)>
<!ATTLIST METRICS NAME CDATA #REQUIRED SUM CDATA #REQUIRED NUM CDATA #REQUIRED
  TYPE (string|int8|uint8|int16|uint16|int32|uint32|float|double|timestamp) #REQUIRED
  UNITS CDATA #IMPLIED SLOPE (zero|positive|negative|both|unspecified|derivative) #IMPLIED
  SOURCE CDATA "gmond">
]>
"""


def encode(text: str) -> bytes:
    """The bytes of a piece; what Latin-1 lacks is already a character reference."""
    return text.encode("latin-1")


def escape(text: str) -> str:
    """``text`` for an attribute; characters that XML cannot hold and control codes are left out."""
    if _PLAIN.fullmatch(text):
        return text
    return _SPECIAL.sub(lambda found: _reference(found[0]), text)


def _reference(character: str) -> str:
    known = _ENTITIES.get(character)
    if known is not None:
        return known
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE:
        return ""
    return character if code < 0x100 else f"&#{code};"


def opening(source: str) -> str:
    """Everything before the first cluster or grid."""
    declaration = '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>\n'
    return f'{declaration}{DTD}<GANGLIA_XML VERSION="{FORMAT_VERSION}" SOURCE="{source}">\n'


CLOSING = "</GANGLIA_XML>\n"
CLUSTER_END = "</CLUSTER>\n"
GRID_END = "</GRID>\n"


def grid_start(grid: Grid) -> str:
    """The opening tag of a grid."""
    return (
        f'<GRID NAME="{escape(grid.name)}" AUTHORITY="{escape(grid.authority)}" '
        f'LOCALTIME="{grid.localtime}">\n'
    )


def cluster_start(cluster: Cluster) -> str:
    """The opening tag of a cluster."""
    return (
        f'<CLUSTER NAME="{escape(cluster.name)}" LOCALTIME="{cluster.localtime}" '
        f'OWNER="{escape(cluster.owner)}" LATLONG="{escape(cluster.latlong)}" '
        f'URL="{escape(cluster.url)}">\n'
    )


def host_start(host: Host, source: str, age: float = 0) -> str:
    """The opening tag of a host whose TN has grown by ``age`` seconds since."""
    name = f'NAME="{escape(host.name)}" IP="{escape(host.ip)}"'
    tags = f'TAGS="{escape(host.tags)}"'
    times = (
        f'REPORTED="{host.reported}" TN="{int(host.tn + age)}" '
        f'TMAX="{host.tmax}" DMAX="{host.dmax}" '
        f'LOCATION="{escape(host.location)}" GMOND_STARTED="{host.gmond_started}"'
    )
    inner = f"{name} {tags} {times}" if source == "gmond" else f"{name} {times} {tags}"
    return f"<HOST {inner}>\n"


HOST_END = "</HOST>\n"


def host(shown: Host, source: str, age: float = 0) -> str:
    """A whole host."""
    parts = [host_start(shown, source, age)]
    parts.extend(_metric(each, age) for each in shown.metrics)
    parts.append(HOST_END)
    return "".join(parts)


def _metric(metric: Metric, age: float) -> str:
    head, middle, tail = metric_parts(
        metric.name, metric.type, metric.units, metric.slope,
        metric.tmax, metric.dmax, metric.extra, metric.source,
    )  # fmt: skip
    return f"{head}{escape(metric.value)}{middle}{int(metric.tn + age)}{tail}"


@lru_cache(maxsize=16384)
def metric_parts(
    name: str, kind: str, units: str, slope: str, tmax: int, dmax: int, extra: Extra, source: str
) -> tuple[str, str, str]:
    """What stands before, between and after a metric's value and TN; the same on every host.

    An empty ``source`` leaves SOURCE out, as gmond does.
    """
    told = f' SOURCE="{escape(source)}"' if source else ""
    return (
        f'<METRIC NAME="{escape(name)}" VAL="',
        f'" TYPE="{escape(kind)}" UNITS="{escape(units)}" TN="',
        f'" TMAX="{tmax}" DMAX="{dmax}" SLOPE="{escape(slope)}"{told}>\n'
        f"{_extra_data(extra)}</METRIC>\n",
    )


def _extra_data(extra: Extra) -> str:
    lines = "".join(
        f'<EXTRA_ELEMENT NAME="{escape(key)}" VAL="{escape(text)}"/>\n' for key, text in extra
    )
    return f"<EXTRA_DATA>\n{lines}</EXTRA_DATA>\n"


def hosts(up: int, down: int) -> str:
    """How many hosts are up and down."""
    return f'<HOSTS UP="{up}" DOWN="{down}" SOURCE="gmetad"/>\n'


def metric_sum(metric: MetricSum) -> str:
    """The sum of one metric."""
    return (
        f'<METRICS NAME="{escape(metric.name)}" SUM="{decimal(metric.sum)}" NUM="{metric.num}" '
        f'TYPE="{escape(metric.type)}" UNITS="{escape(metric.units)}" '
        f'SLOPE="{escape(metric.slope)}" SOURCE="{escape(metric.source)}">\n'
        f"{_extra_data(metric.extra)}</METRICS>\n"
    )


def decimal(value: float) -> str:
    """A number without exponent, with as many decimals as matter (five at the most)."""
    return f"{value:.5f}".rstrip("0").rstrip(".")


def cluster(shown: Cluster, age: float = 0) -> Iterator[str]:
    """A cluster as an aggregator tells it, ``age`` seconds after it was heard, host by host."""
    yield cluster_start(shown)
    for each in shown.hosts:
        yield host(each, "gmetad", age)
    yield CLUSTER_END


def summary(grid: Grid) -> Iterator[str]:
    """A grid by its counts and sums alone, as one grid tells another's."""
    yield grid_start(grid)
    yield hosts(grid.hosts_up, grid.hosts_down)
    yield from map(metric_sum, grid.metrics)
    yield GRID_END


def grid(top: Grid, clusters: Iterable[tuple[Cluster, float]]) -> Iterator[str]:
    """The whole document of an aggregator; ``clusters`` with the age of what they told."""
    yield opening("gmetad") + grid_start(top)
    for each, age in clusters:
        yield from cluster(each, age)
    for below in top.grids:
        yield from summary(below)
    yield GRID_END + CLOSING

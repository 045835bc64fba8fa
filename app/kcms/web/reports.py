"""What the graphs show: the four reports of a grid, cluster or host, and any single metric.

Pure descriptions.  A :class:`Curve` is a sum of metrics minus others; :mod:`kcms.web.drawing` turns
it into arguments for rrdtool.  Memory has a fixed unit, as rrdtool's own prefixes are of powers of
ten by name whatever they count.  The formulas are Ganglia's: memory in use is what is neither free,
cached, buffered nor reclaimable; a cluster's CPU share is each sum over the number of nodes in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

KIBIBYTES_A_GIB = 2.0**20
KIBIBYTES_A_MIB = 2.0**10


class Draw(StrEnum):
    """How a curve is drawn; a STACK lies on the curve before it."""

    AREA = "area"
    STACK = "stack"
    LINE = "line"


@dataclass(frozen=True)
class Curve:
    """One curve: (sum of ``plus`` - sum of ``minus``) x ``scale``.

    It is left out where a metric of ``plus`` is not stored; metrics of ``minus`` are optional.
    ``hosts`` draws the number of hosts behind the first metric instead, ``average`` divides by it;
    both only where there is such a number, in the summary of a cluster or of the grid.
    """

    label: str
    colour: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    draw: Draw = Draw.LINE
    scale: float = 1.0
    hosts: bool = False
    average: bool = False
    form: str = ""


@dataclass(frozen=True)
class Report:
    """One picture.  ``form`` is how its legend prints a number, unless a curve has its own."""

    key: str
    title: str
    unit: str
    curves: tuple[Curve, ...]
    form: str
    upper: float | None = None

    @property
    def metrics(self) -> frozenset[str]:
        """Every metric that some curve reads."""
        return frozenset(name for curve in self.curves for name in curve.plus + curve.minus)


def _share(label: str, metric: str, draw: Draw = Draw.STACK) -> Curve:
    return Curve(label, label, (metric,), draw=draw, average=True)


def _memory(label: str, *names: str, minus: tuple[str, ...] = (), draw: Draw = Draw.STACK) -> Curve:
    return Curve(label, label, names, minus, draw, 1 / KIBIBYTES_A_GIB)


# Linux counts shared memory (tmpfs) into Cached, so it is shown apart from it, not taken twice.
_NOT_USED = ("mem_free", "mem_cached", "mem_buffers", "mem_sreclaimable")

LOAD = Report(
    "load",
    "Load",
    "processes",
    (
        Curve("load", "load", ("load_one",), draw=Draw.AREA),
        Curve("running", "running", ("proc_run",), form="%7.0lf"),
        Curve("CPUs", "cpus", ("cpu_num",), form="%7.0lf"),
        Curve("nodes", "nodes", ("load_one",), hosts=True, form="%7.0lf"),
    ),
    "%7.2lf",
)
MEMORY = Report(
    "memory",
    "Memory",
    "GiB",
    (
        _memory("used", "mem_total", minus=_NOT_USED, draw=Draw.AREA),
        _memory("shared", "mem_shared"),
        _memory("cached", "mem_cached", minus=("mem_shared",)),
        _memory("slab", "mem_sreclaimable"),
        _memory("buffers", "mem_buffers"),
        _memory("free", "mem_free"),
        _memory("swapped", "swap_total", minus=("swap_free",)),
        Curve("total", "total", ("mem_total",), scale=1 / KIBIBYTES_A_GIB),
    ),
    "%8.2lf GiB",
)
CPU = Report(
    "cpu",
    "CPU",
    "percent",
    (
        _share("user", "cpu_user", Draw.AREA),
        _share("nice", "cpu_nice"),
        _share("system", "cpu_system"),
        _share("wait", "cpu_wio"),
        _share("steal", "cpu_steal"),
        _share("idle", "cpu_idle"),
    ),
    "%6.1lf %%",
    upper=100.0,
)
NETWORK = Report(
    "network",
    "Network",
    "bytes a second",
    (
        Curve("in", "in", ("bytes_in",), draw=Draw.AREA),
        Curve("out", "out", ("bytes_out",)),
    ),
    "%6.1lf %sB",
)
REPORTS: dict[str, Report] = {each.key: each for each in (LOAD, MEMORY, CPU, NETWORK)}

_COLOURS = {
    "cpu": "user",
    "load": "running",
    "mem": "used",
    "swap": "swapped",
    "pkts": "in",
    "bytes": "in",
    "proc": "wait",
    "disk": "cached",
    "part": "cached",
}


def single(metric: str, unit: str) -> Report:
    """The picture of one metric of one host, told in ``unit`` (as the metric's UNITS says)."""
    scale, form, upper = 1.0, "%8.2lf %s", None
    if unit == "KB":
        scale, form, unit = 1 / KIBIBYTES_A_MIB, "%8.0lf MiB", "MiB"
    elif unit == "%":
        form, unit, upper = "%6.1lf %%", "percent", 100.0
    elif metric.startswith(("load_", "pkts_", "proc_")):
        form = "%8.0lf" if metric.startswith("proc_") else "%8.2lf"
    colour = _COLOURS.get(metric.partition("_")[0], "other")
    curve = Curve("", colour, (metric,), draw=Draw.AREA, scale=scale)
    return Report(metric, metric, unit.strip(), (curve,), form, upper)

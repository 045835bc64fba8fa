"""What the node page tells besides pictures: facts, and which metrics are drawn where.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from kcms.web import words
from kcms.web.bands import State
from kcms.web.view import NodeView, memory, reading
from kcms.wire.ganglia_xml import NUMERIC_TYPES, Host, Metric

K5 = (
    "cpu_user", "cpu_system", "cpu_idle",
    "load_one", "load_five", "load_fifteen",
    "mem_free", "mem_buffers", "proc_total",
    "pkts_in", "pkts_out",
)  # fmt: skip
_GROUPS = ("cpu", "load", "process", "memory", "network", "disk", "system")
_SPECIAL = frozenset({"heartbeat", "location", "gexec"})
_DRAWN = NUMERIC_TYPES - {"timestamp"}


def node_facts(host: Host, node: NodeView, now: float, jobs: str = "") -> list[tuple[str, str]]:
    """Label and text of each fact that is known of ``host``; ``now`` in epoch seconds.

    ``jobs`` is how its manager sees it.
    """
    texts = {metric.name: metric.value for metric in host.metrics}
    found = [("Last heard", node.heard), ("Address", host.ip)]
    found.append(("Jobs", jobs[:1].upper() + jobs[1:]))
    if node.load is not None and node.state is not State.DOWN:
        found.append(("Load", f"{words.number(node.load)} ({node.short})"))
    speed = reading(host, "cpu_speed")
    if node.cpus:
        found.append(("CPUs", f"{node.cpus:g}" + (f" at {speed:g} MHz" if speed else "")))
    for label, name in (("Memory", "mem_total"), ("Swap space", "swap_total")):
        amount = reading(host, name)
        if amount:
            found.append((label, words.kibibytes(amount)))
    system = " ".join(texts[name] for name in ("os_name", "os_release") if name in texts)
    found.append(("System", system))
    found.append(("Machine", texts.get("machine_type", "")))
    found.append(("Booted", moment(reading(host, "boottime"), now)))
    found.append(("Monitor started", moment(float(host.gmond_started), now)))
    return [(label, text) for label, text in found if text]


def report_values(host: Host, node: NodeView) -> dict[str, str]:
    """The present value in words for each report that has one; none of a node that is down."""
    if node.state is State.DOWN:
        return {}
    found = {}
    if node.load is not None:
        found["load"] = f"{words.number(node.load)} on {node.cpus or 1:g} CPUs"
    total, used = memory(host)
    if total:
        found["memory"] = f"{words.kibibytes(used)} of {words.kibibytes(total)} used"
    idle = reading(host, "cpu_idle")
    if idle is not None:
        found["cpu"] = f"{max(100 - idle, 0):.0f} % in use"
    return found


def moment(epoch: float | None, now: float) -> str:
    """``epoch`` as date and how long ago; empty if it is no time in the past that can be."""
    if epoch is None or not 0 < epoch <= now + 60:
        return ""
    told = datetime.fromtimestamp(epoch, UTC).astimezone()
    return f"{told:%Y-%m-%d %H:%M} ({words.span(now - epoch)} ago)"


def drawn(metric: Metric) -> bool:
    """True for a number that changes, and so has a history worth a picture."""
    return metric.type in _DRAWN and metric.slope != "zero" and metric.name.lower() not in _SPECIAL


def groups(host: Host) -> list[tuple[str, list[Metric]]]:
    """The metrics to draw: K5's first, in its order, then the others by group."""
    by_name = {metric.name: metric for metric in host.metrics if drawn(metric)}
    first = [by_name.pop(name) for name in K5 if name in by_name]
    others: dict[str, list[Metric]] = {}
    for name in sorted(by_name):
        others.setdefault(group(by_name[name]), []).append(by_name[name])
    found = [("Metrics", first)] if first else []
    found.extend((f"More: {key}", others[key]) for key in sorted(others, key=_group_order))
    return found


def group(metric: Metric) -> str:
    """The group a metric names for itself, ``other`` without one."""
    told = [text for key, text in metric.extra if key == "GROUP" and text]
    return told[0] if told else "other"


def title(metric: Metric) -> str:
    """The title a metric names for itself, its own name without one."""
    told = [text for key, text in metric.extra if key == "TITLE" and text]
    return told[0] if told else metric.name


def texts(host: Host) -> list[tuple[str, str]]:
    """The metrics that are not drawn, as title and value."""
    return [
        (title(metric), words.value(metric.value, metric.units))
        for metric in sorted(host.metrics, key=lambda each: each.name)
        if not drawn(metric) and metric.name.lower() not in _SPECIAL
    ]


def _group_order(name: str) -> tuple[int, str]:
    return (_GROUPS.index(name) if name in _GROUPS else len(_GROUPS), name)

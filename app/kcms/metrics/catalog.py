"""Every metric that is measured: one row each, with its reader.

The rows are Ganglia's own for Linux (names, types, units, TMAX and texts are what its readers
expect), the groups and thresholds those of Debian 12's gmond.  To add a metric, add a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from kcms.metrics import sampler
from kcms.metrics.sampler import Sampler
from kcms.wire.ganglia_xml import Extra

Reading = float | str | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One row.  ``threshold``: a change of at least that much since it was last sent is told at
    once; 0 means any change, None that changes alone never are."""

    name: str
    type: str
    form: str
    units: str
    slope: str
    tmax: int
    group: str
    title: str
    desc: str
    read: Callable[[Sampler], Reading]
    threshold: float | None = None

    @property
    def extra(self) -> Extra:
        """Title, description and group as they are sent."""
        return (("TITLE", self.title), ("DESC", self.desc), ("GROUP", self.group))


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics that are read together every ``collect_every`` seconds and sent together, at the
    latest every ``time_threshold`` seconds."""

    name: str
    collect_every: float
    time_threshold: float
    metrics: tuple[Metric, ...]


def groups(started: int) -> tuple[Group, ...]:
    """All of them, for a monitor started at ``started`` (epoch seconds)."""
    heartbeat = replace(_HEARTBEAT, read=lambda _: started)
    return (Group("heartbeat", 10, 10, (heartbeat,)), *_GROUPS)


def by_name(shown: Iterable[Group]) -> dict[str, Metric]:
    """The metrics of ``shown`` by name."""
    return {metric.name: metric for group in shown for metric in group.metrics}


# Ganglia sends it every 20 s, which is also its TMAX: a single lost packet made a host late.
_HEARTBEAT = Metric(
    "heartbeat", "uint32", "%u", "", "unspecified", 20, "core",
    "Last Heartbeat", "Last heartbeat", lambda _: None,
)  # fmt: skip


def _constant(
    name: str, kind: str, form: str, units: str, group: str, title: str, desc: str,
    read: Callable[[Sampler], Reading],
) -> Metric:  # fmt: skip
    return Metric(name, kind, form, units, "zero", 1200, group, title, desc, read, threshold=0)


def _cpu(
    name: str, title: str, desc: str, threshold: float, *fields: str, tmax: int = 90
) -> Metric:
    def read(host: Sampler) -> Reading:
        return host.cpu_share(*fields)

    return Metric(name, "float", "%.1f", "%", "both", tmax, "cpu", title, desc, read, threshold)


def _load(name: str, word: str, at: int, tmax: int) -> Metric:
    title, desc = f"{word} Minute Load Average", f"{word} minute load average"
    return Metric(
        name, "float", "%.2f", " ", "both", tmax, "load", title, desc, lambda host: host.load(at), 1
    )


def _memory(name: str, title: str, desc: str, read: Callable[[Sampler], Reading]) -> Metric:
    return Metric(name, "float", "%.0f", "KB", "both", 180, "memory", title, desc, read, 1024)


def _network(name: str, units: str, title: str, desc: str, field: str, threshold: float) -> Metric:
    return Metric(
        name, "float", "%.2f", units, "both", 300, "network", title, desc,
        lambda host: host.network(field), threshold,
    )  # fmt: skip


def _process(name: str, title: str, desc: str, read: Callable[[Sampler], Reading]) -> Metric:
    return Metric(name, "uint32", "%u", " ", "both", 950, "process", title, desc, read, 1)


_GROUPS = (
    Group(
        "constants", 1200, 1200,
        (
            _constant("cpu_num", "uint16", "%hu", "CPUs", "cpu", "CPU Count",
                      "Total number of CPUs", Sampler.cpu_count),
            _constant("cpu_speed", "uint32", "%u", "MHz", "cpu", "CPU Speed",
                      "CPU Speed in terms of MHz", Sampler.cpu_speed),
            _constant("mem_total", "float", "%.0f", "KB", "memory", "Memory Total",
                      "Total amount of memory displayed in KBs", lambda h: h.memory("total")),
            _constant("swap_total", "float", "%.0f", "KB", "memory", "Swap Space Total",
                      "Total amount of swap space displayed in KBs", lambda h: h.swap("total")),
            _constant("boottime", "uint32", "%u", "s", "system", "Last Boot Time",
                      "The last time that the system was started", Sampler.boot_time),
            _constant("machine_type", "string", "%s", "", "system", "Machine Type",
                      "System architecture", sampler.machine_type),
            _constant("os_name", "string", "%s", "", "system", "Operating System",
                      "Operating system name", sampler.os_name),
            _constant("os_release", "string", "%s", "", "system", "Operating System Release",
                      "Operating system release date", sampler.os_release),
        ),
    ),
    Group(
        "gexec", 300, 300,
        (Metric("gexec", "string", "%s", "", "zero", 300, "core", "Gexec Status",
                "gexec available", lambda _: "OFF"),),
    ),
    Group(
        "cpu", 20, 90,
        (
            _cpu("cpu_user", "CPU User",
                 "Percentage of CPU utilization at the user level", 1, "user"),
            _cpu("cpu_system", "CPU System",
                 "Percentage of CPU utilization at the system level", 1,
                 "system", "irq", "softirq"),
            _cpu("cpu_idle", "CPU Idle",
                 "Percentage of time the CPUs were idle without outstanding disk I/O", 5, "idle"),
            _cpu("cpu_nice", "CPU Nice",
                 "Percentage of CPU utilization at the user level with nice priority", 1, "nice"),
            Metric("cpu_aidle", "float", "%.1f", "%", "both", 3800, "cpu", "CPU aidle",
                   "Percent of time since boot idle CPU",
                   lambda h: h.cpu_share_since_boot("idle"), 5),
            _cpu("cpu_wio", "CPU wio",
                 "Percentage of time the CPUs were idle with outstanding disk I/O", 1, "iowait"),
            _cpu("cpu_steal", "CPU steal",
                 "Percentage of time taken by the hypervisor", 1, "steal"),
        ),
    ),
    Group(
        "load", 20, 90,
        (
            _load("load_one", "One", 0, 70),
            _load("load_five", "Five", 1, 325),
            _load("load_fifteen", "Fifteen", 2, 950),
        ),
    ),
    Group(
        "process", 80, 950,
        (
            _process("proc_run", "Total Running Processes",
                     "Total number of running processes", Sampler.running),
            _process("proc_total", "Total Processes",
                     "Total number of processes", Sampler.processes),
        ),
    ),
    Group(
        "memory", 40, 180,
        (
            _memory("mem_free", "Free Memory", "Amount of available memory",
                    lambda h: h.memory("free")),
            _memory("mem_shared", "Shared Memory", "Amount of shared memory",
                    lambda h: h.memory("shared")),
            _memory("mem_buffers", "Memory Buffers", "Amount of buffered memory",
                    lambda h: h.memory("buffers")),
            _memory("mem_cached", "Cached Memory", "Amount of cached memory",
                    lambda h: h.memory("cached")),
            _memory("swap_free", "Free Swap Space", "Amount of available swap memory",
                    lambda h: h.swap("free")),
        ),
    ),
    Group(
        "network", 40, 300,
        (
            _network("bytes_out", "bytes/sec", "Bytes Sent",
                     "Number of bytes out per second", "bytes_sent", 4096),
            _network("bytes_in", "bytes/sec", "Bytes Received",
                     "Number of bytes in per second", "bytes_recv", 4096),
            _network("pkts_in", "packets/sec", "Packets Received",
                     "Packets in per second", "packets_recv", 256),
            _network("pkts_out", "packets/sec", "Packets Sent",
                     "Packets out per second", "packets_sent", 256),
        ),
    ),
    Group(
        "disk size", 1800, 3600,
        (Metric("disk_total", "double", "%.3f", "GB", "both", 1200, "disk", "Total Disk Space",
                "Total available disk space", Sampler.disk_total, 1),),
    ),
    Group(
        "disk", 40, 180,
        (
            Metric("disk_free", "double", "%.3f", "GB", "both", 180, "disk",
                   "Disk Space Available", "Total free disk space", Sampler.disk_free, 1),
            Metric("part_max_used", "float", "%.1f", "%", "both", 180, "disk",
                   "Maximum Disk Space Used", "Maximum percent used for all partitions",
                   Sampler.part_max_used, 1),
        ),
    ),
)  # fmt: skip

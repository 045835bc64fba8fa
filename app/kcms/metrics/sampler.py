"""Readings of this host.  Where they come from, and the clock, are given.

Rates and shares lie between two looks at the kernel's counters.  One :class:`Sampler` lives as long
as its daemon; each :meth:`Sampler.look` starts a round in which every source is read at most once,
so that all metrics of a group tell the same instant.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Source(Protocol):
    """What is used of psutil."""

    def cpu_times(self) -> Any: ...
    def cpu_count(self) -> int | None: ...
    def cpu_freq(self) -> Any: ...
    def getloadavg(self) -> tuple[float, float, float]: ...
    def virtual_memory(self) -> Any: ...
    def swap_memory(self) -> Any: ...
    def net_io_counters(self, pernic: bool) -> dict[str, Any]: ...
    def disk_partitions(self, all: bool) -> list[Any]: ...  # noqa: A002
    def disk_usage(self, path: str) -> Any: ...
    def pids(self) -> list[int]: ...
    def boot_time(self) -> float: ...


# Packets over these pass a physical interface, or another of these, as well, or never leave.
_NOT_COUNTED = re.compile(r"lo|bond|team|br|virbr|docker|veth|vnet|vlan|dummy|ifb|tun|tap|wg|.*\.")
_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_NET_FIELDS = ("bytes_recv", "bytes_sent", "packets_recv", "packets_sent")
_GIGABYTE = 1e9


class Sampler:
    """Reads ``source`` (psutil); ``clock`` counts seconds and never goes back."""

    def __init__(
        self, source: Source, clock: Callable[[], float], proc: Path = Path("/proc")
    ) -> None:
        self._source = source
        self._clock = clock
        self._proc = proc
        self._read: dict[str, Any] = {}
        self._cpu_before = self._cpu_times()
        self._net_before: tuple[float, dict[str, Any]] = (clock(), self._interfaces())

    def look(self) -> None:
        """Start a new round."""
        self._read = {}

    def _once(self, name: str, read: Callable[[], T]) -> T:
        if name not in self._read:
            self._read[name] = read()
        value: T = self._read[name]
        return value

    def cpu_share(self, *fields: str) -> float | None:
        """Percent of CPU time spent in ``fields`` since the round before that asked.

        None when no time was counted.  The kernel's iowait may step back: that counts as nothing.
        """
        return _share(self._once("cpu", self._cpu_differences), fields)

    def cpu_share_since_boot(self, field: str) -> float | None:
        """Percent of CPU time spent in ``field`` since the host was started."""
        return _share(self._once("cpu_times", self._cpu_times), (field,))

    def _cpu_times(self) -> list[float]:
        times = self._source.cpu_times()
        return [float(getattr(times, each, 0.0)) for each in _CPU_FIELDS]

    def _cpu_differences(self) -> list[float]:
        now = self._once("cpu_times", self._cpu_times)
        before, self._cpu_before = self._cpu_before, now
        return [max(new - old, 0.0) for new, old in zip(now, before, strict=True)]

    def cpu_count(self) -> int | None:
        """Logical CPUs."""
        return self._source.cpu_count()

    def cpu_speed(self) -> int | None:
        """MHz at the most, or now where the most is not told."""
        told = self._source.cpu_freq()
        return round(told.max or told.current) if told else None

    def load(self, at: int) -> float:
        """Load average over 1 (``at`` 0), 5 or 15 minutes."""
        return self._once("load", self._source.getloadavg)[at]

    def processes(self) -> int:
        """Processes there are."""
        return len(self._source.pids())

    def running(self) -> int | None:
        """Threads that run or wait for a CPU, besides the one that asks (proc_loadavg(5))."""
        try:
            text = (self._proc / "loadavg").read_text(encoding="ascii")
            return max(int(text.split()[3].partition("/")[0]) - 1, 0)
        except (OSError, ValueError, IndexError):
            return None

    def memory(self, field: str) -> float:
        """KiB of memory: total, free, shared, buffers or cached.

        psutil counts reclaimable slab, which mem_cached of Ganglia leaves out, as cached.
        """
        return float(getattr(self._once("memory", self._source.virtual_memory), field) / 1024)

    def swap(self, field: str) -> float:
        """KiB of swap space: total or free."""
        return float(getattr(self._once("swap", self._source.swap_memory), field) / 1024)

    def network(self, field: str) -> float | None:
        """Bytes or packets a second over the physical interfaces since the round before.

        An interface that came, or whose counter was reset, counts from the next round on.
        """
        return self._once("network", self._network_rates).get(field)

    def _interfaces(self) -> dict[str, Any]:
        told = self._source.net_io_counters(pernic=True)
        return {name: told[name] for name in told if not _NOT_COUNTED.match(name)}

    def _network_rates(self) -> dict[str, float]:
        then, before = self._net_before
        now, counters = self._clock(), self._interfaces()
        if now <= then:
            return {}
        self._net_before = (now, counters)
        return {
            field: sum(
                max(getattr(counters[name], field) - getattr(before[name], field), 0)
                for name in counters.keys() & before.keys()
            )
            / (now - then)
            for field in _NET_FIELDS
        }

    def disk_total(self) -> float:
        """GB (1e9 bytes) of local, writable file systems."""
        return float(sum(usage.total for usage in self._disks()) / _GIGABYTE)

    def disk_free(self) -> float:
        """GB of them that are free to ordinary users."""
        return float(sum(usage.free for usage in self._disks()) / _GIGABYTE)

    def part_max_used(self) -> float:
        """Percent of the fullest of them."""
        return max((float(usage.percent) for usage in self._disks()), default=0.0)

    def _disks(self) -> list[Any]:
        return self._once("disks", self._disk_usages)

    def _disk_usages(self) -> list[Any]:
        mounts: dict[str, str] = {}
        for part in self._source.disk_partitions(all=False):
            if part.device.startswith("/dev/") and "rw" in part.opts.split(","):
                mounts.setdefault(part.device, part.mountpoint)
        usages = []
        for mount in list(mounts.values()) or ["/"]:  # a container's root may have no device
            try:
                usages.append(self._source.disk_usage(mount))
            except OSError:  # unmounted meanwhile, or not for us to see
                continue
        return usages

    def boot_time(self) -> int:
        """Epoch seconds."""
        return int(self._source.boot_time())


def _share(times: list[float], fields: tuple[str, ...]) -> float | None:
    total = sum(times)
    if total <= 0:
        return None
    return 100.0 * sum(times[_CPU_FIELDS.index(each)] for each in fields) / total


def machine_type(_: Sampler) -> str:
    """The architecture, as ``x86_64``."""
    return platform.machine()


def os_name(_: Sampler) -> str:
    """The system, as ``Linux``."""
    return os.uname().sysname


def os_release(_: Sampler) -> str:
    """The kernel's release."""
    return os.uname().release

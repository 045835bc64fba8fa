"""The rows: K5 and Ganglia's core set, and every one of them can be sent."""

from __future__ import annotations

import pytest

from kcms.metrics import catalog
from kcms.metrics.collect import describe, tell
from kcms.metrics.sampler import Sampler
from kcms.wire.packets import KIND_OF_TYPE, Kind, decode, encode
from tests.unit.metrics.test_sampler import Machine

K5 = {
    "cpu_idle", "cpu_system", "cpu_user", "load_one", "load_five", "load_fifteen",
    "mem_buffers", "mem_free", "pkts_in", "pkts_out", "proc_total",
}  # fmt: skip
CORE = K5 | {
    "heartbeat", "gexec", "cpu_num", "cpu_speed", "mem_total", "swap_total", "boottime",
    "machine_type", "os_name", "os_release", "cpu_nice", "cpu_aidle", "cpu_wio", "proc_run",
    "mem_shared", "mem_cached", "swap_free", "bytes_in", "bytes_out", "disk_total", "disk_free",
    "part_max_used",
}  # fmt: skip


def test_nothing_of_the_core_set_is_missing_and_no_name_stands_twice() -> None:
    groups = catalog.groups(1)
    names = [metric.name for group in groups for metric in group.metrics]
    assert len(names) == len(set(names))
    assert set(names) >= CORE


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("cpu_num", ("uint16", "%hu", "CPUs", "zero", 1200, "cpu")),
        ("load_one", ("float", "%.2f", " ", "both", 70, "load")),
        ("load_fifteen", ("float", "%.2f", " ", "both", 950, "load")),
        ("mem_free", ("float", "%.0f", "KB", "both", 180, "memory")),
        ("pkts_in", ("float", "%.2f", "packets/sec", "both", 300, "network")),
        ("cpu_idle", ("float", "%.1f", "%", "both", 90, "cpu")),
        ("cpu_aidle", ("float", "%.1f", "%", "both", 3800, "cpu")),
        ("proc_total", ("uint32", "%u", " ", "both", 950, "process")),
        ("disk_total", ("double", "%.3f", "GB", "both", 1200, "disk")),
        ("heartbeat", ("uint32", "%u", "", "unspecified", 20, "core")),
    ],
)
def test_rows_are_ganglias(name: str, row: tuple[object, ...]) -> None:
    metric = catalog.by_name(catalog.groups(1))[name]
    told = (metric.type, metric.form, metric.units, metric.slope, metric.tmax, metric.group)
    assert told == row


@pytest.mark.parametrize(
    ("name", "every", "at_least"),
    [("heartbeat", 10, 10), ("constants", 1200, 1200), ("cpu", 20, 90), ("load", 20, 90),
     ("process", 80, 950), ("memory", 40, 180), ("network", 40, 300), ("disk", 40, 180)],
)  # fmt: skip
def test_groups_are_debians(name: str, every: float, at_least: float) -> None:
    (group,) = [each for each in catalog.groups(1) if each.name == name]
    assert (group.collect_every, group.time_threshold) == (every, at_least)


def test_every_row_can_be_read_and_sent() -> None:
    machine = Machine()
    sampler = Sampler(machine, machine.clock)
    machine.now += 1
    machine.cpu["idle"] += 100
    sampler.look()
    for metric in catalog.by_name(catalog.groups(1_700_000_000)).values():
        value = metric.read(sampler)
        assert value is not None, metric.name
        assert isinstance(value, str) == (KIND_OF_TYPE[metric.type] is Kind.STRING)
        assert decode(encode(describe(metric, "h"))) == describe(metric, "h")
        encode(tell(metric, "h", value))

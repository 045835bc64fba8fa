"""Readings from counters that stand still: exact numbers, no machine involved."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.metrics.sampler import Sampler

KIB = 1024


class Machine:
    """What psutil would tell, to be changed by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cpu = dict.fromkeys(
            ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 100.0
        )
        self.nics: dict[str, list[int]] = {"eth0": [0, 0, 0, 0]}
        self.mounts: list[tuple[str, str, str]] = []
        self.usage: dict[str, tuple[int, int, float]] = {}
        self.usage_calls = 0

    def clock(self) -> float:
        return self.now

    def cpu_times(self) -> Any:
        return SimpleNamespace(**self.cpu, guest=50.0)

    def cpu_count(self) -> int:
        return 4

    def cpu_freq(self) -> Any:
        return SimpleNamespace(current=2400.4, min=800.0, max=0.0)

    def getloadavg(self) -> tuple[float, float, float]:
        return (0.5, 1.5, 2.5)

    def virtual_memory(self) -> Any:
        return SimpleNamespace(
            total=8000 * KIB, free=1000 * KIB, shared=10 * KIB, buffers=20 * KIB, cached=30 * KIB
        )

    def swap_memory(self) -> Any:
        return SimpleNamespace(total=500 * KIB, free=400 * KIB)

    def net_io_counters(self, pernic: bool) -> dict[str, Any]:
        assert pernic
        names = ("bytes_recv", "bytes_sent", "packets_recv", "packets_sent")
        return {
            nic: SimpleNamespace(**dict(zip(names, values, strict=True)))
            for nic, values in self.nics.items()
        }

    def disk_partitions(self, all: bool) -> list[Any]:  # noqa: A002
        assert not all
        return [SimpleNamespace(device=d, mountpoint=m, opts=o) for d, m, o in self.mounts]

    def disk_usage(self, path: str) -> Any:
        self.usage_calls += 1
        if path not in self.usage:
            raise PermissionError(13, "no", path)
        total, free, percent = self.usage[path]
        return SimpleNamespace(total=total, free=free, percent=percent)

    def pids(self) -> list[int]:
        return [1, 2, 3]

    def boot_time(self) -> float:
        return 1_700_000_000.9


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def sampler(machine: Machine, tmp_path: Path) -> Sampler:
    (tmp_path / "loadavg").write_text("0.50 1.50 2.50 4/567 12345\n")
    return Sampler(machine, machine.clock, tmp_path)


def test_shares_of_the_cpu_since_the_round_before(machine: Machine, sampler: Sampler) -> None:
    machine.cpu |= {"user": 130.0, "idle": 150.0, "system": 110.0, "softirq": 110.0}
    sampler.look()
    assert sampler.cpu_share("user") == pytest.approx(30.0)
    assert sampler.cpu_share("idle") == pytest.approx(50.0)
    assert sampler.cpu_share("system", "irq", "softirq") == pytest.approx(20.0)
    machine.cpu |= {"nice": 104.0, "idle": 246.0}
    sampler.look()
    assert sampler.cpu_share("user") == 0.0
    assert sampler.cpu_share("nice") == pytest.approx(4.0)
    assert sampler.cpu_share_since_boot("idle") == pytest.approx(100 * 246 / 1000)


def test_a_round_tells_one_instant(machine: Machine, sampler: Sampler) -> None:
    machine.cpu["user"] = 150.0
    machine.cpu["idle"] = 150.0
    sampler.look()
    assert sampler.cpu_share("user") == 50.0
    machine.cpu["user"] = 900.0
    assert sampler.cpu_share("idle") == 50.0


def test_no_time_passed_is_no_share(sampler: Sampler) -> None:
    sampler.look()
    assert sampler.cpu_share("user") is None


def test_iowait_that_steps_back_makes_nothing_negative(machine: Machine, sampler: Sampler) -> None:
    machine.cpu |= {"iowait": 90.0, "idle": 110.0}
    sampler.look()
    assert sampler.cpu_share("iowait") == 0.0
    assert sampler.cpu_share("idle") == 100.0


def test_rates_over_the_physical_interfaces(machine: Machine, sampler: Sampler) -> None:
    machine.nics = {"eth0": [4000, 2000, 40, 20], "lo": [9, 9, 9, 9]}
    machine.now += 10
    sampler.look()
    fields = ("bytes_recv", "bytes_sent", "packets_recv", "packets_sent")
    assert [sampler.network(field) for field in fields] == [400.0, 200.0, 4.0, 2.0]


@pytest.mark.parametrize("name", ["lo", "bond0", "br0", "docker0", "veth12", "eth0.7", "vlan7"])
def test_interfaces_whose_traffic_is_counted_elsewhere(machine: Machine, name: str) -> None:
    machine.nics = {name: [0, 0, 0, 0]}
    sampler = Sampler(machine, machine.clock)
    machine.nics = {name: [1000, 0, 0, 0]}
    machine.now += 10
    sampler.look()
    assert sampler.network("bytes_recv") == 0


def test_interfaces_that_come_or_start_over_count_from_then(
    machine: Machine, sampler: Sampler
) -> None:
    machine.nics = {"eth0": [1000, 0, 0, 0], "eth1": [77777, 0, 0, 0]}
    machine.now += 10
    sampler.look()
    assert sampler.network("bytes_recv") == 100
    machine.nics = {"eth0": [5, 0, 0, 0], "eth1": [77877, 0, 0, 0]}
    machine.now += 10
    sampler.look()
    assert sampler.network("bytes_recv") == 10


def test_no_rate_without_time(machine: Machine, sampler: Sampler) -> None:
    sampler.look()
    assert sampler.network("bytes_recv") is None
    machine.nics = {"eth0": [500, 0, 0, 0]}
    machine.now += 5
    sampler.look()
    assert sampler.network("bytes_recv") == 100


def test_memory_in_kib(sampler: Sampler) -> None:
    names = ("total", "free", "shared", "buffers", "cached")
    assert [sampler.memory(each) for each in names] == [8000, 1000, 10, 20, 30]
    assert (sampler.swap("total"), sampler.swap("free")) == (500, 400)


def test_disks_each_device_once_and_only_local_writable_ones(
    machine: Machine, sampler: Sampler
) -> None:
    machine.mounts = [
        ("/dev/sda1", "/", "rw,relatime"),
        ("/dev/sda1", "/bind", "rw"),
        ("/dev/sdb1", "/data", "rw"),
        ("/dev/sr0", "/cdrom", "ro"),
        ("/dev/sdc1", "/hidden", "rw"),
        ("tmpfs", "/tmp", "rw"),
    ]
    machine.usage = {
        "/": (100 * 10**9, 40 * 10**9, 60.0),
        "/bind": (100 * 10**9, 40 * 10**9, 60.0),
        "/data": (50 * 10**9, 5 * 10**9, 90.0),
        "/tmp": (10**9, 0, 100.0),
        "/cdrom": (10**9, 0, 100.0),
    }
    sampler.look()
    assert sampler.disk_total() == pytest.approx(150)
    assert sampler.disk_free() == pytest.approx(45)
    assert sampler.part_max_used() == 90.0
    assert machine.usage_calls == 3  # of /, /data and /hidden, once for all three metrics


def test_a_container_without_devices_tells_its_root(machine: Machine, sampler: Sampler) -> None:
    machine.usage = {"/": (7 * 10**9, 10**9, 80.0)}
    assert (sampler.disk_total(), sampler.part_max_used()) == (7.0, 80.0)


def test_the_rest(machine: Machine, sampler: Sampler, tmp_path: Path) -> None:
    assert [sampler.load(at) for at in range(3)] == [0.5, 1.5, 2.5]
    assert (sampler.cpu_count(), sampler.cpu_speed()) == (4, 2400)
    assert (sampler.processes(), sampler.running()) == (3, 3)
    assert sampler.boot_time() == 1_700_000_000
    (tmp_path / "loadavg").unlink()
    assert sampler.running() is None

"""What a task took, on a /proc and a cgroup of our own: every figure with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kcms.jobs import model
from kcms.node import usage
from kcms.node.usage import PAGE_KIB, SUMS, Usage, added, counted, io_of, resident


class Host:
    """A task with processes 11 and 12, below an init; ``now`` is set by hand."""

    def __init__(self, path: Path) -> None:
        self.proc, self.group = path / "proc", path / "cgroup"
        self.group.mkdir()
        self.now = 100.0
        self.alive("11", "12")
        self.io("self", 1000, 2000)
        self.cpu(0)

    def alive(self, *pids: str) -> None:
        (self.group / "cgroup.procs").write_text("\n".join(pids))

    def io(self, pid: str, read: int, write: int) -> None:
        (self.proc / pid).mkdir(parents=True, exist_ok=True)
        (self.proc / pid / "io").write_text(
            f"rchar: 9\nwchar: 9\nsyscr: 9\nsyscw: 9\nread_bytes: {read}\nwrite_bytes: {write}\n"
            "cancelled_write_bytes: 7\n"
        )

    def memory(self, pid: str, kib: int) -> None:
        (self.proc / pid).mkdir(parents=True, exist_ok=True)
        (self.proc / pid / "statm").write_text(f"99999 {kib // PAGE_KIB} 1 1 0 1 0\n")

    def cpu(self, seconds: float) -> None:
        user, system = int(seconds * 750_000), int(seconds * 250_000)
        text = f"usage_usec {user + system}\nuser_usec {user}\nsystem_usec {system}\nnr_periods 0\n"
        (self.group / "cpu.stat").write_text(text)

    def usage(self, before: dict[str, Any] | None = None) -> Usage:
        at_first = io_of("self", str(self.proc))
        return Usage(str(self.group), before or {}, at_first, str(self.proc), lambda: self.now)

    def put(self, name: str, text: str) -> None:
        (self.group / name).write_text(text)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    class Waited:
        ru_utime, ru_stime, ru_maxrss = 2.0, 1.0, 5000

    monkeypatch.setattr(usage.resource, "getrusage", lambda _: Waited)
    return Host(tmp_path)


def test_without_controllers_the_init_counts(host: Host) -> None:
    found = host.usage()
    host.cpu(4)
    host.alive()
    host.io("self", 1000 + 300, 2000 + 50)
    assert found.document() == {
        "cpu_seconds": 4.0,
        "user_seconds": 3.0,
        "system_seconds": 1.0,
        "read_bytes": 300,
        "write_bytes": 50,
        "max_rss_kib": 5000,
        "sources": {"cpu": "cgroup", "io": "wait", "memory": "wait"},
    }


def test_where_a_controller_is_it_is_believed(host: Host) -> None:
    host.put("memory.peak", f"{7 << 20}\n")
    host.put("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n")
    found = host.usage()
    assert found.pause() is None
    host.memory("11", 9999999)
    host.now += 60
    found.look()
    document = found.document()
    assert (document["read_bytes"], document["write_bytes"]) == (11, 22)
    assert document["max_rss_kib"] == 7 << 10
    assert document["sources"] == {"cpu": "cgroup", "io": "cgroup", "memory": "cgroup"}


def test_where_nothing_counts_figures_are_left_out(host: Host) -> None:
    (host.group / "cpu.stat").unlink()
    (host.proc / "self/io").unlink()
    document = host.usage().document()
    assert (document["cpu_seconds"], document["user_seconds"], document["system_seconds"]) == (
        *(3.0, 2.0),
        1.0,
    )
    assert document["sources"] == {"cpu": "wait", "memory": "wait"}
    assert "read_bytes" not in document


def test_memory_of_several_is_looked_at_now_and_then(host: Host) -> None:
    found = host.usage()
    host.memory("11", 4000)
    host.memory("12", 3000)
    looks = []
    for _ in range(300):
        before = found.peak_kib
        found.peak_kib = 0
        found.look()
        if found.peak_kib:
            looks.append(host.now - 100)
        found.peak_kib = max(before, found.peak_kib)
        host.now += 0.5
    assert looks[:4] == [1.0, 2.0, 3.0, 4.0]
    assert looks[-1] - looks[-2] == 10.0
    assert len(looks) < 40
    assert found.document()["max_rss_kib"] == 7000
    assert found.document()["sources"]["memory"] == "sampled"


def test_one_process_that_had_more_than_was_seen_counts(host: Host) -> None:
    found = host.usage()
    found.saw(4999)
    document = found.document()
    assert (document["max_rss_kib"], document["sources"]["memory"]) == (5000, "wait")


def test_a_moved_task_adds_up_without_what_its_restore_took(host: Host) -> None:
    before = {
        **dict.fromkeys(SUMS, 100),
        "max_rss_kib": 8000,
        "elapsed": 7.0,
        "sources": {"cpu": "cgroup", "io": "cgroup"},
    }
    found = host.usage(before)
    host.cpu(1)
    host.io("self", 1000 + 5000, 2000 + 1000)  # criu
    host.io("11", 500, 0)
    host.io("12", 0, 0)
    assert found.restored()["read_bytes"] == 5500
    host.cpu(3)
    host.alive()
    host.io("self", 1000 + 5000 + 500 + 30, 2000 + 1000 + 4)
    document = found.document()
    assert [document[name] for name in SUMS] == [102.0, 101.5, 100.5, 130, 104]
    assert document["max_rss_kib"] == 8000
    assert document["sources"] == {"cpu": "cgroup", "io": "cgroup, wait", "memory": "wait"}
    assert "elapsed" not in document


def test_what_runs_counts_with_what_ended(host: Host) -> None:
    host.cpu(2)
    host.io("1", 1000 + 30, 2000)
    host.io("11", 7, 70)
    took, sources = counted(str(host.group), 1, [1000, 2000], str(host.proc))
    assert (took["cpu_seconds"], took["read_bytes"], took["write_bytes"]) == (2.0, 37, 70)
    assert sources == {"cpu": "cgroup", "io": "wait"}


def test_of_one_rank_of_several(host: Host) -> None:
    waited = usage.resource.getrusage(0)
    host.cpu(4)
    found = usage.of_rank(str(host.group), waited, (10, 20))
    assert [found[name] for name in (*SUMS, "max_rss_kib")] == [4.0, 3.0, 1.0, 10, 20, 5000]
    assert found["sources"] == {"cpu": "cgroup", "io": "wait", "memory": "wait"}
    (host.group / "cpu.stat").unlink()
    host.put("memory.peak", "1048576\n")
    host.put("io.stat", "8:0 rbytes=1 wbytes=2\n")
    found = usage.of_rank(str(host.group), waited, None)
    assert [found[name] for name in (*SUMS, "max_rss_kib")] == [3.0, 2.0, 1.0, 1, 2, 1024]
    assert found["sources"] == {"cpu": "wait", "io": "cgroup", "memory": "cgroup"}


def test_of_an_earlier_release_there_is_less(host: Host) -> None:
    found = added({"cpu_seconds": 5, "max_rss_kib": 1}, {"cpu_seconds": 1.0}, {"cpu": "cgroup"})
    assert found == {"cpu_seconds": 6.0, "sources": {"cpu": "cgroup"}}
    assert counted(str(host.group), 1, None, str(host.proc))[1] == {"cpu": "cgroup"}


def test_what_is_gone_takes_nothing(host: Host) -> None:
    assert resident(str(host.proc / "99/statm")) == 0
    assert io_of(99, str(host.proc)) is None


def test_the_names_are_those_that_the_manager_knows() -> None:
    assert {*SUMS, "max_rss_kib"} == set(model.USAGE)

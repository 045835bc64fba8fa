"""The processes of tasks, from cgroups and /proc as directories of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcms.http import BODY_LIMIT
from kcms.jobs.model import REPORT_LIMIT, NodeReport
from kcms.jobs.processes import COMMAND_LIMIT, MOST, Process
from kcms.node import listing
from kcms.node.core import TaskId
from kcms.node.procstat import PAGE_KIB

NOW = listing.Times(wall=1000.0, boot=20.0, ticks=100)
TASK = TaskId(7, 0, 2, "5e1f0a2b")
OTHER = TaskId(8, 0, 1, "5e1f0a2b")


class Machine:
    def __init__(self, where: Path) -> None:
        self.cgroups, self.proc = where / "cgroup", where / "proc"

    def unit(self, name: str, init: list[int], task: list[int]) -> str:
        for below, pids in (("init", init), ("task", task)):
            path = self.cgroups / name / below
            path.mkdir(parents=True)
            (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        return str(self.cgroups / name)

    def process(
        self, pid: int, name: str, parent: int, birth: int, state: str = "S", command: bytes = b""
    ) -> None:
        path = self.proc / str(pid)
        path.mkdir(parents=True)
        (path / "stat").write_text(
            f"{pid} ({name}) {state} {parent} 1 1 0 -1 0 1 0 0 0 60 40 0 0 20 0 3 0 {birth} 0 7\n"
        )
        (path / "cmdline").write_bytes(command)


def figures(parent: int, birth: int) -> dict[str, Any]:
    """What :class:`Machine` says of each process, at :data:`NOW`."""
    life = 20.0 - birth / 100
    return {
        "ppid": parent,
        "status": "S",
        "cpu_seconds": 1.0,
        "cpu_percent": round(100 / life, 1),
        "rss_kib": 7 * PAGE_KIB,
        "threads": 3,
        "start_time": round(1000.0 - life, 2),
    }


def test_the_program_is_marked_and_our_init_is_not_listed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    unit = machine.unit("a", [100, 101], [102, 103, 104, 105])
    machine.process(101, "python3", 100, 500)
    machine.process(103, "orphan", 101, 502)
    machine.process(102, "my (odd)\nprog", 101, 501)
    machine.process(104, "child", 102, 503)
    found = listing.processes([(TASK, unit)], NOW, proc=str(machine.proc))
    assert found == (
        Process(102, 501, "my (odd)?prog", *TASK, root=True, **figures(101, 501)),
        Process(103, 502, "orphan", *TASK, **figures(101, 502)),
        Process(104, 503, "child", *TASK, **figures(102, 503)),
    )


def test_a_command_is_one_printable_bounded_line(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    unit = machine.unit("a", [100], [102, 103])
    machine.process(102, "sh", 100, 5, command=b"sh\0-c\0echo \xff\x1b[2J\n\0\0")
    machine.process(103, "x", 102, 6, command=b"x" * 100_000)
    first, second = listing.processes([(TASK, unit)], NOW, proc=str(machine.proc))
    assert first.command == "sh -c echo \ufffd?[2J?"
    assert second.command == "x" * (COMMAND_LIMIT - 3) + "..."


def test_what_began_this_very_moment(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    unit = machine.unit("a", [100], [102])
    machine.process(102, "sh", 100, 2000)
    (found,) = listing.processes([(TASK, unit)], NOW, proc=str(machine.proc))
    assert (found.cpu_percent, found.start_time) == (0.0, 1000.0)


def test_each_rank_of_a_unit_has_its_own(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    unit = machine.unit("a", [100], [])
    for rank, pids in ((2, [102, 104]), (3, [103])):
        below = Path(unit) / "task" / str(rank)
        below.mkdir()
        (below / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    for pid, parent in ((102, 100), (103, 100), (104, 102)):
        machine.process(pid, "mpi", parent, pid)
    found = listing.processes([(TASK, unit)], NOW, proc=str(machine.proc))
    assert [(each.pid, each.rank, each.root, each.task) for each in found] == [
        (102, 2, True, 0), (103, 3, True, 0), (104, 2, False, 0),
    ]  # fmt: skip


def test_roots_come_first_when_there_are_too_many(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    first = machine.unit("a", [100], [102, 103, 104])
    second = machine.unit("b", [200], [202])
    for pid, parent in ((102, 100), (103, 102), (104, 102), (202, 200)):
        machine.process(pid, "x", parent, pid)
    found = listing.processes([(TASK, first), (OTHER, second)], NOW, most=3, proc=str(machine.proc))
    assert [(each.pid, each.job, each.root) for each in found] == [
        (102, 7, True), (202, 8, True), (103, 7, False),
    ]  # fmt: skip


def test_the_program_is_known_after_the_pids_began_anew(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    unit = machine.unit("a", [4000], [4001, 7])
    machine.process(4001, "root", 4000, 50)
    machine.process(7, "child", 4001, 50)
    found = listing.processes([(TASK, unit)], NOW, proc=str(machine.proc))
    assert [(each.pid, each.root) for each in found] == [(4001, True), (7, False)]


def test_what_ended_is_left_out(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    unit = machine.unit("a", [100], [102, 103])
    machine.process(103, "x", 100, 5, "Z")
    assert listing.processes([(TASK, unit)], NOW, proc=str(machine.proc)) == ()
    assert listing.processes([(TASK, str(tmp_path / "gone"))], NOW) == ()


def test_names_are_one_printable_line() -> None:
    assert listing.name("a\x1b[1m\n\u202e") == "a?[1m??"
    assert listing.name("") == "?"
    assert len(listing.name("x" * 500)) == listing.NAME_LIMIT


def test_a_report_never_is_longer_than_what_is_taken() -> None:
    """A process names itself, and each strange letter of a name takes 6 bytes."""
    assert REPORT_LIMIT == BODY_LIMIT
    bare = NodeReport("boot", "1.0", 4, {})
    strange = [Process(4_000_000 + i, i, "\ufffd" * 15, *TASK, **FIGURES) for i in range(MOST)]
    assert listing.with_processes(bare, strange).processes == tuple(strange)
    for most in (2_000, 50_000):
        cut = listing.with_processes(bare, strange, most)
        length = len(json.dumps(cut.document()))
        assert most - 500 < length <= most
        assert cut.processes == tuple(strange[: len(cut.processes)])
    assert listing.with_processes(bare, strange, 10).processes == ()


FIGURES: dict[str, Any] = {**figures(1, 1), "cpu_seconds": 1234567.89, "start_time": 1234567890.25}


def test_all_processes_are_told_before_any_command_is() -> None:
    bare = NodeReport("boot", "1.0", 4, {})
    for letter in ("x", "\ufffd"):
        command = letter * COMMAND_LIMIT
        many = [Process(i, i, "sh", *TASK, **FIGURES, command=command) for i in range(MOST)]
        cut = listing.with_processes(bare, many)
        assert len(json.dumps(cut.document())) <= REPORT_LIMIT
        assert [each.pid for each in cut.processes] == list(range(MOST))
        told = [each.command for each in cut.processes]
        assert told == sorted(told, reverse=True), "the first ones have theirs"
        assert told[0] == command

"""Moves on real records and a systemd in memory: what the agent does for them, and never does."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import durable, movement
from kcms.node.agent import Agent, Clock
from kcms.node.capability import STILL
from kcms.node.core import TaskId, Unit
from kcms.node.movement import Means
from kcms.node.moves import MoveId
from kcms.node.records import Records

ME = pwd.getpwuid(os.getuid())
STORE = "5e1f0a2b"
T = TaskId(7, 0, 2, STORE)
M = MoveId(T, 1)
SPEC = {"executable": "/bin/true"}
RUN = WantedTask(7, 0, 2, "run", ME.pw_name, ME.pw_uid, ME.pw_gid, SPEC, store=STORE)
TOLD = {"image": "/x", "root": 2, "processes": [2, 3], "pids": [2, 3], "usage": {"cpu_seconds": 4}}


def move(step: str, **data: object) -> dict[MoveId, WantedMove]:
    ids = (ME.pw_name, ME.pw_uid, ME.pw_gid)
    return {M: WantedMove(7, 0, 2, STORE, 1, step, "a", "b", *ids, SPEC, data)}


class Systemd:
    def __init__(self, cgroups: Path) -> None:
        self.cgroups = cgroups
        self.loaded: dict[TaskId, Unit] = {}
        self.steps: list[tuple[MoveId, str]] = []
        self.alive: set[MoveId] = set()

    def units(self):
        return dict(self.loaded)

    def start(self, task, directory):
        self.loaded[task] = Unit(alive=True)

    def reset(self, task):
        self.loaded.pop(task, None)

    def stop(self, task):
        self.loaded[task] = Unit(alive=False)

    def cgroup(self, task):
        return str(self.cgroups / str(task))

    def movers(self):
        return frozenset(self.alive)

    def start_mover(self, move, step, directory):
        self.steps.append((move, step))
        self.alive.add(move)

    def stop_mover(self, move):
        self.alive.discard(move)


class Node:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        self.systemd = Systemd(path / "cgroup")
        self.task = self.systemd.cgroups / str(T) / "task"
        self.task.mkdir(parents=True)
        self.restart()

    def restart(self) -> None:
        """SIGKILL and a new daemon."""
        self.records = Records(self.path / "state", "alpha", "alpha2")
        self.records.open()
        means = Means("/criu", ("/shared",), lambda: {"trouble": self.trouble})
        clock = Clock(wall=lambda: 5.0, boot=lambda: 1000.0)
        self.agent = Agent(self.records, self.systemd, "boot", clock, means)

    def step(self, moves, *tasks: WantedTask):
        wanted = {TaskId.of(each): each for each in tasks}
        return self.agent.step(wanted, store=STORE, moves=moves)

    def finish(self, step: str, ok: bool = True) -> None:
        """What the mover does."""
        where = str(self.path / "state/moves" / str(M))
        durable.create(where, f"{step}.begun", {"time": 1.0})
        outcome = {"ok": ok, "message": "" if ok else "no", "touched": False, "data": {}}
        durable.create(where, f"{step}.result", outcome)
        self.systemd.alive.clear()

    def begin(self) -> None:
        """What the init of a restored task does."""
        claim = {"boot_id": "boot", "time": 9.0}
        durable.create(str(self.records.path(T)), "started", claim)

    def restored(self) -> None:
        durable.create(str(self.records.path(T)), "restored", {"time": 1.0})
        self.freeze("1")

    def freeze(self, value: str) -> None:
        (self.task / "cgroup.freeze").write_text(value)

    @property
    def frozen(self) -> str:
        return (self.task / "cgroup.freeze").read_text()

    @property
    def plan(self) -> dict[str, object]:
        return dict(json.loads((self.records.path(T) / "wanted.json").read_text()))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def answered(node: Node) -> bool | None:
    (report,) = node.agent.move_reports
    return report.ok


@pytest.mark.parametrize("restarts", [False, True])
def test_life_of_a_restored_task(node: Node, restarts: bool) -> None:
    def then() -> None:
        if restarts:
            node.restart()

    wanted = move("restore", **TOLD)
    assert node.step(wanted) == ()
    assert node.systemd.steps == [(M, "restore")]
    node.finish("restore")
    then()
    (launching,) = node.step(wanted)
    assert (launching.phase, answered(node)) == ("launching", None)
    assert node.plan["restore"] == {
        "directory": str(node.path / "state/moves" / str(M) / "image"), "criu": "/criu",
        "root": 2, "processes": [2, 3], "pids": [2, 3], "usage": {"cpu_seconds": 4},
        "shared": ["/shared"],
    }  # fmt: skip
    node.begin()
    then()
    node.step(wanted)
    assert answered(node) is None
    node.restored()
    then()
    node.step(wanted)
    assert (answered(node), node.frozen) == (True, "1")
    then()
    node.step({}, RUN)
    assert node.frozen == "0"


def test_no_task_is_made_from_an_image_that_did_not_come(node: Node) -> None:
    wanted = move("restore", **TOLD)
    node.step(wanted)
    node.finish("restore", ok=False)
    for _ in range(3):
        assert node.step(wanted) == ()
    assert answered(node) is False
    assert node.systemd.loaded == {}


def test_an_unwanted_restore_that_has_not_begun_is_refused(node: Node) -> None:
    wanted = move("restore", **TOLD)
    node.step(wanted)
    node.finish("restore")
    node.step(wanted)
    node.systemd.loaded.clear()
    (report,) = node.step({})
    assert report.phase == "refused"


def test_a_copy_that_is_killed_is_never_thawed_nor_told_to_end(node: Node, monkeypatch) -> None:
    def never(path: str) -> int:
        raise AssertionError("SIGTERM would let it run")

    monkeypatch.setattr("kcms.node.cgroup.terminate", never)
    wanted = move("restore", **TOLD)
    node.step(wanted)
    node.finish("restore")
    node.step(wanted)
    node.begin()
    kill = replace(RUN, want="kill")
    (node.task / "cgroup.kill").write_text("")
    node.step({}, kill)
    node.restored()
    node.step({}, kill)
    assert (node.task / "cgroup.kill").read_text() == "1"
    assert node.frozen == "1"


def test_an_answer_waits_until_it_is_known_whether_criu_works(node: Node) -> None:
    node.trouble = STILL
    node.step(move("admit"))
    assert (node.systemd.steps, answered(node)) == ([], None)
    node.trouble = ""
    node.step(move("admit"))
    assert node.systemd.steps == [(M, "admit")]


def test_nothing_is_left_of_a_move_that_is_over(node: Node) -> None:
    node.step(move("restore", **TOLD))
    node.finish("restore", ok=False)
    node.step({})
    node.step({})
    assert node.systemd.steps[-1] == (M, "clean")
    durable.create(str(node.path / "state/moves" / str(M)), "cleaned", {"time": 1.0})
    node.systemd.alive.clear()
    node.step({})
    assert list((node.path / "state/moves").iterdir()) == []


@pytest.mark.parametrize(("step", "touched"), [("check", False), ("dump", True)])
def test_an_answer_that_is_too_long_to_be_told_is_a_failure(step: str, touched: bool) -> None:
    long = MoveReport(7, 0, 1, STORE, 3, step, True, data={"pids": [12345678] * 20_000})
    short = MoveReport(8, 0, 1, STORE, 1, step, True, data={"pids": [1]})
    failed, other = movement._bounded((long, short))
    assert (failed.ok, failed.touched, failed.data, failed.job) == (False, touched, {}, 7)
    assert "too many processes" in failed.message
    assert other == short

"""Prologue and epilogue of a task: what is done again and what is not, whoever is killed when."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kcms.jobs import model
from kcms.node import durable, logue
from kcms.node.logue import FORBIDDEN, GO_ON, Logues, ending, untrusted

PLAN = {
    "wanted": {
        "job": 7, "task": 0, "epoch": 2, "store": "5e1f0a2b", "user": "alice", "uid": 2001,
        "gid": 2001, "spec": {"base_directory": None},
    },
    "account": {"home": "/home/alice"},
    "cluster": "alpha",
    "node": "alpha1",
}  # fmt: skip
SITE = {"prologue": "/site/prologue", "epilogue": "/site/epilogue", "seconds": 60.0}
EXIT = {"code": 0, "signal": None, "time": 1.0}


class KilledError(Exception):
    """In the place of SIGKILL."""


class Task:
    """One task's record; ``fails`` says how each of the two fails."""

    def __init__(self, path: Path, **site: Any) -> None:
        self.path = str(path)
        self.site = {**SITE, **site}
        self.ran: list[str] = []
        self.told: dict[str, str] = {}
        self.fails: dict[str, str] = {}
        self.cut_off = ""

    def _run(self, path: str, seconds: float, variables: dict[str, str]) -> str:
        which = variables["KCMS_LOGUE"]
        self.ran.append(which)
        self.told = variables
        if self.cut_off == which:
            raise KilledError
        return self.fails.get(which, "")

    def do(self, which: str, boot: str = "boot") -> int:
        task = Logues(self.path, boot, self.site, PLAN, self._run)
        return task.prologue() if which == "prologue" else task.epilogue()

    def read(self, name: str) -> dict[str, Any]:
        return durable.read(self.path, name) or {}

    def write(self, name: str, document: dict[str, Any]) -> None:
        durable.replace(self.path, name, document)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path)


def test_each_runs_once_and_only_in_its_turn(task: Task) -> None:
    assert task.do("epilogue") == GO_ON  # nothing began: nothing is owed
    assert [task.do("prologue"), task.do("prologue")] == [GO_ON, GO_ON]
    task.write("exit", EXIT)
    assert [task.do("epilogue"), task.do("epilogue")] == [GO_ON, GO_ON]
    assert task.ran == ["prologue", "epilogue"]
    assert task.read("unfit") == {}
    assert task.read("started") == {}


def test_a_prologue_that_fails_forbids_the_program_and_says_so(task: Task) -> None:
    task.fails["prologue"] = "failed with exit status 4"
    assert [task.do("prologue"), task.do("prologue")] == [FORBIDDEN, FORBIDDEN]
    why = "prologue of job 7 failed with exit status 4"
    assert task.read("unfit") == {"message": why}
    assert (task.read("started")["refused"], task.read("started")["cause"]) == (why, "prologue")
    assert task.do("epilogue") == GO_ON
    assert task.told["KCMS_STATE"] == "PENDING"
    assert task.ran == ["prologue", "epilogue"]


def test_one_that_was_cut_off_failed_and_after_a_boot_it_runs_again(task: Task) -> None:
    task.cut_off = "prologue"
    with pytest.raises(KilledError):
        task.do("prologue")
    assert task.read("started") == {}
    task.cut_off = ""
    assert task.do("prologue", "another boot") == GO_ON
    assert task.ran == ["prologue", "prologue"]


def test_one_that_was_cut_off_in_this_boot_failed(task: Task) -> None:
    task.cut_off = "prologue"
    with pytest.raises(KilledError):
        task.do("prologue")
    assert task.do("prologue") == FORBIDDEN
    assert task.read("unfit") == {"message": "prologue of job 7 was cut off"}
    assert task.ran == ["prologue"]


def test_an_epilogue_that_was_cut_off_does_not_run_again(task: Task) -> None:
    task.do("prologue")
    task.cut_off = "epilogue"
    with pytest.raises(KilledError):
        task.do("epilogue")
    assert task.do("epilogue") == GO_ON
    assert task.ran == ["prologue", "epilogue"]
    assert "ended" not in task.read("epilogue")


def test_a_task_that_is_refused_already_has_neither(task: Task) -> None:
    task.write("started", {"refused": "killed before it was started", "time": 1.0})
    assert task.do("prologue") == FORBIDDEN
    task.do("epilogue")
    assert task.ran == []


def test_a_kill_in_the_prologue_is_no_failure_of_it(task: Task) -> None:
    task.do("prologue")
    task.write("started", {"refused": "killed before it was started", "time": 1.0})
    task.do("epilogue")
    assert task.told["KCMS_STATE"] == "CANCELLED"
    assert task.read("unfit") == {}


def test_a_kill_in_a_prologue_that_fails_stays_a_kill(task: Task) -> None:
    def killed(*_: Any) -> str:
        task.write("started", {"refused": "killed before it was started", "time": 1.0})
        return "failed"

    assert Logues(task.path, "boot", task.site, PLAN, killed).prologue() == FORBIDDEN
    assert "cause" not in task.read("started")
    assert task.read("unfit") == {"message": "prologue of job 7 failed"}


def test_the_first_failure_stands(task: Task) -> None:
    task.fails = {"prologue": "failed first", "epilogue": "failed then"}
    task.do("prologue")
    task.do("epilogue")
    assert task.read("unfit")["message"] == "prologue of job 7 failed first"


@pytest.mark.parametrize("which", ["prologue", "epilogue"])
def test_a_site_may_have_one_of_them(tmp_path: Path, which: str) -> None:
    other = "epilogue" if which == "prologue" else "prologue"
    task = Task(tmp_path, **{other: ""})
    task.do("prologue")
    task.do("epilogue")
    assert task.ran == [which]


def test_a_full_disk_only_delays_what_must_not_be_lost(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.fails["prologue"] = "failed"
    create, refusals = durable.create, [OSError(28, "No space left")] * 3

    def full(*words: Any) -> None:
        if refusals:
            raise refusals.pop()
        create(*words)

    monkeypatch.setattr(logue.durable, "create", full)
    monkeypatch.setattr(logue.time, "sleep", lambda _: None)
    assert task.do("prologue") == FORBIDDEN
    assert task.read("unfit")
    assert task.read("started")["cause"] == "prologue"


@pytest.mark.parametrize(
    ("files", "state", "code", "signal"),
    [
        ({"exit": EXIT}, "COMPLETED", "0", ""),
        ({"exit": {**EXIT, "code": 3}}, "FAILED", "3", ""),
        ({"exit": {**EXIT, "code": None, "signal": 9}}, "FAILED", "", "9"),
        ({"exit": EXIT, "kill": {"cause": ""}}, "CANCELLED", "0", ""),
        ({"exit": EXIT, "kill": {"cause": "time limit"}}, "TIMEOUT", "0", ""),
        ({"exit": {**EXIT, "stopped": True}}, "NODE_FAIL", "0", ""),
        ({"started": {"boot_id": "boot"}}, "NODE_FAIL", "", ""),
        ({"started": {"boot_id": "boot"}, "refused": {"message": "no"}}, "FAILED", "", ""),
    ],
)
def test_what_an_epilogue_is_told(
    task: Task, files: dict[str, dict[str, Any]], state: str, code: str, signal: str
) -> None:
    for name, document in files.items():
        task.write(name, document)
    told = {"KCMS_STATE": state, "KCMS_EXIT_CODE": code, "KCMS_EXIT_SIGNAL": signal}
    assert ending(task.path) == told


def test_the_environment_has_nothing_of_the_users(task: Task) -> None:
    task.do("prologue")
    assert task.told["KCMS_TASK"] == "7.0.2-5e1f0a2b"
    assert task.told["KCMS_BASE_DIRECTORY"] == "/home/alice"
    assert {each for each in task.told if not each.startswith("KCMS_")} == {"PATH", "LANG"}


DIRECTORY, PROGRAM, LINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK


def tree(**changes: tuple[int, int]) -> Callable[[str], os.stat_result]:
    rows = {"/etc": (DIRECTORY | 0o755, 0), "/etc/site": (DIRECTORY | 0o755, 0)}
    rows["/etc/site/x"] = (PROGRAM | 0o755, 0)
    rows |= {name.replace("_", "/"): row for name, row in changes.items()}

    def look(path: str) -> os.stat_result:
        mode, owner = rows[path]
        return os.stat_result((mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))

    return look


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"_etc_site_x": (PROGRAM | 0o700, 0)}, ""),
        ({"_etc_site_x": (PROGRAM | 0o755, 2001)}, "others than root may write /etc/site/x"),
        ({"_etc_site_x": (PROGRAM | 0o775, 0)}, "others than root may write /etc/site/x"),
        ({"_etc_site": (DIRECTORY | 0o755, 2001)}, "others than root may write /etc/site"),
        ({"_etc": (DIRECTORY | 0o1777, 0)}, "others than root may write /etc"),
        ({"_etc_site": (LINK | 0o777, 0)}, "/etc/site is a symbolic link"),
        ({"_etc_site_x": (PROGRAM | 0o644, 0)}, "/etc/site/x is no executable file"),
        ({"_etc_site_x": (DIRECTORY | 0o755, 0)}, "/etc/site/x is no executable file"),
    ],
)
def test_only_what_is_roots_alone_is_run(changes: dict[str, tuple[int, int]], why: str) -> None:
    assert untrusted("/etc/site/x", tree(**changes)) == (f"was not run: {why}" if why else "")


def test_the_cause_is_the_one_that_the_manager_knows() -> None:
    assert logue.CAUSE == model.PROLOGUE

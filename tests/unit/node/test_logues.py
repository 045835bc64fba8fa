"""What a record says of prologue and epilogue, and what the node tells and does with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.config import NodeConfig, parse
from kcms.errors import ConfigError
from kcms.jobs.model import Exit, WantedTask
from kcms.node import core, durable, logues
from kcms.node.core import Kill, Record, Snapshot, Started, TaskId, Unit
from kcms.node.logues import Logues
from kcms.node.records import Records

T = TaskId(7, 0, 1)
RUN = WantedTask(7, 0, 1, "run", "alice", 2001, 2001, {"time_limit": 10})
SITE = {"prologue": "/site/x", "epilogue": "/site/y", "seconds": 60.0}
DONE = Record(wanted=RUN, started=Started("boot", 1.0, 100.0), exit=Exit(0, None, 2.0))
EPILOGUE = replace(DONE, logues=Logues(begun="boot", owed=True, until=1000.0))
ALIVE, OVER = Unit(alive=True), Unit(alive=False)


def at(record: Record, unit: Unit, now: float = 500.0, want: str = "run") -> Snapshot:
    wanted = {T: replace(RUN, want=want)}
    return Snapshot(wanted, {T: record}, {T: unit}, "boot", now)


def test_of_a_record(tmp_path: Path) -> None:
    records = Records(tmp_path, "alpha", "alpha1")
    records.open()
    records.prepare(RUN, None, None, 1.0, logue=SITE)
    path = str(records.path(T))

    def read() -> Logues:
        return records.load()[T].logues

    assert read() == logues.NONE
    durable.replace(path, "prologue", {"boot_id": "boot", "time": 1.0})
    assert read() == Logues(begun="boot", preparing=True, owed=True, seconds=60.0)
    durable.replace(path, "prologue", {"boot_id": "boot", "time": 1.0, "ended": 2.0})
    assert read() == Logues(begun="boot", owed=True, seconds=60.0)
    durable.replace(path, "epilogue", {"boot_id": "boot", "time": 3.0, "until": 99.0})
    assert read() == Logues(begun="boot", owed=True, until=99.0, seconds=60.0)
    durable.replace(path, "epilogue", {"boot_id": "boot", "until": 99.0, "ended": 4.0})
    durable.create(path, "unfit", {"message": "it failed"})
    assert read() == Logues(unfit="it failed", begun="boot")
    durable.create(path, "started", {"refused": "no", "cause": "prologue", "time": 1.0})
    assert records.load()[T].refused_for == "prologue"


def test_a_task_that_is_refused_has_no_plan(tmp_path: Path) -> None:
    records = Records(tmp_path, "alpha", "alpha1")
    records.open()
    records.prepare(RUN, None, "no such user", 1.0, logue=SITE)
    assert not (records.path(T) / "logue").exists()


def test_a_refusal_for_the_prologue_is_told_once_the_unit_is_over() -> None:
    record = Record(wanted=RUN, refused="why", refused_for="prologue", logues=Logues(unfit="why"))
    (during,) = core.reports(at(record, ALIVE))
    assert (during.phase, during.unfit) == ("launching", "")
    (after,) = core.reports(at(record, OVER))
    assert (after.phase, after.cause, after.message, after.unfit) == (
        *("refused", "prologue"),
        *("why", "why"),
    )


def test_a_prologue_that_runs_is_told_as_the_reason() -> None:
    record = Record(wanted=RUN, logues=Logues(begun="boot", preparing=True))
    (report,) = core.reports(at(record, ALIVE))
    assert (report.phase, report.message) == ("launching", "its prologue runs")


@pytest.mark.parametrize(
    ("boot", "unit", "unfit"),
    [
        ("boot", ALIVE, ""),
        ("boot", OVER, "epilogue of job 7 was cut off"),
        ("an earlier boot", OVER, ""),
    ],
)
def test_an_epilogue_that_is_cut_off_is_told(boot: str, unit: Unit, unfit: str) -> None:
    record = replace(DONE, logues=Logues(begun=boot, owed=True))
    (report,) = core.reports(at(record, unit))
    assert report.unfit == unfit


def test_neither_a_time_limit_nor_a_kill_begins_in_the_epilogue() -> None:
    assert core.next_end(at(EPILOGUE, ALIVE)) is None
    for want in ("run", "kill"):
        assert core.decide(at(EPILOGUE, ALIVE, want=want)) == []
    still = replace(EPILOGUE, exit=None)
    assert core.decide(at(still, ALIVE)) == [core.Terminate(T, 5.0, "time limit")]


@pytest.mark.parametrize(("now", "broken"), [(1000.0, False), (1029.0, False), (1030.0, True)])
def test_a_killed_tasks_unit_is_broken_only_after_its_epilogue(now: float, broken: bool) -> None:
    killed = replace(EPILOGUE, kill=Kill("boot", 450.0, 460.0))
    found = core.decide(at(killed, ALIVE, now, want="kill"))
    assert (core.Break(T) in found) is broken


@pytest.mark.parametrize(
    ("owes", "until_broken"),
    [
        (Logues(begun="boot", owed=True, until=1000.0, seconds=60.0), 1030.0),
        (Logues(begun="boot", owed=True, seconds=60.0), 590.0),
        (logues.NONE, 530.0),
    ],
)
def test_a_unit_that_does_not_end_after_its_exit_can_be_killed(
    owes: Logues, until_broken: float
) -> None:
    """Its epilogue hangs in the kernel, or never began, or what it has to record finds no room."""
    stuck = replace(DONE, exited=500.0, logues=owes)
    assert core.decide(at(stuck, ALIVE, until_broken - 1.0, want="kill")) == []
    assert core.decide(at(stuck, ALIVE, until_broken, want="kill")) == [core.Break(T)]
    assert core.decide(at(stuck, ALIVE, until_broken, want="run")) == []


def config(**changes: Any) -> NodeConfig:
    base = dict.fromkeys(
        ("host", "cluster", "manager_address", "tls_ca", "tls_certificate", "tls_key"), "x"
    )
    return parse(NodeConfig, {**base, **changes}, "node.toml")


def test_what_the_site_sets() -> None:
    assert logues.plan(config()) is None
    told = config(prologue="/etc/site/p", logue_seconds=5)
    assert logues.plan(told) == {"prologue": "/etc/site/p", "epilogue": "", "seconds": 5.0}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prologue": "p.sh"}, "prologue must be a path, as /etc/site/program, not 'p.sh'"),
        ({"epilogue": "/x\ny"}, "epilogue must be a path"),
        ({"logue_seconds": 0}, "logue_seconds must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        config(**changes)

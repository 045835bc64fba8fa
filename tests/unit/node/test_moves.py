"""Every case of a move: what is wanted, on record and alive, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.jobs.migration import WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import core, moves
from kcms.node.core import Kill, Record, Started, TaskId, Unit
from kcms.node.moves import (
    Begin,
    Conclude,
    Freeze,
    MoveId,
    MoveRecord,
    Remove,
    Result,
    Run,
    Snapshot,
    Thaw,
    Undo,
)

STORE = "5e1f0a2b"
T = TaskId(7, 0, 1, STORE)
M = MoveId(T, 3)
RUN = WantedTask(7, 0, 1, "run", "alice", 2001, 2001, {}, store=STORE)
KILL = replace(RUN, want="kill")
RUNNING = Record(wanted=RUN, started=Started("boot", 1.0))
OK = Result(True, data={"size": 5})
BAD = Result(False, "no", True)


def wanted(step: str) -> WantedMove:
    return WantedMove(7, 0, 1, STORE, 3, step, "a", "b", "alice", 2001, 2001, {})


def on_record(step: str, *begun: str, **changes: Any) -> MoveRecord:
    return MoveRecord(wanted=wanted(step), begun=frozenset(begun), **changes)


def snapshot(
    want: str | None,
    record: MoveRecord | None,
    task: WantedTask | None = RUN,
    held: bool = False,
    alive: bool = False,
    known: Record | None = RUNNING,
    unit: Unit | None = Unit(alive=True),  # noqa: B008 - frozen
    **changes: Any,
) -> Snapshot:
    tasks = core.Snapshot(
        wanted={T: task} if task else {},
        records={T: known} if known else {},
        units={T: unit} if unit else {},
        boot_id="boot",
        boottime=100.0,
        may_start=changes.pop("may_start", True),
        store=changes.pop("store", STORE),
    )
    values = {
        "wanted": {M: wanted(want)} if want else {},
        "records": {M: record} if record else {},
        "alive": {M} if alive else set(),
        "held": {T} if held else set(),
        "tasks": tasks,
    }
    return Snapshot(**{**values, **changes})


def decide(*arguments: Any, **changes: Any) -> list[moves.Instruction]:
    return moves.decide(snapshot(*arguments, **changes))


# a wanted step -----------------------------------------------------------------------------------


def test_a_new_move_is_begun() -> None:
    assert decide("check", None) == [Begin(wanted("check")), Run(M, "check")]


def test_nothing_is_begun_on_an_old_word() -> None:
    assert decide("check", None, may_start=False) == []
    assert decide("dump", on_record("dump"), may_start=False) == []


def test_the_next_step_is_begun_when_the_unit_of_the_last_is_gone() -> None:
    record = on_record("check", "check", results={"check": OK})
    assert decide("dump", record, alive=True) == []
    assert decide("dump", record) == [Begin(wanted("dump")), Run(M, "dump")]


def test_a_step_under_way_or_over_is_left_alone() -> None:
    assert decide("dump", on_record("dump", "dump"), alive=True) == []
    assert decide("dump", on_record("dump", "dump", results={"dump": OK}), held=True) == []


def test_a_step_that_was_not_claimed_is_started_again_a_few_times() -> None:
    record = on_record("admit")
    assert decide("admit", record, attempts={(M, "admit"): 2}) == [Run(M, "admit")]
    (last,) = decide("admit", record, attempts={(M, "admit"): 3})
    assert isinstance(last, Conclude)
    assert last.result.ok is False


@pytest.mark.parametrize(("step", "touched"), [("dump", True), ("restore", False)])
def test_a_claimed_step_without_unit_and_result_failed(step: str, touched: bool) -> None:
    (told,) = decide(step, on_record(step, step))
    assert told == Conclude(M, step, Result(False, moves.INTERRUPTED, touched))


def test_an_undone_check_makes_room_for_the_dump_of_the_same_number() -> None:
    record = on_record("check", "check", results={"check": OK}, undone=True)
    assert decide("dump", record) == [Remove(M)]
    assert moves.reports(snapshot("dump", record))[0].ok is None


def test_an_undone_dump_is_never_done_again() -> None:
    record = on_record("dump", "dump", undone=True)
    assert decide("dump", record) == []
    (report,) = moves.reports(snapshot("dump", record))
    assert (report.ok, report.message) == (False, moves.UNDONE)


# a move that is not wanted -----------------------------------------------------------------------


def test_nothing_is_undone_before_the_manager_is_heard() -> None:
    record = on_record("dump", "dump", results={"dump": OK})
    assert decide(None, record, held=True, wanted=None) == []


def test_nothing_is_undone_for_the_manager_of_another_store() -> None:
    record = on_record("dump", "dump", results={"dump": OK})
    assert decide(None, record, task=None, held=True, store="0badcafe") == []


def test_a_dump_under_way_is_told_and_not_ended() -> None:
    record = on_record("dump", "dump")
    assert decide(None, record, alive=True, held=True) == [Undo(M, stop=False)]
    assert decide(None, replace(record, undone=True), alive=True, held=True) == []


def test_another_step_under_way_is_ended() -> None:
    assert decide(None, on_record("restore", "restore"), alive=True) == [Undo(M, stop=True)]


def test_what_left_traces_is_cleaned_and_then_removed() -> None:
    record = on_record("dump", "dump", results={"dump": OK})
    assert decide(None, record) == [Undo(M, stop=False)]
    assert decide(None, replace(record, undone=True)) == [Run(M, "clean")]
    assert decide(None, replace(record, undone=True), alive=True) == []
    assert decide(None, replace(record, undone=True, cleaned=True)) == [Remove(M)]


def test_what_left_no_traces_is_removed_at_once() -> None:
    assert decide(None, on_record("check", "check", results={"check": OK})) == [Remove(M)]


# thaw --------------------------------------------------------------------------------------------


def test_what_is_wanted_and_in_no_move_thaws() -> None:
    assert decide(None, None, held=True) == [Thaw(T)]


@pytest.mark.parametrize("step", ["dump", "restore"])
def test_what_is_wanted_still_does_not_thaw(step: str) -> None:
    record = on_record(step, step, results={step: OK})
    assert decide(step, record, held=True) == []


def test_a_failed_dump_thaws_though_it_is_still_wanted() -> None:
    assert decide("dump", on_record("dump", "dump", results={"dump": BAD}), held=True) == [Thaw(T)]


def test_a_dump_under_way_is_not_thawed_under_it() -> None:
    record = on_record("dump", "dump", undone=True)
    assert decide(None, record, alive=True, held=True) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"task": None},
        {"task": KILL},
        {"wanted": None},
        {"may_start": False},
        {"store": "0badcafe"},
        {"known": replace(RUNNING, kill=Kill("boot", 1.0))},
        {"known": replace(RUNNING, restoring=True)},
        {"known": replace(RUNNING, disowned=True)},
        {"known": None},
    ],
)
def test_nothing_else_thaws(changes: dict[str, Any]) -> None:
    assert decide(None, None, held=True, **changes) == []


def test_a_task_with_a_newer_epoch_wanted_here_does_not_thaw() -> None:
    now = snapshot(None, None, held=True)
    newer = replace(RUN, epoch=2)
    tasks = replace(now.tasks, wanted={T: RUN, TaskId.of(newer): newer})
    assert moves.decide(replace(now, tasks=tasks)) == []


# what is told ------------------------------------------------------------------------------------


def told(*arguments: Any, **changes: Any) -> tuple[bool | None, str]:
    (report,) = moves.reports(snapshot(*arguments, **changes))
    return report.ok, report.message


def test_a_dump_is_told_only_while_the_job_stands_still() -> None:
    record = on_record("dump", "dump", results={"dump": OK})
    assert told("dump", record, held=True) == (True, "")
    assert told("dump", record)[0] is False
    assert told("dump", record, held=True, unit=Unit(alive=False))[0] is False
    killed = replace(RUNNING, kill=Kill("boot", 1.0))
    assert told("dump", record, held=True, known=killed) == (
        False,
        "the job was killed while it was being moved",
    )


@pytest.mark.parametrize(
    ("known", "unit", "held", "ok"),
    [
        (None, None, False, None),
        (Record(wanted=RUN, restoring=True), Unit(alive=True), False, None),
        (replace(RUNNING, restoring=True), Unit(alive=True), True, None),
        (RUNNING, Unit(alive=True), True, True),
        (RUNNING, Unit(alive=True), False, False),
        (RUNNING, Unit(alive=False), False, False),
        (Record(wanted=RUN, refused="criu cannot"), None, False, False),
    ],
)
def test_a_restore_is_told_when_the_tree_stands_there_frozen(known, unit, held, ok) -> None:
    record = on_record("restore", "restore", results={"restore": OK})
    assert told("restore", record, task=None, known=known, unit=unit, held=held)[0] is ok


def test_a_task_is_started_from_an_image_only_when_that_is_verified() -> None:
    want = {M: wanted("restore")}
    assert moves.restores(want, {}) == {}
    for results, undone in (({}, False), ({"restore": BAD}, False), ({"restore": OK}, True)):
        record = on_record("restore", "restore", results=results, undone=undone)
        assert moves.restores(want, {M: record}) == {}
    record = on_record("restore", "restore", results={"restore": OK})
    assert moves.restores(want, {M: record}) == {T: RUN}


@pytest.mark.parametrize("name", ["7.0.1-5e1f0a2b_3", "7.0.1_3"])
def test_names_lead_back(name: str) -> None:
    found = MoveId.parse(name)
    assert found is not None
    assert str(found) == name


@pytest.mark.parametrize("name", ["7.0.1-5e1f0a2b", "7.0.1_", "7.0.1_03", "x_3", "7.0.1_-3"])
def test_other_names_are_none(name: str) -> None:
    assert MoveId.parse(name) is None


# suspended tasks ---------------------------------------------------------------------------------

STILL = replace(RUN, suspend=True)


@pytest.mark.parametrize(
    ("task", "held", "instructions"),
    [
        (STILL, False, [Freeze(T)]),
        (STILL, True, []),
        (RUN, True, [Thaw(T)]),
        (replace(KILL, suspend=True), False, []),
        (None, True, []),
    ],
)
def test_a_task_is_frozen_while_it_is_to_be_suspended(
    task: WantedTask | None, held: bool, instructions: list[moves.Instruction]
) -> None:
    assert moves.decide(snapshot(None, None, task, held=held)) == instructions


@pytest.mark.parametrize(
    "changes",
    [
        {"known": Record(wanted=RUN, started=Started("boot", 1.0), kill=Kill("boot", 9.0))},
        {"known": Record(wanted=RUN, started=Started("boot", 1.0), restoring=True)},
        {"known": Record(wanted=RUN)},
        {"known": None},
        {"unit": None},
    ],
)
def test_what_does_not_run_is_not_frozen(changes: dict[str, Any]) -> None:
    assert moves.decide(snapshot(None, None, STILL, **changes)) == []

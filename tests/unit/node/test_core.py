"""Every case of a node's task: what is wanted, on record and in systemd, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.jobs.model import Exit, WantedTask
from kcms.node import core
from kcms.node.core import (
    Break,
    Forget,
    Kill,
    KillNow,
    Prepare,
    Record,
    Refuse,
    Snapshot,
    Start,
    Started,
    TaskId,
    Terminate,
    Unit,
)

T = TaskId(7, 0, 1)
RUN = WantedTask(7, 0, 1, "run", "alice", 2001, 2001, {}, grace=5.0)
KILL = replace(RUN, want="kill")
BOOT = "this-boot"
NOW = 1000.0
STARTED = Started(BOOT, 50.0)
ALIVE = Unit(alive=True)
OVER = Unit(alive=False)
EXIT = Exit(3, None, 60.0)

LAUNCHING = Record(wanted=RUN)
RUNNING = Record(wanted=RUN, started=STARTED)
ENDED = Record(wanted=RUN, started=STARTED, exit=EXIT)
REFUSED = Record(wanted=RUN, refused="no such user")


def snapshot(
    want: WantedTask | None, record: Record | None, unit: Unit | None, **changes: Any
) -> Snapshot:
    values: dict[str, Any] = {
        "wanted": {T: want} if want else {},
        "records": {T: record} if record else {},
        "units": {T: unit} if unit else {},
        "boot_id": BOOT,
        "boottime": NOW,
    }
    return Snapshot(**{**values, **changes})


def killed(deadline: float, killed_at: float | None = None) -> Record:
    return replace(RUNNING, kill=Kill(BOOT, deadline, killed_at))


CASES = [
    # wanted, record, unit, instructions, phase, name
    (RUN, None, None, [Prepare(RUN), Start(T)], None, "new"),
    (RUN, LAUNCHING, None, [Start(T)], "launching", "killed between intent and start"),
    (RUN, LAUNCHING, ALIVE, [], "launching", "unit on its way"),
    (RUN, LAUNCHING, Unit(False, 75), [Start(T, reset=True)], "launching", "init found no room"),
    (RUN, RUNNING, ALIVE, [], "running", "running"),
    (RUN, ENDED, ALIVE, [], "running", "exit written, unit not yet empty"),
    (RUN, ENDED, OVER, [], "ended", "ended"),
    (RUN, ENDED, None, [], "ended", "ended before a reboot"),
    (RUN, RUNNING, OVER, [], "lost", "init killed"),
    (RUN, RUNNING, None, [], "lost", "unit gone"),
    (RUN, REFUSED, None, [], "refused", "refused"),
    (RUN, None, ALIVE, [], "running", "record gone, unit alive"),
    (RUN, None, OVER, [], "lost", "record gone, unit over"),
    (RUN, Record(damaged="bad"), None, [], "lost", "record damaged is never started again"),
    (KILL, None, None, [Prepare(KILL, core.KILLED_EARLY)], None, "killed, never seen"),
    (KILL, LAUNCHING, None, [Refuse(T, core.KILLED_EARLY)], "launching", "killed early"),
    (KILL, LAUNCHING, ALIVE, [Refuse(T, core.KILLED_EARLY)], "launching", "killed while starting"),
    (KILL, RUNNING, ALIVE, [Terminate(T, 5.0)], "running", "kill begins"),
    (KILL, killed(NOW + 1), ALIVE, [], "running", "grace"),
    (KILL, killed(NOW), ALIVE, [KillNow(T)], "running", "grace over"),
    (KILL, killed(NOW - 9, NOW - 9), ALIVE, [KillNow(T)], "running", "killed, not yet empty"),
    (KILL, killed(NOW - 40, NOW - 31), ALIVE, [Break(T)], "running", "init does not answer"),
    (KILL, ENDED, OVER, [], "ended", "killed too late"),
    (KILL, None, ALIVE, [Break(T)], "running", "record gone, kill"),
    (None, RUNNING, ALIVE, [], "running", "running and not mentioned is left alone"),
    (None, killed(NOW), ALIVE, [KillNow(T)], "running", "a kill that was begun is finished"),
    (None, ENDED, OVER, [], "ended", "ended and not mentioned is still told"),
    (
        None,
        LAUNCHING,
        None,
        [Refuse(T, "the manager no longer wanted it when it was to start")],
        "launching",
        "not begun and not mentioned",
    ),
]


@pytest.mark.parametrize(
    ("wanted", "record", "unit", "instructions", "phase"),
    [case[:-1] for case in CASES],
    ids=[case[-1] for case in CASES],
)
def test_table(wanted, record, unit, instructions, phase):
    now = snapshot(wanted, record, unit)
    assert core.decide(now) == instructions
    assert [each.phase for each in core.reports(now)] == ([phase] if phase else [])


@pytest.mark.parametrize("record", [None, LAUNCHING, RUNNING, ENDED, REFUSED, Record(damaged="x")])
@pytest.mark.parametrize("unit", [None, ALIVE, OVER, Unit(False, 75)])
@pytest.mark.parametrize("wanted", [None, RUN, KILL])
def test_nothing_starts_that_was_claimed_or_before_the_manager_is_heard(wanted, record, unit):
    claimed = record is not None and (record.started or record.refused or record.damaged)
    unheard = snapshot(wanted, record, unit, wanted=None)
    stale = snapshot(wanted, record, unit, may_start=False)
    instructions = core.decide(unheard) + core.decide(stale)
    if claimed or (unit is not None and unit.alive):
        instructions += core.decide(snapshot(wanted, record, unit))
    assert not [each for each in instructions if isinstance(each, Start)]


def test_before_the_manager_is_heard_only_a_begun_kill_goes_on():
    records = {T: LAUNCHING, TaskId(8, 0, 1): killed(NOW), TaskId(9, 0, 1): RUNNING}
    units = {TaskId(8, 0, 1): ALIVE, TaskId(9, 0, 1): ALIVE}
    now = Snapshot(None, records, units, BOOT, NOW)
    assert core.decide(now) == [KillNow(TaskId(8, 0, 1))]


def test_forget_is_for_what_is_over():
    running, ended = TaskId(1, 0, 1), T
    now = Snapshot(
        {},
        {running: RUNNING, ended: ENDED},
        {running: ALIVE, ended: OVER},
        BOOT,
        NOW,
        forget=frozenset({running, ended, TaskId(99, 0, 1)}),
    )
    assert core.decide(now) == [Forget(ended)]


def test_newer_epoch_waits_for_the_end_of_the_older():
    newer = replace(RUN, epoch=2)
    t2 = TaskId(7, 0, 2)
    now = Snapshot({t2: newer}, {T: RUNNING}, {T: ALIVE}, BOOT, NOW)
    assert core.decide(now) == [Terminate(T, 5.0)]
    over = Snapshot({t2: newer}, {T: RUNNING}, {}, BOOT, NOW)
    assert core.decide(over) == [Prepare(newer), Start(t2)]


def test_newer_epoch_supersedes_one_that_never_began():
    t2 = TaskId(7, 0, 2)
    now = Snapshot({t2: replace(RUN, epoch=2)}, {T: LAUNCHING}, {}, BOOT, NOW)
    assert core.decide(now) == [Refuse(T, "a newer epoch of the task is wanted")]


def test_older_epoch_is_refused():
    now = Snapshot({T: RUN}, {TaskId(7, 0, 2): ENDED}, {}, BOOT, NOW)
    assert core.decide(now) == [Prepare(RUN, "this node has epoch 2 of the task already")]


def test_other_task_of_the_job_is_no_obstacle():
    t1 = TaskId(7, 1, 1)
    other = replace(RUN, task=1)
    now = Snapshot({T: RUN, t1: other}, {T: RUNNING}, {T: ALIVE}, BOOT, NOW)
    assert core.decide(now) == [Prepare(other), Start(t1)]


@pytest.mark.parametrize(
    ("unit", "attempts", "refused"),
    [
        (Unit(False, 1), 2, False),
        (Unit(False, 1), 3, True),
        (Unit(False, 75), 30, False),
        (None, 3, True),
    ],
)
def test_start_that_fails_again_and_again(unit, attempts, refused):
    now = snapshot(RUN, LAUNCHING, unit, attempts={T: attempts})
    (instruction,) = core.decide(now)
    assert isinstance(instruction, Refuse if refused else Start)
    if refused and unit:
        assert "status 1" in instruction.message


def message_of(record: Record | None, unit: Unit | None) -> str:
    (report,) = core.reports(snapshot(RUN, record, unit))
    assert report.phase == "lost"
    return report.message


def test_lost_says_why():
    other_boot = replace(RUNNING, started=Started("older", 1.0))
    stopped = replace(ENDED, stopped=True)
    assert message_of(other_boot, None) == "the node went down while it ran"
    assert message_of(RUNNING, OVER) == "its init was killed, so nobody saw how it ended"
    assert message_of(stopped, OVER) == "the node was being stopped while it ran"
    assert message_of(None, OVER) == "the record of the task is gone from the node"
    assert message_of(Record(damaged="cannot be read: x"), None) == "cannot be read: x"


# time limits -------------------------------------------------------------------------------------

TIMED = replace(RUN, spec={"time_limit": 100})
BEGAN = Started(BOOT, 50.0, boottime=NOW - 60)


def timed(**changes: Any) -> Record:
    return replace(Record(wanted=TIMED, started=BEGAN), **changes)


@pytest.mark.parametrize(
    ("record", "later", "instructions"),
    [
        (timed(), 39.9, []),
        (timed(), 40.0, [Terminate(T, 5.0, core.TIME_LIMIT)]),
        (timed(spent=30.0), 10.0, [Terminate(T, 5.0, core.TIME_LIMIT)]),
        (timed(spent=300.0), 0.0, [Terminate(T, 5.0, core.TIME_LIMIT)]),
        (timed(kill=Kill(BOOT, NOW + 45, cause=core.TIME_LIMIT)), 44.0, []),
        (timed(kill=Kill(BOOT, NOW + 45, cause=core.TIME_LIMIT)), 45.0, [KillNow(T)]),
        (timed(started=replace(BEGAN, boottime=None)), 900.0, []),  # of an older release
        (timed(restoring=True), 900.0, []),
        (timed(wanted=RUN), 900.0, []),
    ],
)
@pytest.mark.parametrize("word", ["wanted", "unheard", "foreign"])
def test_a_task_whose_time_is_over_is_killed_whoever_the_manager_is(
    record: Record, later: float, instructions: list[core.Instruction], word: str
) -> None:
    want = record.wanted if word == "wanted" else None
    more: dict[str, Any] = {"unheard": {"wanted": None}, "foreign": {"store": "aaaaaaaa"}}.get(
        word, {}
    )
    assert core.decide(snapshot(want, record, ALIVE, boottime=NOW + later, **more)) == instructions


def test_what_its_manager_kills_has_no_other_cause() -> None:
    now = snapshot(replace(TIMED, want="kill"), timed(), ALIVE, boottime=NOW + 90)
    assert core.decide(now) == [Terminate(T, 5.0)]


def test_the_cause_is_told_to_the_end() -> None:
    kill = Kill(BOOT, NOW + 45, NOW + 45, core.TIME_LIMIT)
    for unit, phase in ((ALIVE, "running"), (OVER, "ended")):
        (told,) = core.reports(snapshot(TIMED, timed(kill=kill, exit=EXIT), unit))
        assert (told.phase, told.cause) == (phase, core.TIME_LIMIT)


@pytest.mark.parametrize(
    ("record", "unit", "end"),
    [
        (timed(), ALIVE, NOW + 40),
        (timed(kill=Kill(BOOT, NOW + 45)), ALIVE, NOW + 45),
        (timed(exit=EXIT), OVER, None),
        (RUNNING, ALIVE, None),
    ],
)
def test_when_to_look_again(record: Record, unit: Unit, end: float | None) -> None:
    assert core.next_end(snapshot(TIMED, record, unit)) == end


def test_report_carries_start_and_exit_only_when_over():
    (running,) = core.reports(snapshot(RUN, ENDED, ALIVE))
    (ended,) = core.reports(snapshot(RUN, ENDED, OVER))
    assert (running.start_time, running.exit) == (50.0, None)
    assert (ended.start_time, ended.exit) == (50.0, EXIT)


# job stores --------------------------------------------------------------------------------------

X, Y = "aaaaaaaa", "bbbbbbbb"
ALICES = TaskId(7, 0, 1, X)
BOBS = TaskId(7, 0, 1, Y)
BOB_RUN = replace(RUN, user="bob", uid=2002, gid=2002, store=Y)


@pytest.mark.parametrize("want", ["run", "kill"])
def test_task_of_another_store_is_neither_taken_nor_killed_for_the_same_numbers(want):
    wanted = replace(BOB_RUN, want=want)
    record = replace(RUNNING, wanted=replace(RUN, store=X))
    now = Snapshot({BOBS: wanted}, {ALICES: record}, {ALICES: ALIVE}, BOOT, NOW, store=Y)
    begin = [Prepare(wanted, core.KILLED_EARLY)]
    assert core.decide(now) == ([Prepare(wanted), Start(BOBS)] if want == "run" else begin)
    assert [(each.phase, each.store) for each in core.reports(now)] == [("running", X)]


@pytest.mark.parametrize("wanted", [{}, {TaskId(7, 0, 2, Y): replace(BOB_RUN, epoch=2)}])
@pytest.mark.parametrize(
    ("record", "unit"), [(LAUNCHING, None), (RUNNING, ALIVE), (ENDED, OVER), (RUNNING, OVER)]
)
def test_a_manager_of_another_store_changes_nothing_of_a_task(wanted, record, unit):
    records, units = {ALICES: record}, {ALICES: unit} if unit else {}
    now = Snapshot(wanted, records, units, BOOT, NOW, forget=frozenset({ALICES}), store=Y)
    assert not [each for each in core.decide(now) if getattr(each, "task", None) == ALICES]
    own = replace(now, store=X, wanted={})
    assert bool(core.decide(own)) == (unit is not ALIVE)


def test_a_kill_that_was_begun_is_finished_under_a_manager_of_another_store():
    now = Snapshot({}, {ALICES: killed(NOW)}, {ALICES: ALIVE}, BOOT, NOW, store=Y)
    assert core.decide(now) == [KillNow(ALICES)]


@pytest.mark.parametrize("want", ["run", "kill"])
@pytest.mark.parametrize(
    "changes", [{"user": "bob", "uid": 2002, "gid": 2002}, {"spec": {"executable": "/x"}}]
)
@pytest.mark.parametrize(("record", "unit"), [(RUNNING, ALIVE), (ENDED, OVER), (LAUNCHING, None)])
def test_another_job_under_a_name_that_is_on_record_is_refused(want, changes, record, unit):
    other = replace(RUN, want=want, **changes)
    now = snapshot(other, record, unit, store="", forget=frozenset({T}))
    assert core.decide(now) == [core.Disown(T)]
    after = replace(now, records={T: replace(record, disowned=True)}, store=X)
    assert core.decide(after) == []
    kept, refused = core.reports(after)
    assert (kept.store, kept.message) == ("", "disowned, named 7.0.1 on the node")
    assert (refused.phase, refused.job, refused.exit) == ("refused", 7, None)
    assert "task 7.0.1 of alice on record" in refused.message
    assert core.decide(replace(after, wanted={T: KILL}, store="")) == []


def test_the_end_of_an_orphan_needs_no_owner():
    orphan = WantedTask(7, 0, 1, "kill", "", -1, -1, {}, 5.0)
    assert core.decide(snapshot(orphan, RUNNING, ALIVE)) == [Terminate(T, 5.0)]

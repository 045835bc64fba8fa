"""Nodes that say of themselves that they are not fit, and jobs that go back to the queue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kcms.jobs.model import PROLOGUE, TaskReport
from kcms.jobs.states import State
from kcms.manager import core, scheduling
from kcms.manager.memory import Draft
from kcms.manager.store import Store
from kcms.manager.unfit import ITSELF
from tests.unit.manager.world import World, ended, moved, said, said_running

WHY = "prologue of job 1 failed with exit status 4"


def no_prologue(epoch: int = 1, **fields: object) -> TaskReport:
    return said("refused", epoch=epoch, cause=PROLOGUE, message=WHY, unfit=WHY, **fields)


def test_a_failed_prologue_drains_the_node_and_the_job_begins_elsewhere() -> None:
    world = World("alpha1", "alpha2")
    number = world.submit()
    (task,) = world.job(number).tasks
    assert task.node == "alpha1"
    assert world.report("alpha1", no_prologue()) == [(1, 0, 1)]
    row = world.row("alpha1")
    assert (row["availability"], row["drain_reason"]) == ("drained", WHY)
    assert world.memory.drained["alpha1"].by == ITSELF
    job = world.job(number)
    (task,) = job.tasks
    assert (job.state, task.node, task.epoch) == (State.RUNNING, "alpha2", 2)
    assert world.wanted("alpha1") == []
    assert world.kinds[-3:] == ["drain", "requeue", "place"]


def test_the_same_word_again_changes_nothing() -> None:
    world = World("alpha1")
    number = world.submit()
    for _ in range(3):
        assert world.report("alpha1", no_prologue()) == [(1, 0, 1)]
    assert world.kinds.count("requeue") == 1
    job = world.job(number)
    assert (job.state, job.start_time, job.reason) == (
        *(State.PENDING, None),
        "every node that is up is drained",
    )
    world.set_state("alpha1", "resume")
    assert [task.epoch for task in world.job(number).tasks] == [2]
    world.report("alpha1", said("refused", epoch=1, cause=PROLOGUE, message=WHY))
    assert world.job(number).state is State.RUNNING


def test_all_nodes_fail_in_turn_and_the_job_waits_on() -> None:
    world = World("alpha1", "alpha2")
    number = world.submit()
    world.report("alpha1", no_prologue())
    world.report("alpha2", no_prologue(epoch=2))
    assert world.job(number).state is State.PENDING
    assert world.kill(number).state is State.CANCELLED


def test_a_killed_job_whose_prologue_fails_is_cancelled_and_the_node_drained() -> None:
    world = World("alpha1")
    number = world.submit()
    world.kill(number)
    world.report("alpha1", no_prologue())
    job = world.job(number)
    assert (job.state, job.reason) == (State.CANCELLED, "killed by alice")
    assert world.row("alpha1")["drain_reason"] == WHY


def test_a_failed_epilogue_leaves_the_end_as_it_is() -> None:
    world = World("alpha1", "alpha2")
    number = world.submit()
    world.report("alpha1", said_running())
    why = "epilogue of job 1 took longer than 60 s and was killed"
    over = said("ended", start_time=1001.0, exit=ended().exit, unfit=why)
    world.report("alpha1", over)
    assert world.job(number).state is State.COMPLETED
    assert world.row("alpha1")["drain_reason"] == why


def test_what_stands_as_the_reason_stays() -> None:
    world = World("alpha1")
    world.submit()
    world.set_state("alpha1", "drain", "new disks")
    world.report("alpha1", no_prologue())
    assert world.row("alpha1")["drain_reason"] == "new disks"


def test_only_the_end_of_a_task_of_ours_drains_and_in_one_short_line() -> None:
    world = World("alpha1")
    world.submit()
    world.report("alpha1", said("running", start_time=1.0, unfit="too early"))
    world.report("alpha1", said("ended", store="0123abcd", unfit="another's"))
    assert not world.row("alpha1")["drained"]
    world.report("alpha1", said("lost", job=99, unfit="of\none\x1b nobody " + 300 * "x"))
    reason = world.row("alpha1")["drain_reason"]
    assert reason.startswith("of one nobody xxx")
    assert (len(reason), reason.isprintable()) == (200, True)


def test_a_move_to_a_node_whose_prologue_fails_is_undone_and_that_node_drained() -> None:
    world = World("alpha1", "alpha2")
    number = world.submit()
    world.report("alpha1", said_running())
    world.migrate(number, "alpha2")
    world.report("alpha1", said_running(), moves=(moved("check"),))
    world.report("alpha2", moves=(moved("admit", epoch=2),))
    world.report("alpha1", said_running(), moves=(moved("dump"),))
    world.report("alpha2", no_prologue(epoch=2))
    job = world.job(number)
    assert (job.state, job.tasks[0].node) == (State.RUNNING, "alpha1")
    assert job.migration is not None
    assert (job.migration.phase, job.migration.message) == ("failed", f"alpha2: {WHY}")
    assert world.row("alpha2")["drain_reason"] == WHY
    assert not world.row("alpha1")["drained"]


def test_drain_and_requeue_are_durable_in_one_commit(tmp_path: Path) -> None:
    """A manager that dies before the commit hears the same word again; after it, both stand."""
    world = World("alpha1")
    number = world.submit()
    store = Store(str(tmp_path), "alpha")
    store.commit([world.job(number)], [])
    earlier = world.memory.nodes["alpha1"].report
    assert earlier is not None
    for _ in range(2):
        draft = Draft(world.memory)
        core.report(draft, "alpha1", replace(earlier, tasks=(no_prologue(),)), 1001.0)
        scheduling.settle(draft, 1001.0)
    store.commit(draft.changed.values(), draft.events, draft.drains)
    assert store.drained()["alpha1"].reason == WHY
    kept = store.job(number)
    assert kept is not None
    assert (kept.state, kept.tasks[0].epoch) == (State.PENDING, 1)
    store.close()

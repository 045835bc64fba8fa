"""The manager's rules for jobs, one event after the other, on a clock of our own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kcms.errors import Conflict, Forbidden, NotFound
from kcms.jobs.model import MEMORY_LIMIT, TIME_LIMIT, Exit, Task, TaskReport
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import core, nodes, scheduling
from kcms.manager.memory import Draft
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.world import ALICE, BOB, ROOT, World, ended, said, said_running

# from submission to the end ----------------------------------------------------------------------


def test_a_job_is_running_from_its_placement_on_and_started_when_the_node_says_so() -> None:
    world = World("a")
    number = world.submit()
    job = world.job(number)
    assert (job.state, job.reason, job.start_time) == (State.RUNNING, "being started", None)
    assert job.tasks == (Task(0, 1, "a", State.RUNNING),)
    assert world.wanted("a") == [(number, 0, 1, "run")]
    world.report("a", said("running", start_time=1001.0))
    job = world.job(number)
    assert (job.reason, job.start_time, job.tasks[0].start_time) == ("", 1001.0, 1001.0)
    assert world.kinds == ["submit", "place", "start"]


def test_a_job_without_a_free_slot_waits_with_a_reason_and_goes_when_one_is_free() -> None:
    world = World("a", slots=1)
    first, second, urgent = world.submit(), world.submit(), world.submit(priority=1)
    states = [world.job(each).state for each in (first, second, urgent)]
    assert states == [State.RUNNING, State.PENDING, State.PENDING]
    assert world.job(second).reason == "every slot is taken"
    world.report("a", ended())
    assert world.job(urgent).state is State.RUNNING
    assert world.job(second).state is State.PENDING
    assert world.wanted("a") == [(urgent, 0, 1, "run")]


def test_nothing_is_placed_where_nobody_reported() -> None:
    world = World()
    nodes.follow_hosts(world.memory, {"a"}, world.now)
    number = world.submit()
    assert (world.job(number).state, world.job(number).reason) == (State.PENDING, "no node is up")
    world.report("a")
    assert world.job(number).state is State.RUNNING


@pytest.mark.parametrize(
    ("report", "state", "reason"),
    [
        (ended(0), State.COMPLETED, ""),
        (ended(3), State.FAILED, "exit status 3"),
        (ended(None, 11), State.FAILED, "ended by signal 11"),
        (said("refused", message="uid of alice differs"), State.FAILED, "a: uid of alice differs"),
        (said("lost", message="the node went down"), State.NODE_FAIL, "a: the node went down"),
        (said("lost"), State.NODE_FAIL, "a: the task was lost"),
        (
            replace(ended(None, 9), cause=TIME_LIMIT),
            State.TIMEOUT,
            "the time limit of 1-00:00:00 was reached",
        ),
        (
            replace(ended(0), cause=TIME_LIMIT),
            State.TIMEOUT,
            "the time limit of 1-00:00:00 was reached",
        ),
        (replace(ended(0), cause="of a newer release"), State.COMPLETED, ""),
        (
            ended(None, 9, cause=MEMORY_LIMIT, detail="it took 9 MiB"),
            State.FAILED,
            "it took 9 MiB",
        ),
    ],
)
def test_how_a_job_ends(report: TaskReport, state: State, reason: str) -> None:
    world = World("a")
    number = world.submit(time_limit="24h")
    assert world.report("a", report) == [(1, 0, 1)]
    job = world.job(number)
    assert (job.state, job.reason) == (state, reason)
    assert (job.tasks[0].state, job.tasks[0].exit) == (state, report.exit)
    assert job.end_time == (1002.0 if report.exit else world.now)
    assert number not in world.memory.jobs
    assert world.wanted("a") == []


def test_a_job_whose_time_is_over_says_so_while_it_ends() -> None:
    world = World("a")
    number = world.submit(time_limit=60)
    world.report("a", said_running())
    world.report("a", replace(said_running(), cause=TIME_LIMIT))
    assert (world.job(number).state, world.job(number).reason) == (
        State.RUNNING,
        "its time limit is reached",
    )
    world.kill(number)
    world.report("a", replace(said_running(), cause=TIME_LIMIT))
    assert world.job(number).reason == "being killed by alice"
    world.report("a", replace(ended(None, 9), cause=TIME_LIMIT))
    assert world.job(number).state is State.TIMEOUT


def test_the_record_of_an_end_has_the_counts_of_the_node() -> None:
    world = World("a")
    world.submit()
    world.report("a", ended(None, 9, processes_killed=12, processes_left=0))
    record = world.job(1).document()["tasks"][0]["exit"]
    assert (record["processes_killed"], record["processes_left"], record["signal"]) == (12, 0, 9)


def test_a_start_that_was_told_stays_when_the_end_does_not_tell_it() -> None:
    world = World("a")
    world.submit()
    world.report("a", said("running", start_time=1001.0))
    world.report("a", said("lost"))
    assert (world.job(1).start_time, world.job(1).tasks[0].start_time) == (1001.0, 1001.0)


def test_trouble_to_start_is_told_to_the_user_until_it_is_over() -> None:
    world = World("a")
    world.submit()
    world.report("a", said("launching", message="No space left on device"))
    assert world.job(1).reason == "a: No space left on device"
    assert world.job(1).state is State.RUNNING
    world.report("a", said("launching"))
    assert world.job(1).reason == "being started"
    world.report("a", said("running", start_time=1001.0))
    assert world.job(1).reason == ""


# reports that come twice, late or from elsewhere -------------------------------------------------


def test_a_report_again_changes_nothing_and_is_answered_the_same() -> None:
    world = World("a")
    world.submit()
    world.report("a", ended(3))
    before, kinds = world.job(1), list(world.kinds)
    assert world.report("a", ended(0)) == [(1, 0, 1)]
    assert (world.job(1), world.kinds) == (before, kinds)


def test_an_unchanged_report_writes_nothing() -> None:
    world = World("a")
    world.submit()
    world.report("a", said("running", start_time=1001.0))
    kinds = list(world.kinds)
    world.report("a", said("running", start_time=1001.0))
    assert world.kinds == kinds


def test_a_task_that_is_over_here_and_runs_there_is_wanted_killed_and_then_forgotten() -> None:
    world = World("a")
    world.submit()
    world.report("a", said("lost"))
    assert world.report("a", said("running", start_time=1001.0)) == []
    assert world.wanted("a") == [(1, 0, 1, "kill")]
    assert world.report("a", ended(None, 9)) == [(1, 0, 1)]
    assert world.wanted("a") == []
    assert world.job(1).state is State.NODE_FAIL


def test_a_slot_that_such_a_task_holds_is_not_given_away() -> None:
    world = World("a", slots=1)
    world.submit()
    world.report("a", said("lost"))
    world.report("a", said("running", start_time=1001.0))
    assert world.job(world.submit()).state is State.PENDING


def test_an_older_epoch_does_not_touch_the_job() -> None:
    world = World("a")
    world.submit()
    job = world.job(1)
    world.memory.adopt(replace(job, tasks=(replace(job.tasks[0], epoch=2),)))
    assert world.report("a", ended(0)) == [(1, 0, 1)]
    assert world.report("a", said("running", start_time=1.0)) == []
    assert world.job(1).state is State.RUNNING
    assert sorted(world.wanted("a")) == [(1, 0, 1, "kill"), (1, 0, 2, "run")]


def test_a_node_cannot_end_the_task_of_another() -> None:
    world = World("a", "b")
    world.submit()
    other = "b" if world.job(1).tasks[0].node == "a" else "a"
    world.report(other, ended(0))
    assert world.job(1).state is State.RUNNING


def test_a_stranger_is_no_node() -> None:
    with pytest.raises(Forbidden, match="z is no node of cluster alpha"):
        World("a").report("z")


def test_a_task_that_its_node_no_longer_knows_is_lost_at_the_second_report_without_it() -> None:
    world = World("a")
    world.submit()
    world.report("a")
    world.report("a")
    assert world.job(1).state is State.RUNNING, "it was not started yet, so the node may start it"
    world.report("a", said("running", start_time=1001.0))
    world.report("a")
    world.report("a", said("running", start_time=1001.0))
    world.report("a")
    assert world.job(1).state is State.RUNNING, "one report without it may be an old one"
    world.report("a")
    assert world.job(1).state is State.NODE_FAIL
    assert world.job(1).reason == "a: the node has no record of the task any more"


# kill --------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once() -> None:
    world = World()
    number = world.submit()
    world.kill(number)
    job = world.job(number)
    assert (job.state, job.killed_by, job.end_time) == (State.CANCELLED, "alice", world.now)


def test_a_running_job_runs_until_its_node_says_that_it_ended() -> None:
    world = World("a")
    number = world.submit()
    world.report("a", said("running", start_time=1001.0))
    assert world.kill(number).state is State.RUNNING
    assert world.wanted("a") == [(number, 0, 1, "kill")]
    world.report("a", said("running", start_time=1001.0))
    assert world.job(number).state is State.RUNNING
    world.report("a", ended(0))
    job = world.job(number)
    assert (job.state, job.killed_by, job.reason) == (State.CANCELLED, "alice", "killed by alice")
    assert job.tasks[0].exit == Exit(0, None, 1002.0)


def test_a_kill_again_is_the_same_kill() -> None:
    world = World("a")
    number = world.submit()
    first = world.kill(number, ROOT)
    assert world.kill(number, ALICE) == first
    assert world.kinds.count("kill") == 1
    world.report("a", ended(None, 15))
    with pytest.raises(Conflict, match=r"job 1 is over already \(CANCELLED\)"):
        world.kill(number)


def test_a_job_killed_before_its_node_began_it() -> None:
    world = World("a")
    number = world.submit()
    world.kill(number)
    world.report("a", said("refused", message="killed before it was started"))
    assert world.job(number).state is State.CANCELLED


def test_others_do_not_see_it_and_root_does() -> None:
    world = World("a")
    number = world.submit()
    with pytest.raises(NotFound, match="no job 1 that bob may see"):
        world.kill(number, BOB)
    assert world.job(number).killed_by is None
    assert world.kill(number, ROOT).killed_by == "root"


def test_a_wanted_task_has_what_its_node_needs() -> None:
    world = World("a")
    world.submit(arguments=["x y"], environment={"A": "b"})
    wanted = wanted_tasks(world.memory, "a")[0]
    assert (wanted.user, wanted.uid, wanted.gid, wanted.grace) == ("alice", 2001, 2001, 5)
    assert (wanted.spec["arguments"], wanted.spec["environment"]) == (["x y"], {"A": "b"})


def test_a_draft_that_is_dropped_leaves_no_trace() -> None:
    world = World("a")
    draft = Draft(world.memory)
    core.submit(draft, ALICE, check_spec({"executable": "/x"}), None, world.now)
    scheduling.schedule(draft, world.now)
    assert (world.memory.jobs, world.memory.last_job, world.wanted("a")) == ({}, 0, [])
    assert world.submit() == 1


def test_one_user_s_open_jobs_are_bounded_and_nobody_else_s() -> None:
    world = World()
    world.memory.rules = replace(world.memory.rules, max_open_jobs=2)
    first = world.submit()
    world.submit()
    with pytest.raises(Conflict, match="alice has 2 jobs that are not over"):
        world.submit()
    world.submit(BOB)
    world.kill(first)
    world.submit()

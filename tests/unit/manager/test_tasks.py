"""Jobs of several tasks: batch and parallel, their ends, and what is begun anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict, InvalidRequest, NotFound
from kcms.jobs.model import LEASE_OVER, Exit, Job, TaskReport
from kcms.jobs.states import State
from kcms.manager import core, holding, hooks
from kcms.manager.memory import Draft
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.world import ALICE, BOB, World


def running(job: int, task: int, epoch: int = 1, **fields: Any) -> TaskReport:
    return TaskReport(job, task, epoch, "running", start_time=1001.0, **fields)


def over(
    job: int,
    task: int,
    epoch: int = 1,
    code: int | None = 0,
    signal: int | None = None,
    **more: Any,
) -> TaskReport:
    record = Exit(code, signal, 1002.0, cause=more.pop("cause", ""))
    return TaskReport(job, task, epoch, "ended", start_time=1001.0, exit=record, **more)


def states(job: Job) -> list[str]:
    return [task.state.value for task in job.tasks]


def places(job: Job) -> list[tuple[int, str]]:
    return [(task.index, task.node) for task in job.tasks if task.open]


def kill_task(world: World, number: int, index: int) -> Job:
    def decide(draft: Draft) -> Job:
        job = core.check_sees(ALICE, draft.job(number) or world.over.get(number), number)
        return core.kill_task(draft, ALICE, job, index, world.now)

    job: Job = world.do(decide)
    return job


# batch -------------------------------------------------------------------------------------------


def test_the_tasks_of_a_batch_job_go_as_slots_come_free() -> None:
    world = World("a", "b", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 3})
    assert places(world.job(number)) == [(0, "a"), (1, "b")]
    assert world.job(number).counts == {"RUNNING": 2, "PENDING": 1}
    world.report("a", over(number, 0))
    job = world.job(number)
    assert (states(job), places(job)) == (
        ["COMPLETED", "RUNNING", "RUNNING"],
        [(1, "b"), (2, "a")],
    )
    assert job.state is State.RUNNING
    world.report("a", over(number, 2))
    world.report("b", over(number, 1))
    job = world.job(number)
    assert (job.state, job.reason, job.counts) == (State.COMPLETED, "", {"COMPLETED": 3})
    assert world.kinds.count("end") == 1


def test_a_batch_job_goes_on_when_a_task_fails_and_says_so_in_the_end() -> None:
    world = World("a", slots=2)
    number = world.submit(**{"class": "batch", "total_tasks": 2})
    world.report("a", over(number, 0, code=3), running(number, 1))
    assert world.job(number).state is State.RUNNING
    world.report("a", over(number, 1))
    job = world.job(number)
    assert (job.state, job.reason) == (
        State.FAILED,
        "1 of 2 tasks did not complete; task 0: exit status 3",
    )


def test_a_batch_job_can_end_with_its_first_failure() -> None:
    world = World("a", slots=2)
    number = world.submit(**{"class": "batch", "total_tasks": 9, "task_failure": "end"})
    world.report("a", over(number, 0, code=3), running(number, 1))
    job = world.job(number)
    assert job.reason == "task 0: exit status 3; its other tasks are being ended"
    assert world.wanted("a") == [(number, 1, 1, "kill")]
    world.report("a", over(number, 1, code=None, signal=15))
    job = world.job(number)
    assert (job.state, job.reason) == (State.FAILED, "task 0: exit status 3")
    assert job.counts == {"FAILED": 1, "CANCELLED": 8}


def test_tasks_per_node_and_cpus_bound_what_a_node_gets() -> None:
    world = World("a", "b", slots=4)
    number = world.submit(**{"class": "batch", "total_tasks": 8, "tasks_per_node": 1})
    assert places(world.job(number)) == [(0, "a"), (1, "b")]
    wide = world.submit(**{"class": "batch", "total_tasks": 8, "cpus_per_task": 2})
    assert places(world.job(wide)) == [(0, "a"), (1, "b")]
    assert [world.row(name)["used"] for name in "ab"] == [3, 3]
    huge = world.submit(cpus_per_task=5)
    assert world.job(huge).reason == "no node in use has 5 slots"
    large = world.submit(cpus_per_task=2)
    assert world.job(large).reason == "2 slots are not free on any node"


def test_killing_a_batch_job_ends_what_runs_and_begins_nothing_more() -> None:
    world = World("a", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 3})
    world.report("a", running(number, 0))
    assert world.kill(number).reason == "being killed by alice"
    world.report("a", over(number, 0, code=None, signal=9))
    job = world.job(number)
    assert (job.state, job.reason) == (State.CANCELLED, "killed by alice")
    assert job.counts == {"CANCELLED": 3}
    assert world.wanted("a") == []


def test_single_tasks_of_a_batch_job_are_killed_before_and_after_they_began() -> None:
    world = World("a", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 4})
    world.report("a", running(number, 0))
    kill_task(world, number, 2)
    assert world.job(number).counts == {"RUNNING": 1, "CANCELLED": 1, "PENDING": 2}
    kill_task(world, number, 0)
    assert world.wanted("a") == [(number, 0, 1, "kill")]
    world.report("a", over(number, 0, code=None, signal=15))
    assert world.wanted("a") == [(number, 1, 1, "run")]
    world.report("a", over(number, 1))
    world.report("a", over(number, 3))
    job = world.job(number)
    assert (job.state, states(job)) == (
        State.CANCELLED,
        ["CANCELLED", "COMPLETED", "CANCELLED", "COMPLETED"],
    )
    with pytest.raises(Conflict, match=r"task 2 of job 1 is over already \(CANCELLED\)"):
        kill_task(world, number, 2)
    with pytest.raises(NotFound, match="has the tasks 0 to 3, and no task 4"):
        kill_task(world, number, 4)


def test_the_last_waiting_task_ends_the_job_when_it_is_killed() -> None:
    world = World()
    number = world.submit(**{"class": "batch", "total_tasks": 1})
    assert kill_task(world, number, 0).state is State.CANCELLED
    number = world.submit(**{"class": "batch", "total_tasks": 2})
    kill_task(world, number, 0)
    assert world.job(number).state is State.PENDING
    job = kill_task(world, number, 1)
    assert (job.state, job.end_time) == (State.CANCELLED, world.now)


def test_a_killed_batch_job_of_which_nothing_runs_is_over_at_once() -> None:
    world = World("a", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 2})
    world.set_state("a", "drain")
    world.report("a", over(number, 0))
    assert (world.job(number).state, world.job(number).open_tasks) == (State.RUNNING, ())
    assert world.kill(number).state is State.CANCELLED


# parallel ----------------------------------------------------------------------------------------


def parallel(world: World, tasks: int = 4, **fields: Any) -> int:
    return world.submit(**{"class": "parallel", "total_tasks": tasks, **fields})


def test_the_tasks_of_a_parallel_job_start_together_a_unit_a_node() -> None:
    world = World("a", "b", slots=2)
    taken = world.submit()
    number = parallel(world)
    assert world.job(number).reason == "there is no room for its 4 tasks at once yet"
    world.report("a", over(taken, 0))
    job = world.job(number)
    assert [(task.index, task.unit, task.node) for task in job.tasks] == [
        (0, 0, "a"), (1, 0, "a"), (2, 2, "b"), (3, 2, "b"),
    ]  # fmt: skip
    (wanted,) = wanted_tasks(world.memory, "b")
    assert (wanted.task, wanted.ranks, wanted.hosts) == (2, (2, 3), ("a", "a", "b", "b"))
    world.report("a", running(number, 0))
    world.report("b", running(number, 2))
    assert all(task.start_time == 1001.0 for task in world.job(number).tasks)
    ends = {2: Exit(0, None, 1002.0), 3: Exit(0, None, 1003.0)}
    world.report("b", over(number, 2, ends=ends))
    assert world.job(number).state is State.RUNNING
    ends = {0: Exit(0, None, 1002.0), 1: Exit(0, None, 1004.0)}
    world.report("a", over(number, 0, ends=ends))
    job = world.job(number)
    assert (job.state, job.end_time) == (State.COMPLETED, 1004.0)


def test_what_never_fits_is_told_so() -> None:
    world = World("a", "b", slots=2)
    number = parallel(world, 5)
    assert world.job(number).reason == "the nodes in use have room for 4 of its 5 tasks at once"
    number = parallel(world, 3, tasks_per_node=1)
    assert world.job(number).reason == "the nodes in use have room for 2 of its 3 tasks at once"


def test_the_death_of_one_rank_ends_the_others_as_the_policy_says() -> None:
    world = World("a", "b", slots=2)
    number = parallel(world)
    world.report("a", running(number, 0, ends={1: Exit(None, 11, 1002.0)}))
    job = world.job(number)
    assert states(job) == ["RUNNING", "FAILED", "RUNNING", "RUNNING"]
    assert job.reason == "task 1: ended by signal 11; its other tasks are being ended"
    assert (world.wanted("a"), world.wanted("b")) == (
        [(number, 0, 1, "kill")],
        [(number, 2, 1, "kill")],
    )
    ends = {0: Exit(None, 15, 1003.0), 1: Exit(None, 11, 1002.0)}
    world.report("a", over(number, 0, code=None, signal=11, ends=ends))
    assert world.job(number).state is State.RUNNING
    world.report("b", over(number, 2, ends={2: Exit(0, None, 1002.0), 3: Exit(None, 15, 1003.0)}))
    job = world.job(number)
    assert (job.state, job.reason) == (State.FAILED, "task 1: ended by signal 11")
    assert states(job) == ["CANCELLED", "FAILED", "COMPLETED", "CANCELLED"]


def test_the_others_go_on_when_the_policy_says_so() -> None:
    world = World("a", slots=2)
    number = parallel(world, 2, task_failure="continue")
    world.report("a", running(number, 0, ends={1: Exit(3, None, 1002.0)}))
    assert world.wanted("a") == [(number, 0, 1, "run")]
    ends = {0: Exit(0, None, 1003.0), 1: Exit(3, None, 1002.0)}
    world.report("a", over(number, 0, ends=ends))
    job = world.job(number)
    assert (job.state, states(job)) == (State.FAILED, ["COMPLETED", "FAILED"])


def test_a_refused_unit_ends_a_parallel_job() -> None:
    world = World("a", "b", slots=1)
    number = parallel(world, 2)
    world.report("a", TaskReport(number, 0, 1, "refused", message="uid of alice differs"))
    assert world.wanted("b") == [(number, 1, 1, "kill")]
    world.report("b", TaskReport(number, 1, 1, "refused", message="killed before"))
    job = world.job(number)
    assert (job.state, job.reason) == (State.FAILED, "task 0: a: uid of alice differs")


def test_a_rank_cannot_be_killed_alone_nor_the_job_moved() -> None:
    world = World("a", "b")
    number = parallel(world, 2)
    world.report("a", running(number, 0))
    with pytest.raises(Conflict, match="end together: kill the job"):
        kill_task(world, number, 0)
    with pytest.raises(Conflict, match="has 2 tasks that run together: only a job of one"):
        world.migrate(number, "b")


def test_a_task_that_was_given_up_is_killed_where_it_still_runs_though_others_go_on() -> None:
    world = World("a", "b")
    number = world.submit(**{"class": "batch", "total_tasks": 2})
    world.report("a", running(number, 0))
    world.report("b", running(number, 1))
    for _ in range(301):
        world.report("b", running(number, 1))
        world.silent(1)
    assert states(world.job(number)) == ["NODE_FAIL", "RUNNING"]
    world.report("a", running(number, 0))
    (wanted,) = wanted_tasks(world.memory, "a")
    assert (wanted.task, wanted.want, wanted.grace) == (0, "kill", 5)
    assert world.report("a", over(number, 0, signal=9, code=None)) == [(number, 0, 1)]
    assert world.wanted("a") == []


# begun anew --------------------------------------------------------------------------------------


def test_a_job_that_may_is_begun_anew_when_its_node_is_lost_for_certain() -> None:
    world = World("a", slots=1)
    number = world.submit(requeue=True)
    (wanted,) = wanted_tasks(world.memory, "a")
    assert (wanted.lease, wanted.restarts) == (180.0, 0)
    world.report("a", running(number, 0))
    world.report("a", TaskReport(number, 0, 1, "lost", message="the node went down while it ran"))
    job = world.job(number)
    assert (job.state, job.tasks[0].epoch, job.tasks[0].restarts) == (State.RUNNING, 2, 1)
    (wanted,) = wanted_tasks(world.memory, "a")
    assert (wanted.epoch, wanted.restarts) == (2, 1)
    assert "requeue" in world.kinds


def test_a_silent_node_is_given_up_only_after_the_lease_of_what_is_begun_anew() -> None:
    world = World("a", "b", slots=1)
    world.memory.rules = replace(world.memory.rules, node_lost=60, lease=100)
    number, other = world.submit(requeue=True), world.submit()
    world.report("a", running(number, 0))
    world.report("b", running(other, 0))
    world.silent(61)
    assert world.job(other).state is State.NODE_FAIL
    assert world.job(number).reason == "a is not heard; it may still run there"
    world.silent(48)
    assert world.job(number).state is State.RUNNING
    world.silent(2)
    assert (world.job(number).state, world.job(number).tasks[0].message) == (
        State.PENDING,
        "a was not heard for 110 s",
    )
    world.report("b")
    assert places(world.job(number)) == [(0, "b")]
    world.report("a", over(number, 0, code=None, signal=9, cause=LEASE_OVER))
    assert world.wanted("a") == []
    assert places(world.job(number)) == [(0, "b")]


def test_the_end_of_a_lease_is_no_failure_of_the_job() -> None:
    world = World("a")
    number = world.submit(requeue=True)
    world.report("a", over(number, 0, code=None, signal=9, cause=LEASE_OVER))
    assert (world.job(number).tasks[0].epoch, world.job(number).state) == (2, State.RUNNING)


def test_only_what_keeps_checkpoints_is_begun_anew_after_a_signal() -> None:
    world = World("a", slots=4)
    plain, keeps = world.submit(requeue=True), world.submit(restart_from_checkpoint=True)
    killed = world.submit(restart_from_checkpoint=True)
    world.kill(killed)
    world.report("a", *(over(each, 0, code=None, signal=11) for each in (plain, keeps, killed)))
    assert [world.job(each).state.value for each in (plain, keeps, killed)] == [
        *("FAILED", "RUNNING", "CANCELLED")
    ]
    world.report("a", over(keeps, 0, epoch=2, code=1))
    assert world.job(keeps).state is State.FAILED


def test_no_job_is_begun_anew_for_ever() -> None:
    world = World("a")
    number = world.submit(requeue=True)
    for epoch in range(1, 11):
        world.report("a", TaskReport(number, 0, epoch, "lost"))
        assert world.job(number).state is State.RUNNING
    world.report("a", TaskReport(number, 0, 11, "lost"))
    assert world.job(number).state is State.NODE_FAIL


def test_a_lost_task_of_a_batch_job_is_begun_anew_alone() -> None:
    world = World("a", "b", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 2, "requeue": True})
    world.report("a", running(number, 0))
    world.report("b", running(number, 1))
    world.report("a", TaskReport(number, 0, 1, "lost"))
    job = world.job(number)
    assert [(task.index, task.epoch, task.node) for task in job.tasks] == [(0, 2, "a"), (1, 1, "b")]


def test_a_parallel_job_is_begun_anew_as_a_whole() -> None:
    world = World("a", "b", slots=1)
    number = parallel(world, 2, requeue=True)
    world.report("a", running(number, 0))
    world.report("b", running(number, 1))
    world.report("a", TaskReport(number, 0, 1, "lost"))
    assert world.wanted("b") == [(number, 1, 1, "kill")]
    assert world.wanted("a") == []
    world.report("b", over(number, 1, code=None, signal=15))
    job = world.job(number)
    assert [(task.index, task.epoch, task.node, task.restarts) for task in job.tasks] == [
        (0, 2, "a", 1),
        (1, 2, "b", 1),
    ]
    assert (job.state, job.fate) == (State.RUNNING, None)


def test_a_job_is_requeued_by_hand_and_held_when_it_was_suspended() -> None:
    world = World("a", slots=1)
    number = world.submit()
    world.report("a", running(number, 0))
    assert world.act(holding.requeue, number).reason == "being requeued by alice"
    assert world.wanted("a") == [(number, 0, 1, "kill")]
    world.report("a", over(number, 0, code=None, signal=15))
    assert world.wanted("a") == [(number, 0, 2, "run")]
    world.report("a", running(number, 0, epoch=2))
    world.act(holding.suspend, number)
    world.act(holding.requeue, number)
    world.report("a", over(number, 0, epoch=2, code=None, signal=9))
    job = world.job(number)
    assert (job.state, job.reason) == (State.PENDING, "held by alice")
    world.hold(number, release=True)
    world.report("a", over(number, 0, epoch=3))
    assert world.job(number).state is State.COMPLETED
    with pytest.raises(Conflict, match="only a job that runs can be requeued"):
        world.act(holding.requeue, number)


def test_a_job_that_completes_while_it_is_requeued_has_completed() -> None:
    world = World("a", "b", slots=1)
    number = world.submit()
    world.report("a", running(number, 0))
    world.act(holding.requeue, number)
    world.report("a", over(number, 0))
    assert world.job(number).state is State.COMPLETED
    number = parallel(world, 2)
    world.report("a", running(number, 0))
    world.act(holding.requeue, number)
    world.report("a", over(number, 0, ends={0: Exit(0, None, 1.0)}))
    world.report("b", over(number, 1, ends={1: Exit(0, None, 1.0)}))
    assert world.job(number).state is State.COMPLETED


def test_what_may_still_run_somewhere_is_not_begun_anew_by_a_wish() -> None:
    world = World("a", "b", slots=1)
    number = world.submit()
    world.report("a", running(number, 0))
    world.act(holding.requeue, number)
    world.silent(301)
    assert world.job(number).state is State.NODE_FAIL


def test_a_dependency_is_asked_for_once() -> None:
    world = World("a", slots=1)
    first = world.submit()
    number = world.submit(dependency=[f"afterok:{first}"], requeue=True)
    world.report("a", over(first, 0))
    world.report("a", TaskReport(number, 0, 1, "lost"))
    assert world.job(number).state is State.RUNNING


# partitions and what is run on the end -----------------------------------------------------------


def test_a_job_goes_to_the_nodes_of_its_partition() -> None:
    world = World("a", "b", slots=1)
    world.memory.rules = replace(world.memory.rules, partitions={"small": frozenset({"b"})})
    number, waiting = world.submit(partition="small"), world.submit(partition="small")
    assert places(world.job(number)) == [(0, "b")]
    assert world.job(waiting).state is State.PENDING
    with pytest.raises(InvalidRequest, match="partition 'large' is unknown; there are small"):
        world.submit(partition="large")
    world.report("b", running(number, 0))
    with pytest.raises(Conflict, match="a is not in partition small"):
        world.migrate(number, "a")


@pytest.mark.parametrize("how", ["end", "kill"])
def test_a_program_is_run_when_a_job_is_over(how: str) -> None:
    world = World("a", slots=1)
    number = world.submit(on_end="/shared/tell", environment={"A": "1"}, comment="a run")
    if how == "kill":
        world.kill(number)
        world.report("a", over(number, 0, code=None, signal=15))
    else:
        world.report("a", over(number, 0, code=2))
    hook = world.job(number + 1)
    assert (hook.user, hook.spec["executable"], hook.spec["on_end"]) == (
        *("alice", "/shared/tell", None),
    )
    assert hook.spec["environment"] == {
        "A": "1",
        "KCMS_ENDED_JOB": str(number),
        "KCMS_ENDED_NAME": "x",
        "KCMS_ENDED_STATE": "CANCELLED" if how == "kill" else "FAILED",
        "KCMS_ENDED_REASON": "killed by alice" if how == "kill" else "exit status 2",
    }
    assert hook.spec["comment"] == hooks.COMMENT.format(number)
    world.report("a", over(number + 1, 0))
    assert world.memory.last_job == number + 1


def test_a_hook_has_its_place_when_the_environment_is_as_large_as_may_be() -> None:
    world = World("a")
    number = world.submit(on_end="/t", environment={str(each): "x" * 4050 for each in range(16)})
    world.report("a", over(number, 0))
    assert set(world.job(number + 1).spec["environment"]) == {
        f"KCMS_ENDED_{each}" for each in ("JOB", "NAME", "STATE", "REASON")
    }


def test_a_hook_of_an_older_release_may_have_a_name_that_is_taken_no_more() -> None:
    world = World("a")
    number = world.submit(on_end="/t")
    world.job(number).spec["on_end"] = "/a\nb"
    world.report("a", over(number, 0))
    assert world.job(number + 1).spec["executable"] == "/a\nb"


def test_another_users_job_is_not_touched() -> None:
    world = World("a")
    number = world.submit(**{"class": "batch", "total_tasks": 2})
    with pytest.raises(NotFound):
        world.act(holding.requeue, number, BOB)


# what a hostile reader found ---------------------------------------------------------------------


def test_a_hook_that_cannot_be_made_keeps_no_job_from_its_end() -> None:
    world = World("a")
    far = "/" + "a" * 4094
    number = world.submit(on_end="/t", base_directory=far, hold=True)
    assert world.kill(number).state is State.CANCELLED
    assert world.job(number + 1).spec["output"] == "/dev/null"
    number = world.submit(on_end="/t")
    world.report("a", TaskReport(number, 0, 1, "refused", message="no\0such " + "x" * 4000))
    assert world.job(number).state is State.FAILED
    told = world.job(number + 1).spec["environment"]["KCMS_ENDED_REASON"]
    assert told.startswith("a: no?such x")
    assert len(told) == hooks.REASON_LIMIT


def test_a_hook_follows_a_job_that_a_dependency_cancelled() -> None:
    world = World("a", slots=1)
    first = world.submit()
    number = world.submit(dependency=[f"afterok:{first}"], on_end="/t")
    world.report("a", over(first, 0, code=1))
    assert world.job(number).state is State.CANCELLED
    assert world.job(number + 1).spec["environment"]["KCMS_ENDED_JOB"] == str(number)


def test_a_task_killed_while_its_job_waits_drops_no_dependency() -> None:
    world = World("a")
    first = world.submit(hold=True)
    number = world.submit(
        **{"class": "batch", "total_tasks": 2, "dependency": [f"afterok:{first}"]}
    )
    kill_task(world, number, 0)
    assert (world.job(number).state, world.job(number).reason) == (
        State.PENDING,
        f"waits for job {first} (afterok)",
    )


def test_what_nobody_wants_takes_what_it_took() -> None:
    world = World("a", slots=4)
    number = world.submit(cpus_per_task=3)
    world.report("a", running(number, 0))
    world.silent(301)
    world.report("a", running(number, 0, slots=3, memory=100))
    assert (world.wanted("a"), world.row("a")["used"]) == ([(number, 0, 1, "kill")], 3)
    other = world.submit(cpus_per_task=2)
    assert world.job(other).state is State.PENDING


def test_a_parallel_job_is_over_when_its_units_are() -> None:
    world = World("a", slots=2)
    number = parallel(world, 2)
    ends = {0: Exit(0, None, 1.0), 1: Exit(0, None, 2.0)}
    world.report("a", running(number, 0, ends=ends))
    assert (world.job(number).state, world.wanted("a")) == (
        State.RUNNING,
        [(number, 0, 1, "run")],
    )
    world.report("a", over(number, 0, ends=ends))
    assert world.job(number).state is State.COMPLETED
    number = parallel(world, 2)
    failed = {0: Exit(3, None, 1.0), 1: Exit(0, None, 2.0)}
    world.report("a", running(number, 0, ends=failed))
    assert world.job(number).fate is not None


def test_a_task_is_given_up_by_the_lease_that_it_was_given() -> None:
    world = World("a", "b", slots=1)
    world.memory.rules = replace(world.memory.rules, lease=600.0)
    number = world.submit(requeue=True)
    world.report("a", running(number, 0))
    world.memory.rules = replace(world.memory.rules, lease=10.0)
    world.silent(600)
    assert world.job(number).state is State.RUNNING
    world.silent(15)
    assert world.job(number).state is State.PENDING


def test_what_had_no_lease_is_not_begun_anew_on_silence() -> None:
    world = World("a", slots=1)
    number = world.submit(requeue=True)
    job = world.job(number)
    world.memory.adopt(replace(job, tasks=(replace(job.tasks[0], lease=0.0),)))
    world.report("a", running(number, 0))
    world.silent(301)
    assert world.job(number).state is State.NODE_FAIL


def test_a_restored_store_begins_nothing_anew_of_which_it_is_not_sure() -> None:
    world = World("a", "c", slots=1)
    number = world.submit(requeue=True)
    world.report("a", running(number, 0))
    world.memory.unsure = frozenset({(number, 0, 1)})
    for _ in range(2):
        world.report("a")
    assert world.job(number).state is State.NODE_FAIL


def test_a_job_of_which_a_copy_runs_that_the_store_does_not_know_is_not_placed() -> None:
    world = World("a", "c", slots=1)
    number = world.submit(hold=True)
    world.report("c", running(number, 0, epoch=4))
    world.hold(number, release=True)
    assert world.job(number).reason == "c has a copy of it that this job store does not know"
    world.report("c")
    assert places(world.job(number)) == [(0, "a")]


def test_a_batch_job_with_an_unknown_copy_is_not_written_at_each_report() -> None:
    world = World("a", "c", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 3})
    world.report("a", running(number, 0))
    world.report("c", running(number, 1), running(number, 2, epoch=4))
    kinds = len(world.kinds)
    for _ in range(5):
        world.report("a", running(number, 0))
        world.report("c", running(number, 1), running(number, 2, epoch=4))
    assert len(world.kinds) == kinds


def test_units_of_one_job_do_not_take_turns_in_its_reason() -> None:
    world = World("a", "b", slots=1)
    number = world.submit(**{"class": "batch", "total_tasks": 2, "time_limit": 60})
    world.report("a", running(number, 0))
    world.report("b", running(number, 1))
    kinds = len(world.kinds)
    for _ in range(5):
        world.report("a", replace(running(number, 0), cause="time limit"))
        world.report("b", running(number, 1))
    assert len(world.kinds) == kinds


def test_a_rank_that_is_over_before_its_unit_ran_for_as_long_as_it_may_like_the_others() -> None:
    world = World("a", slots=2)
    number = world.submit(**{"class": "parallel", "total_tasks": 2, "time_limit": 60})
    killed = Exit(None, 9, 1061.0)
    world.report("a", replace(running(number, 0, ends={0: killed}), cause="time limit"))
    last = over(number, 0, signal=9, ends={0: killed, 1: killed})
    world.report("a", replace(last, cause="time limit"))
    job = world.job(number)
    assert job.state is State.TIMEOUT
    assert job.reason == "task 0: the time limit of 00:01:00 was reached"
    assert states(job) == ["TIMEOUT", "TIMEOUT"]


def test_an_array_of_which_some_task_always_begins_is_suspended() -> None:
    world = World("a", slots=2)
    number = world.submit(**{"class": "batch", "total_tasks": 9})
    world.report("a", running(number, 0))
    assert world.act(holding.suspend, number).state is State.SUSPENDED
    world.report("a", over(number, 0), running(number, 1))
    assert len(world.job(number).open_tasks) == 1


def test_a_user_has_so_many_tasks_at_the_most() -> None:
    world = World("a")
    world.memory.rules = replace(world.memory.rules, max_open_tasks=10)
    world.submit(**{"class": "batch", "total_tasks": 9})
    world.submit()
    with pytest.raises(
        Conflict, match="alice has 10 tasks that are not over, and with these there"
    ):
        world.submit()
    world.submit(BOB)

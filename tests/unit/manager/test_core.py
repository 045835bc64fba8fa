"""The manager's rules, one event after the other, on a clock of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict, Forbidden, NotFound
from kcms.jobs.model import Exit, Job, NodeReport, Task, TaskReport
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import core
from kcms.manager.core import Caller
from kcms.manager.memory import Draft, Memory, Rules, TaskKey

ALICE = Caller("alice", 2001, 2001, "alpha1")
BOB = Caller("bob", 2002, 2002, "alpha2")
ROOT = Caller("root", 0, 0, "head", grid_root=True)


class World:
    """A manager's memory whose drafts are durable at once, and what its nodes say."""

    def __init__(self, *nodes: str, slots: int = 2) -> None:
        self.now = 1000.0
        self.slots = slots
        self.memory = Memory("alpha", Rules(node_timeout=30, node_lost=300, kill_grace=5))
        self.over: dict[int, Job] = {}
        self.kinds: list[str] = []
        core.follow_hosts(self.memory, set(nodes), self.now)
        for name in nodes:
            self.report(name)

    def do(self, decide: Callable[[Draft], Any]) -> Any:
        draft = Draft(self.memory)
        answer = decide(draft)
        core.settle(draft, self.now)
        self.over.update({job.id: job for job in draft.changed.values() if job.state.final})
        self.kinds += [event.kind for event in draft.events]
        draft.merge()
        return answer

    def submit(self, caller: Caller = ALICE, **fields: Any) -> int:
        spec = check_spec({"executable": "/shared/x", **fields})
        return int(self.do(lambda draft: core.submit(draft, caller, spec, None, self.now)).id)

    def report(self, name: str, *tasks: TaskReport, **changes: Any) -> list[TaskKey]:
        said = NodeReport("boot", "1", self.slots, {"load_one": 0.0, "cpu_num": 2}, tasks)
        said = replace(said, **changes)
        answer: list[TaskKey] = self.do(lambda draft: core.report(draft, name, said, self.now))
        return answer

    def kill(self, number: int, caller: Caller = ALICE) -> Job:
        def decide(draft: Draft) -> Job:
            job = core.check_sees(caller, draft.job(number) or self.over.get(number), number)
            return core.kill(draft, caller, job, self.now)

        job: Job = self.do(decide)
        return job

    def silent(self, seconds: float) -> None:
        """Nobody reports for a while in which the manager listens."""
        for _ in range(int(seconds)):
            self.now += 1
            self.do(lambda draft: core.tick(draft, self.now, 1.0))

    def job(self, number: int) -> Job:
        return self.memory.jobs.get(number) or self.over[number]

    def wanted(self, name: str) -> list[tuple[int, int, int, str]]:
        tasks = core.wanted_tasks(self.memory, name)
        return [(each.job, each.task, each.epoch, each.want) for each in tasks]

    def up(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in core.node_documents(self.memory)}


def said(phase: str, job: int = 1, epoch: int = 1, **fields: Any) -> TaskReport:
    return TaskReport(job, 0, epoch, phase, **fields)


def ended(code: int | None = 0, signal: int | None = None, **counts: Any) -> TaskReport:
    return said("ended", start_time=1001.0, exit=Exit(code, signal, 1002.0, **counts))


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
    core.follow_hosts(world.memory, {"a"}, world.now)
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
    ],
)
def test_how_a_job_ends(report: TaskReport, state: State, reason: str) -> None:
    world = World("a")
    number = world.submit()
    assert world.report("a", report) == [(1, 0, 1)]
    job = world.job(number)
    assert (job.state, job.reason) == (state, reason)
    assert (job.tasks[0].state, job.tasks[0].exit) == (state, report.exit)
    assert job.end_time == (1002.0 if report.exit else world.now)
    assert number not in world.memory.jobs
    assert world.wanted("a") == []


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
    assert (job.state, job.killed_by, job.reason) == (State.CANCELLED, "alice", "killed for alice")
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


# nodes that fall silent --------------------------------------------------------------------------


def test_a_silent_node_is_down_and_takes_nothing_and_its_jobs_wait_for_it() -> None:
    world = World("a")
    number = world.submit()
    world.report("a", said("running", start_time=1001.0))
    world.silent(30)
    assert world.up() == {"a": "UP"}
    world.silent(1)
    assert world.up() == {"a": "DOWN"}
    assert (world.job(number).state, world.job(number).reason) == (
        State.RUNNING,
        "a is not heard; it may still run there",
    )
    assert world.job(world.submit()).reason == "no node is up"
    world.report("a", said("running", start_time=1001.0))
    assert (world.up(), world.job(number).reason) == ({"a": "UP"}, "")
    assert world.kinds.count("silence") == 1


def test_a_lost_node_ends_its_jobs_and_never_starts_them_again() -> None:
    world = World("a")
    number = world.submit()
    world.silent(300)
    assert world.job(number).state is State.RUNNING
    world.silent(1)
    assert world.job(number).state is State.NODE_FAIL
    assert world.job(number).reason == "a was not heard for 300 s"
    assert world.wanted("a") == []


def test_silence_is_counted_only_while_the_manager_listens() -> None:
    world = World("a")
    number = world.submit()
    world.now += 86400.0  # the machine slept, or its clock was set
    world.do(lambda draft: core.tick(draft, world.now, 1.0))
    assert (world.up(), world.job(number).state) == ({"a": "UP"}, State.RUNNING)


def test_after_a_restart_nodes_have_their_time_to_report() -> None:
    before = World("a")
    number = before.submit()
    world = World()
    world.memory.adopt(before.job(number))
    core.follow_hosts(world.memory, {"a"}, world.now)
    world.silent(300)
    assert world.job(number).state is State.RUNNING
    world.report("a", said("running", start_time=1001.0))
    assert world.job(number).reason == ""


def test_a_node_taken_off_the_list_keeps_its_jobs_until_it_is_lost() -> None:
    world = World("a", "b", slots=1)
    number = world.submit()
    gone = world.job(number).tasks[0].node
    core.follow_hosts(world.memory, {"a", "b"} - {gone}, world.now)
    assert world.up()[gone] == "DOWN"
    world.silent(1)
    assert world.job(number).state is State.RUNNING
    world.silent(300)
    assert world.job(number).state is State.NODE_FAIL
    core.follow_hosts(world.memory, {"a", "b"} - {gone}, world.now)
    assert set(world.up()) == {"a", "b"} - {gone}


def test_a_list_without_anybody_ends_no_job_before_its_time() -> None:
    before = World("a")
    number = before.submit()
    world = World()
    world.memory.adopt(before.job(number))
    core.follow_hosts(world.memory, set(), world.now)
    world.silent(300)
    assert world.job(number).state is State.RUNNING
    world.silent(1)
    assert world.job(number).state is State.NODE_FAIL


# what is shown -----------------------------------------------------------------------------------


def test_a_round_in_which_nothing_moved_places_nothing_and_concerns_nobody() -> None:
    world = World("a", slots=1)
    world.submit()
    world.submit()
    draft = Draft(world.memory)
    said = NodeReport("boot", "1", 1, {"load_one": 9.0}, (said_running(),))
    core.report(draft, "a", said, world.now)
    assert draft.merge() == {"a"}
    draft = Draft(world.memory)
    core.report(draft, "a", said, world.now)
    core.settle(draft, world.now)
    assert (draft.changed, draft.capacity, draft.merge()) == ({}, False, frozenset())


def test_more_slots_are_used_at_once() -> None:
    world = World("a", slots=1)
    world.submit()
    waiting = world.submit()
    world.slots = 2
    world.report("a", said_running())
    assert world.job(waiting).state is State.RUNNING


def said_running() -> TaskReport:
    return said("running", start_time=1001.0)


def test_the_nodes_as_they_are_shown() -> None:
    world = World("b", "a")
    world.submit()
    world.silent(3)
    rows = core.node_documents(world.memory)
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0] == {
        "name": "a",
        "state": "UP",
        "slots": 2,
        "used": 1,
        "heard": 1000.0,
        "release": "1",
        "load": {"load_one": 0.0, "cpu_num": 2},
    }


def test_a_wanted_task_has_what_its_node_needs() -> None:
    world = World("a")
    world.submit(arguments=["x y"], environment={"A": "b"})
    wanted = core.wanted_tasks(world.memory, "a")[0]
    assert (wanted.user, wanted.uid, wanted.gid, wanted.grace) == ("alice", 2001, 2001, 5)
    assert (wanted.spec["arguments"], wanted.spec["environment"]) == (["x y"], {"A": "b"})


def test_a_draft_that_is_dropped_leaves_no_trace() -> None:
    world = World("a")
    draft = Draft(world.memory)
    core.submit(draft, ALICE, check_spec({"executable": "/x"}), None, world.now)
    core.schedule(draft, world.now)
    assert (world.memory.jobs, world.memory.last_job, world.wanted("a")) == ({}, 0, [])
    assert world.submit() == 1


# other job stores --------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["launching", "running", "ended", "lost", "refused"])
def test_a_task_of_another_store_is_not_followed_forgotten_or_killed(phase: str) -> None:
    world = World("a")
    world.memory.store = "bbbbbbbb"
    mine, over = world.submit(BOB), world.submit(BOB)
    world.report("a", said("ended", over, exit=Exit(0, None, 2.0), store="bbbbbbbb"))
    before = world.job(mine)
    exits = {"exit": Exit(9, None, 1002.0)} if phase == "ended" else {}
    foreign = [said(phase, n, store="aaaaaaaa", **exits) for n in (mine, over)]
    assert world.report("a", *foreign) == []
    assert world.job(mine) == before
    assert world.wanted("a") == [(mine, 0, 1, "run")]
    (row,) = core.node_documents(world.memory)
    assert row["used"] == (3 if phase in ("launching", "running") else 1)
    assert [each.name for each in world.memory.nodes["a"].foreign] == [
        f"{n}.0.1-aaaaaaaa" for n in (mine, over)
    ]


def test_a_task_of_another_store_is_no_sign_of_life_of_ours() -> None:
    world = World("a")
    world.memory.store = "bbbbbbbb"
    number = world.submit()
    world.report("a", said("running", store="bbbbbbbb"))
    for _ in range(2):
        world.report("a", said("running", store="aaaaaaaa"))
    assert world.job(number).state is State.NODE_FAIL


def test_slots_of_tasks_of_another_store_are_taken_until_they_end() -> None:
    world = World("a", slots=1)
    world.memory.store = "bbbbbbbb"
    world.report("a", said("running", 77, store="aaaaaaaa"))
    number = world.submit()
    assert world.job(number).state is State.PENDING
    world.report("a", said("ended", 77, store="aaaaaaaa"))
    assert world.job(number).state is State.RUNNING
    assert [each.store for each in core.wanted_tasks(world.memory, "a")] == ["bbbbbbbb"]


@pytest.mark.parametrize("phase", ["launching", "running", "ended", "lost", "refused"])
def test_a_task_of_a_job_that_an_older_copy_of_the_store_never_had_is_left_alone(
    phase: str,
) -> None:
    world = World("a")
    there = NodeReport("boot", "1", 2, {"load_one": 0.0, "cpu_num": 2}, (said(phase, 7),))
    for _ in range(2):
        found = world.do(lambda draft: core.report(draft, "a", there, world.now, {7}))
        assert found == []
        assert world.wanted("a") == []
    assert world.submit() == 8


def test_one_node_cannot_use_up_the_numbers() -> None:
    world = World("a")
    there = NodeReport("boot", "1", 2, {"load_one": 0.0}, (said("running", 1 << 53),))
    world.do(lambda draft: core.report(draft, "a", there, world.now, {1 << 53}))
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

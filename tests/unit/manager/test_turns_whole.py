"""As :mod:`.test_turns`, with every sort of job and event, against a plan of the whole queue that
is made job by job; what a store refused leaves no trace, and a manager may begin anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import KcmsError, Unavailable
from kcms.jobs import placement
from kcms.jobs.model import Job, TaskReport
from kcms.jobs.placement import Candidate, Kind, Plan
from kcms.jobs.queue import Followed, followed_by, turn
from kcms.jobs.states import State
from kcms.manager import holding, nodes, scheduling
from kcms.manager.memory import Draft, Memory, key_of, units
from tests.unit.manager.test_turns import forget
from tests.unit.manager.world import ROOT, World, ended

NAMES = ("a", "b")
PARTITIONS = {"small": frozenset({"a"}), "large": frozenset({"b"})}
SORTS: tuple[dict[str, Any], ...] = (
    {},
    {"memory": 900},
    {"cpus_per_task": 2},
    {"partition": "small"},
    {"partition": "large", "memory": 300},
    {"class": "batch", "total_tasks": 3},
    {"class": "batch", "total_tasks": 3, "tasks_per_node": 1},
    {"class": "parallel", "total_tasks": 2},
    {"class": "parallel", "total_tasks": 4, "tasks_per_node": 2},
    {"hold": True},
    {"requeue": True},
    {"on_end": "/shared/y"},
)
ACTS = (
    *("submit", "submit", "submit", "follow", "later", "time", "end", "kill", "hold", "release"),
    *("requeue", "suspend", "resume", "node", "down", "copy", "refuse", "anew"),
)
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 23)), min_size=5, max_size=40)


class Refusing(World):
    """A world whose store refuses the next change."""

    refuses = False

    def do(self, decide: Any) -> Any:
        if not self.refuses:
            return super().do(decide)
        self.refuses = False
        draft = Draft(self.memory)
        decide(draft)
        scheduling.settle(draft, self.now)
        raise Unavailable("the disk is full")


def world() -> Refusing:
    made = Refusing(*NAMES, slots=2)
    made.memory.rules = dataclasses.replace(made.memory.rules, partitions=PARTITIONS)
    for name in NAMES:
        report(made, name)
    return made


def report(world: World, name: str, over: int = 0, status: int = 0, copy: int = 0) -> None:
    """Everything runs there but for what is over, and a copy that the store does not know."""
    told = []
    for (number, first, epoch), _ in units(world.memory.tasks_on(name)).items():
        end = {"exit": ended(status).exit} if number == over else {}
        phase = "ended" if end else "running"
        told.append(TaskReport(number, first, epoch, phase, start_time=world.now, **end))
    if copy:
        told.append(TaskReport(copy, 0, 50, "running", start_time=world.now))
    world.report(name, *told, load={"load_one": 0.0, "cpu_num": 2.0, "mem_total": 2048.0 * 1024})


def anew(world: Refusing) -> None:
    """As a manager that is started again: it knows the jobs, and what its nodes say next."""
    world.refuses, before = False, world.memory
    world.memory = Memory("alpha", before.rules, last_job=before.last_job)
    for number in sorted(before.jobs):
        world.memory.adopt(before.jobs[number])
    asked = {n for job in before.jobs.values() for _, n in followed_by(job)}
    world.memory.followed = {number: Followed.of(world.job(number)) for number in asked}
    world.memory.drained = before.drained
    nodes.follow_hosts(world.memory, set(NAMES), world.now)
    for name in NAMES:
        report(world, name)


def try_to(world: Refusing, what: str, which: int) -> None:
    """Time goes on after what was refused, and is looked at then."""
    try:
        do(world, what, which)
    except Unavailable:
        world.silent(1)
    except KcmsError:
        return


def do(world: Refusing, what: str, which: int) -> None:
    chosen = _chosen(world, what, which)
    if what in OF_ALL:
        OF_ALL[what](world, which)
    elif chosen is not None:
        _act(world, what, which, chosen)


def follow(world: World, which: int) -> None:
    kind = ("after", "afterok", "afternotok", "afterany")[which % 4]
    number = max(1, world.memory.last_job - which // 4)
    later = {"begin_time": int(world.now) + 9} if which % 5 == 0 else {}
    world.submit(dependency=[f"{kind}:{number}"], **later)


def pass_time(world: World, which: int) -> None:
    world.silent(which)
    for name in NAMES[which % 2 :]:
        report(world, name)


def lose_one(world: World, which: int) -> None:
    """One node is not heard, the others are."""
    for _ in range(7):
        world.silent(5)
        for name in set(NAMES) - {NAMES[which % 2]}:
            report(world, name)


OF_ALL: dict[str, Callable[[Refusing, int], Any]] = {
    "submit": lambda world, which: world.submit(priority=which % 3, **SORTS[which % len(SORTS)]),
    "follow": follow,
    "later": lambda world, which: world.submit(begin_time=int(world.now) + which + 1),
    "time": pass_time,
    "node": lambda world, which: world.set_state(
        NAMES[which % 2], "drain" if which > 12 else "resume", "x"
    ),
    "down": lose_one,
    "refuse": lambda world, _: setattr(world, "refuses", True),
    "anew": lambda world, _: anew(world),
}


def _chosen(world: World, what: str, which: int) -> Job | None:
    wanted = {
        "end": (State.RUNNING, State.SUSPENDED),
        "requeue": (State.RUNNING,),
        "suspend": (State.RUNNING,),
        "resume": (State.SUSPENDED,),
        "kill": tuple(State),
    }.get(what, (State.PENDING,))
    jobs = [job for job in world.memory.jobs.values() if job.state in wanted]
    return sorted(jobs, key=turn)[which % len(jobs)] if jobs else None


def _act(world: World, what: str, which: int, job: Job) -> None:
    if what == "end" and job.open_tasks:
        task = job.open_tasks[which % len(job.open_tasks)]
        assert key_of(job, task)[0] == job.id
        report(world, task.node, job.id, which % 2)
    elif what == "kill":
        world.kill(job.id)
    elif what in ("hold", "release"):
        world.hold(job.id, ROOT, release=what == "release")
    elif what in ("requeue", "suspend", "resume"):
        world.act(getattr(holding, what), job.id)
    elif what == "copy":
        report(world, NAMES[which % 2], copy=job.id)


def one_by_one(
    waiting: Mapping[Kind, Iterable[Job]],
    candidates: Iterable[Candidate],
    partitions: Mapping[str, frozenset[str]] | None = None,
) -> Plan:
    """A plan that looks at every job, whatever its kind found."""
    placing = placement._Placing(candidates, partitions or {})
    turns = sorted((turn(job), kind, job) for kind, line in waiting.items() for job in line)
    for _, kind, job in sorted(turns, key=lambda each: each[0]):
        placing.place(job, kind[0])
    return Plan(tuple(placing.placements), placing.reasons, {})


def shown(world: World) -> dict[int, Job]:
    return dict(sorted(world.memory.jobs.items()))


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_few_looks_make_the_same_queue_as_a_plan_of_all_of_it(
    steps: list[tuple[str, int]],
) -> None:
    few, every = world(), world()
    for what, which in steps:
        try_to(few, what, which)
        forget(every)
        with mock.patch.object(placement, "place", one_by_one):
            try_to(every, what, which)
        assert shown(few) == shown(every)
        assert few.over == every.over

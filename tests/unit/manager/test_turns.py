"""A round looks at few of the jobs that wait; what comes of it is as if it looked at all."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import KcmsError
from kcms.jobs.model import Job
from kcms.jobs.states import State
from kcms.manager.memory import Draft
from kcms.manager.waiting import Waiting
from tests.unit.manager.world import ROOT, World, ended, said

NAMES = ("a", "b")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("submit", "follow", "later", "end", "kill", "hold", "release", "node")),
        st.integers(0, 7),
    ),
    max_size=25,
)


def forget(world: World) -> None:
    """Have the next round look at every job that waits, as one after a restart does."""
    memory = world.memory
    memory.waiting = Waiting(memory.jobs)
    memory.waiting.new.update(memory.jobs)


def do(world: World, what: str, which: int) -> None:
    jobs = [job for _, job in sorted(world.memory.jobs.items())]  # as they come is not to matter
    waiting = [job for job in jobs if job.state is State.PENDING]
    running = [job for job in jobs if job.state is State.RUNNING]
    jobs = running if what == "end" else waiting
    chosen = jobs[which % len(jobs)] if jobs else None
    if what == "submit":
        world.submit(priority=which % 3, memory=which // 3 or None)
    elif what == "follow" and world.memory.last_job:
        kind = ("after", "afterok", "afternotok", "afterany")[which % 4]
        world.submit(dependency=[f"{kind}:{max(1, world.memory.last_job - which // 4)}"])
    elif what == "later":
        world.submit(begin_time=int(world.now) + which + 1)
        world.silent(which)
        for name in NAMES:
            report(world, name)
    elif what == "node":
        world.set_state(NAMES[which % 2], "drain" if which > 3 else "resume", "x")
    elif what == "end" and chosen is not None:
        report(world, chosen.tasks[0].node, chosen.id, which % 2)
    elif what == "kill" and chosen is not None:
        world.kill(chosen.id)
    elif what in ("hold", "release") and chosen is not None:
        world.hold(chosen.id, ROOT, release=what == "release")


def report(world: World, name: str, over: int = 0, status: int = 0) -> None:
    """Everything runs there, but for what is over."""
    there = [job.id for job, _ in world.memory.tasks_on(name)]
    load: dict[str, Any] = {"load_one": 0.0, "cpu_num": 2.0, "mem_total": 2048.0}
    told = [
        said("ended", each, exit=ended(status).exit)
        if each == over
        else said("running", each, start_time=world.now)
        for each in there
    ]
    world.report(name, *told, load=load)


@settings(max_examples=300)
@given(STEPS)
def test_looking_at_few_is_as_good_as_looking_at_all(steps: list[tuple[str, int]]) -> None:
    few, every = World(*NAMES, slots=2), World(*NAMES, slots=2)
    for world in (few, every):
        for name in NAMES:
            report(world, name)
    for what, which in steps:
        forget(every)
        for world in (few, every):
            with contextlib.suppress(KcmsError):
                do(world, what, which)
        assert few.memory.jobs == every.memory.jobs
        assert few.kinds == every.kinds


def test_an_end_costs_as_little_with_many_waiting(monkeypatch: Any) -> None:
    world = World("a", slots=1)
    for _ in range(500):
        world.submit()
    looked_at: list[int] = []
    drafted = Draft.job

    def counted(self: Draft, number: int) -> Job | None:
        looked_at.append(number)
        return drafted(self, number)

    monkeypatch.setattr(Draft, "job", counted)
    world.report("a", ended())
    assert world.job(2).state is State.RUNNING
    assert set(looked_at) <= {1, 2}


def test_the_open_jobs_of_each_user_are_counted() -> None:
    world = World("a", slots=1)
    first, second = world.submit(), world.submit()
    world.submit(ROOT)
    assert world.memory.open_of == {"alice": 2, "root": 1}
    world.submit(ROOT, **{"class": "batch", "total_tasks": 5})
    assert world.memory.tasks_of == {"alice": 2, "root": 6}
    world.kill(second)
    world.report("a", said("ended", first, exit=ended().exit))
    assert world.memory.open_of["alice"] == world.memory.tasks_of["alice"] == 0

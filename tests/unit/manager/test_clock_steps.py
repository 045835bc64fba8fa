"""A wall clock that is set, hours on or back, at any moment: the manager decides as if it were not.

The same things happen in two worlds, in one of which the clock is set between any two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.cli.jobs import job_table
from kcms.cli.tables import ran
from kcms.errors import Conflict
from kcms.jobs.model import Exit, TaskReport
from kcms.jobs.states import State
from kcms.manager import core
from tests.unit.manager.world import World

HOUR = 3600.0
STEPS = st.sampled_from([0.0, 0.0, -5 * HOUR, 5 * HOUR, -400 * 24 * HOUR, 400 * 24 * HOUR])
NODES = ("a1", "a2")


def reports(world: World, phase: str, code: int = 0) -> None:
    """Every node says that of what is wanted there."""
    for name in NODES:
        said = []
        for number, index, epoch, want in world.wanted(name):
            now = "ended" if want == "kill" else phase
            end = Exit(code, None, world.now) if now == "ended" else None
            said.append(TaskReport(number, index, epoch, now, world.now, end))
        world.report(name, *said)


def silence(world: World) -> None:
    """One node is silent for a while, not long enough to be given up."""
    for _ in range(40):
        world.now += 1
        world.do(lambda draft: core.tick(draft, world.now, 1.0))
        said = world.memory.nodes["a2"].report
        world.report("a2", *(said.tasks if said else ()))


def kill(world: World) -> None:
    for job in list(world.memory.jobs.values())[:1]:
        world.kill(job.id)


def move(world: World) -> None:
    """The first job that runs begins to move; its source says yes."""
    for job in list(world.memory.jobs.values()):
        if job.state is State.RUNNING and job.open_tasks[0].start_time:
            source = job.open_tasks[0].node
            try:
                world.migrate(job.id, next(name for name in NODES if name != source))
            except Conflict:
                return


ACTS: dict[str, Callable[[World], Any]] = {
    "submit": lambda world: world.submit(),
    "limited": lambda world: world.submit(time_limit="1h"),
    "follow": lambda world: world.submit(
        dependency=[f"afterany:{world.memory.last_job}"] if world.memory.last_job else []
    ),
    "urgent": lambda world: world.submit(priority=5),
    "run": lambda world: reports(world, "running"),
    "end": lambda world: reports(world, "ended"),
    "fail": lambda world: reports(world, "ended", code=3),
    "second": lambda world: world.silent(1),
    "silence": silence,
    "kill": kill,
    "move": move,
}


def seen(world: World) -> Any:
    """All there is but the times."""
    jobs = [world.job(number) for number in range(1, world.memory.last_job + 1)]
    return (
        [
            (job.id, job.state, job.reason, job.killed_by, job.start_time is None)
            + tuple((task.node, task.epoch, task.state) for task in job.tasks)
            + ((job.migration.phase, job.migration.message) if job.migration else ())
            for job in jobs
        ],
        {name: world.wanted(name) for name in NODES},
        {name: world.moves(name) for name in NODES},
        world.up(),
        world.kinds,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(ACTS)), STEPS), max_size=25))
def test_the_manager_decides_as_if_its_clock_were_never_set(
    happens: list[tuple[str, float]],
) -> None:
    steady, stepped = World(*NODES), World(*NODES)
    for act, seconds in happens:
        stepped.now += seconds
        for world in (steady, stepped):
            ACTS[act](world)
        assert seen(stepped) == seen(steady)


def test_what_ended_before_it_began_took_no_time_and_stays_in_its_place() -> None:
    world = World(*NODES)
    first, second = world.submit(), world.submit()
    reports(world, "running")
    world.now -= 5 * HOUR
    reports(world, "ended")
    third = world.submit()
    jobs = [world.job(number).document() for number in (first, second, third)]
    assert [job["state"] for job in jobs] == ["COMPLETED", "COMPLETED", "RUNNING"]
    assert jobs[0]["end_time"] < jobs[0]["start_time"]
    assert ran(jobs[0], world.now) == 0.0
    table = job_table(jobs, world.now)
    assert "-" not in table.splitlines()[1].split("COMPLETED")[1].split("exit")[0]


def test_a_begin_time_is_one_of_the_wall_clock() -> None:
    world = World(*NODES)
    number = world.submit(begin_time=int(world.now + HOUR))
    world.now -= 5 * HOUR
    world.silent(2)
    assert world.job(number).state is State.PENDING
    world.now += 6 * HOUR + 10
    world.silent(1)
    assert world.job(number).state is State.RUNNING
    world.now -= 6 * HOUR
    world.silent(1)
    assert world.job(number).state is State.RUNNING


def test_a_migration_takes_the_time_that_passes_not_that_of_the_clock() -> None:
    world = World(*NODES)
    number = world.submit()
    reports(world, "running")
    (task,) = world.job(number).open_tasks
    world.migrate(number, next(name for name in NODES if name != task.node))
    before = world.job(number).migration
    world.now += 5 * HOUR
    world.silent(1)
    world.now -= 10 * HOUR
    world.silent(1)
    assert world.job(number).migration == before

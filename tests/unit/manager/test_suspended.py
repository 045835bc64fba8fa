"""Jobs that are to stand still, and go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kcms.errors import Conflict, Forbidden, NotFound
from kcms.jobs.model import Exit
from kcms.jobs.states import State
from kcms.manager import holding
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.world import BOB, ROOT, World, ended, said_running

FROZEN = replace(said_running(), suspended=True)


def running() -> World:
    world = World("a", "b", slots=1)
    world.submit()
    world.report("a", said_running())
    return world


def stands(world: World) -> tuple[State, str, bool]:
    job = world.job(1)
    wanted = wanted_tasks(world.memory, "a")
    return job.state, job.reason, bool(wanted and wanted[0].suspend)


def test_a_job_stands_still_and_goes_on() -> None:
    world = running()
    assert world.act(holding.suspend, 1).held_by == "alice"
    assert stands(world) == (State.SUSPENDED, "being suspended by alice", True)
    world.report("a", said_running())
    assert stands(world) == (State.SUSPENDED, "being suspended by alice", True)
    world.report("a", FROZEN)
    assert stands(world) == (State.SUSPENDED, "suspended by alice", True)
    assert world.row("a")["used"] == 1
    assert world.act(holding.resume, 1).held_by is None
    assert stands(world) == (State.RUNNING, "being resumed", False)
    world.report("a", FROZEN)
    assert stands(world) == (State.RUNNING, "being resumed", False)
    world.report("a", said_running())
    assert stands(world) == (State.RUNNING, "", False)


def test_once_more_changes_nothing() -> None:
    world = running()
    kinds = len(world.kinds)
    assert world.act(holding.resume, 1).state is State.RUNNING
    world.act(holding.suspend, 1)
    world.act(holding.suspend, 1)
    assert world.kinds[kinds:] == ["suspend"]


def test_what_root_suspended_only_root_resumes() -> None:
    world = running()
    world.act(holding.suspend, 1)
    assert world.act(holding.suspend, 1, ROOT).held_by == "root"
    with pytest.raises(Forbidden, match="job 1 is suspended by root, who alone may resume it"):
        world.act(holding.resume, 1)
    with pytest.raises(NotFound):
        world.act(holding.resume, 1, BOB)
    assert world.act(holding.resume, 1, ROOT).state is State.RUNNING


def test_it_ends_from_there() -> None:
    world = running()
    world.act(holding.suspend, 1)
    world.report("a", FROZEN)
    world.kill(1)
    assert world.wanted("a") == [(1, 0, 1, "kill")]
    world.report("a", ended(None, 9))
    assert stands(world)[:2] == (State.CANCELLED, "killed by alice")


def test_a_node_that_is_lost_loses_it() -> None:
    world = running()
    world.act(holding.suspend, 1)
    world.silent(301)
    assert world.job(1).state is State.NODE_FAIL


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w.report("a", ended(0)), "job 1 is COMPLETED: only a job that runs"),
        (lambda w: w.kill(1), "job 1 is being killed by alice"),
        (lambda w: w.migrate(1, "b"), "job 1 is being moved from a to b"),
        (lambda w: w.silent(31), "job 1 runs on a, which is not heard"),
        (
            lambda w: w.report("a", said_running(), abilities=()),
            "job 1 runs on a, whose release cannot suspend jobs: run the site playbook",
        ),
    ],
)
def test_what_cannot_be_suspended_is_refused(spoil: object, words: str) -> None:
    world = running()
    spoil(world)  # type: ignore[operator]
    with pytest.raises(Conflict, match=words):
        world.act(holding.suspend, 1)


def test_one_that_has_not_begun_is_not_suspended() -> None:
    world = World("a")
    world.submit()
    with pytest.raises(Conflict, match="job 1 is still being started on a"):
        world.act(holding.suspend, 1)


def test_a_check_gives_way_and_what_stands_still_is_not_moved() -> None:
    world = running()
    world.migrate(1, "b", True)
    world.act(holding.suspend, 1)
    with pytest.raises(Conflict, match="job 1 is SUSPENDED: only a job that runs can be moved"):
        world.migrate(1, "b")
    world.report("a", replace(FROZEN, exit=Exit(0, None, 1.0)))
    assert world.job(1).state is State.SUSPENDED

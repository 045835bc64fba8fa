"""Checkpoints on demand: what is asked of nodes, and what becomes of the images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict
from kcms.jobs.model import Job
from kcms.manager import checkpoints, core
from tests.unit.manager.world import World, ended, moved, said_running


def image(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "path": f"/shared/image-{number}",
        "size": 10,
        "sha256": "ab",
        "time": 1001.0 + number,
        "freeze_seconds": 0.1,
        "seconds": 1.0,
    }


def running() -> World:
    world = World("a", "b")
    world.submit()
    place = world.job(1).tasks[0].node
    assert place == "a"
    world.report("a", said_running())
    return world


def ask(world: World) -> Job:
    def decide(draft: Any) -> Job:
        return checkpoints.ask(draft, world.job(1), None, "alice", world.now)

    job: Job = world.do(decide)
    return job


def save(world: World) -> int:
    ask(world)
    number = world.job(1).tasks[0].saved.last
    world.report("a", said_running(), moves=(moved("save", number=number, data=image(number)),))
    return number


def steps(world: World, *names: str) -> list[str]:
    return [step for name in names or ("a", "b") for step, _, _ in world.moves(name)]


def test_an_image_is_on_record_before_its_node_is_told_to_keep_it() -> None:
    world = running()
    ask(world)
    assert steps(world) == ["save"]
    number = world.job(1).tasks[0].saved.last
    world.report("a", said_running(), moves=(moved("save", number=number, data=image(number)),))
    assert [each.number for each in world.job(1).tasks[0].saved.kept] == [number]
    assert steps(world, "a") == ["keep"]
    world.report("a", said_running(), moves=(moved("keep", number=number),))
    assert steps(world) == []
    assert not world.memory.litter


def test_a_superseded_image_is_dropped_until_a_node_said_so() -> None:
    world = running()
    first = save(world)
    save(world)
    save(world)
    assert len(world.job(1).tasks[0].saved.kept) == 2
    (litter,) = world.memory.litter.values()
    assert litter.paths == (f"/shared/image-{first}",)
    actor = checkpoints.actor_of(world.memory, litter) or ""
    drop = moved("drop", epoch=litter.epoch, number=litter.number)
    other = "b" if actor == "a" else "a"
    world.report(other, *([said_running()] if other == "a" else []), moves=(drop,))
    assert world.memory.litter
    world.report(actor, *([said_running()] if actor == "a" else []), moves=(drop,))
    assert not world.memory.litter


def test_a_node_is_told_of_a_few_rows_at_a_time_and_of_all_by_and_by() -> None:
    world = running()
    save(world)
    world.report("a", ended())
    (row,) = world.memory.litter.values()
    many = {(1, number): replace(row, number=number) for number in range(100, 140)}
    world.memory.litter.clear()
    world.memory.litter.update(many)
    for _ in range(40):
        for name in ("a", "b"):
            told = list(checkpoints.wanted_moves(world.memory, name))
            assert len(told) <= checkpoints.DROPS_AT_ONCE
            drops = [moved("drop", epoch=each.epoch, number=each.number) for each in told]
            world.report(name, moves=tuple(drops))
    assert not world.memory.litter


def test_another_node_drops_what_one_could_not() -> None:
    world = running()
    save(world)
    world.report("a", ended())
    (litter,) = world.memory.litter.values()
    actor = checkpoints.actor_of(world.memory, litter) or ""
    world.report(actor, moves=(moved("drop", False, litter.epoch, litter.number),))
    assert checkpoints.actor_of(world.memory, litter) is None
    for _ in range(61):
        world.now += 1
        world.do(lambda draft: core.tick(draft, world.now, 1.0))
        world.report("a")
        world.report("b")
    assert checkpoints.actor_of(world.memory, litter) not in (None, actor)


@pytest.mark.parametrize("when", ["asked", "made", "noted"])
@pytest.mark.parametrize("what", ["kill", "end", "migrate", "silent", "refused"])
def test_no_image_is_forgotten_whatever_happens_when(when: str, what: str) -> None:
    world = running()
    ask(world)
    number = world.job(1).tasks[0].saved.last
    if when != "asked":
        world.report("a", said_running(), moves=(moved("save", number=number, data=image(number)),))
    if when == "noted":
        world.report("a", said_running(), moves=(moved("keep", number=number),))
    if what == "kill":
        world.kill(1)
    elif what == "migrate":
        world.migrate(1, "b")
    elif what == "silent":
        world.silent(40)
    elif what == "refused":
        step = "save" if when == "asked" else "keep"
        refused = moved(step, False, number=number, message="no room")
        world.report("a", said_running(), moves=(refused,))
    assert "save" not in steps(world) or what == "end"
    if what in ("kill", "end"):
        world.report("a", ended())
    saved = world.job(1).tasks[0].saved
    held = {each.image.path for each in saved.kept}
    held |= {path for each in world.memory.litter.values() for path in each.paths}
    assert held == (set() if when == "asked" else {f"/shared/image-{number}"})
    assert saved.saving is None
    if world.job(1).state.final:
        assert not saved.kept


def test_a_migration_is_given_a_number_of_its_own() -> None:
    world = running()
    number = save(world)
    moving = world.migrate(1, "b").migration
    assert moving is not None
    assert moving.number > number


def test_a_check_waits_for_a_checkpoint_and_a_second_one_is_refused() -> None:
    world = running()
    ask(world)
    with pytest.raises(Conflict, match="is being made"):
        world.migrate(1, "b", check=True)
    with pytest.raises(Conflict, match="being made already"):
        ask(world)


def test_only_a_job_that_runs_is_saved() -> None:
    world = World("a")
    world.submit()
    with pytest.raises(Conflict, match="still being started"):
        ask(world)


def test_a_save_does_not_wait_for_ever() -> None:
    world = running()
    ask(world)
    for _ in range(102):
        world.now += 1
        world.do(lambda draft: core.tick(draft, world.now, 1.0))
        world.report("a", said_running())
    assert "not over after 100 s" in world.job(1).tasks[0].saved.failure
    assert steps(world) == []

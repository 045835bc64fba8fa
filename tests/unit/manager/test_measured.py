"""What is known of a migration in figures, and what is not said as it is not known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.freezing import Past, default
from kcms.jobs.migration import Migration
from kcms.manager import rows
from kcms.manager.store import Store
from tests.unit.manager.test_migrations import migration, restored, running
from tests.unit.manager.world import World, moved, said_running

MIB = 1 << 20


def moving(world: World, *steps: dict[str, Any]) -> None:
    """Job 1 from a to b, as far as there are answers of the steps."""
    world.migrate(1, "b")
    told = zip((("check", "a", 1), ("admit", "b", 2), ("dump", "a", 1)), steps, strict=False)
    for (step, name, epoch), data in told:
        tasks = (said_running(),) if name == "a" else ()
        world.report(name, *tasks, moves=(moved(step, epoch=epoch, data=data),))


def clocked() -> tuple[World, list[float]]:
    world, clock = running(), [500.0]
    world.memory.steady = lambda: clock[0]
    return world, clock


def test_a_check_foretells_size_and_standstill() -> None:
    world = running()
    world.memory.past_moves.append(Past("a", "b", 10 * MIB, 3 * default(10 * MIB)))
    moving(world, {"memory_kib": 50 * 1024})
    assert migration(world).predicted_bytes == 50 * MIB
    assert migration(world).predicted_seconds == pytest.approx(3 * default(50 * MIB), abs=0.001)
    assert (migration(world).bytes, migration(world).freeze_seconds) == (None, None)


def test_what_was_measured_is_of_two_clocks_that_are_never_compared() -> None:
    world, clock = clocked()
    moving(world, {"memory_kib": 4096}, {}, {"size": 5 * MIB, "still_seconds": 0.25})
    world.now -= 3600  # somebody sets the manager's clock
    clock[0] += 0.5
    restored(world)
    done = world.job(1).migration
    assert done is not None
    assert (done.phase, done.bytes, done.freeze_seconds) == ("done", 5 * MIB, 0.75)
    assert list(world.memory.past_moves) == [Past("a", "b", 5 * MIB, 0.75)]
    assert world.memory.still_since == {}


@pytest.mark.parametrize(
    "dumped", [{}, {"still_seconds": "0.2"}, {"still_seconds": -1}, {"still_seconds": True}]
)
def test_nothing_is_said_of_what_the_source_does_not_tell(dumped: dict[str, Any]) -> None:
    world, _ = clocked()
    moving(world, {"memory_kib": -1}, {}, {"size": 1.5, **dumped})
    restored(world)
    done = world.job(1).migration
    assert done is not None
    assert done.phase == "done"
    assert [done.predicted_bytes, done.predicted_seconds, done.bytes, done.freeze_seconds] == [
        None
    ] * 4
    assert not world.memory.past_moves


def test_a_manager_that_was_begun_anew_does_not_guess() -> None:
    world, _ = clocked()
    moving(world, {}, {}, {"size": 5, "still_seconds": 0.25})
    world.memory.still_since.clear()
    restored(world)
    assert world.job(1).migration.freeze_seconds is None  # type: ignore[union-attr]


def test_a_move_that_fails_teaches_nothing() -> None:
    world, _ = clocked()
    moving(world, {}, {}, {"size": 5, "still_seconds": 0.25})
    world.kill(1)
    assert (world.memory.still_since, list(world.memory.past_moves)) == ({}, [])


def test_records_of_other_releases_are_read() -> None:
    row = asdict(Migration(1, "a", "b", 2, "done", "alice", 1.0, end_time=2.0))
    for name in ("predicted_bytes", "predicted_seconds", "bytes", "freeze_seconds"):
        del row[name]
    old = rows.migration(row)
    assert (old.bytes, old.freeze_seconds, old.end_time) == (None, None, 2.0)
    assert rows.migration({**row, "novel": 1}) == old


def test_what_moves_took_is_in_the_store(tmp_path: Path) -> None:
    world, clock = clocked()
    moving(world, {}, {}, {"size": 5, "still_seconds": 0.25})
    clock[0] += 1
    restored(world)
    store = Store(str(tmp_path), "alpha")
    try:
        store.commit([world.job(1)], [])
        assert store.past_moves() == [Past("a", "b", 5, 1.25)]
    finally:
        store.close()

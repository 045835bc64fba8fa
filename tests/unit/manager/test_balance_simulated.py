"""Hours of a cluster under random load: what balancing gains, and that it harms nobody."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest

from kcms.jobs.pressure import Marks
from tests.unit.manager.crowd import STEP, Crowd, Work

NAMES = ("a", "b", "c", "d")
MARKS = Marks(pause=600.0)
HOUR = 3600.0


def arrivals(seed: int, hours: float) -> list[tuple[float, str, list[float]]]:
    """When jobs come, to which node, and how long they are: most of them to the first two, many
    short and some long, as people's are (a Pareto distribution of CPU time with exponent 1)."""
    dice, found, now = random.Random(seed), [], 0.0
    while now < hours * HOUR:
        node = dice.choices(NAMES, (6, 3, 1, 1))[0]
        lengths = [min(60.0 / (1.0 - dice.random()), 6000.0) for _ in range(dice.randint(1, 4))]
        found.append((now, node, lengths))
        now += dice.expovariate(1 / 200.0)
    return found


def simulated(seed: int, marks: Marks | None, hours: float = 2.0) -> Crowd:
    world = Crowd(*NAMES, marks=marks)
    begin = world.now
    for at, node, lengths in arrivals(seed, hours):
        world.pass_time(max(begin + at - world.now, 0.0))
        world.crowd(node, *[Work(left=each) for each in lengths])
    world.pass_time(begin + hours * HOUR - world.now)
    return world


def waited(world: Crowd) -> float:
    """Seconds from the arrival of each job to its end, or to now."""
    jobs = [*world.over.values(), *world.memory.jobs.values()]
    return sum((job.end_time or world.now) - job.submit_time for job in jobs)


def check_no_ping_pong(world: Crowd, marks: Marks) -> None:
    moves = defaultdict(list)
    pairs: dict[tuple[str, str], float] = {}
    for at, number, source, target in world.begun:
        assert at - pairs.get((target, source), -1e9) >= marks.pause, "back between two nodes"
        pairs[source, target] = at
        moves[number].append(at)
    for number, times in moves.items():
        for count, (earlier, later) in enumerate(itertools.pairwise(times)):
            assert later - earlier >= marks.pause * 2**count, f"job {number} moves too often"


@pytest.mark.parametrize("seed", range(3))
def test_more_is_done_with_it_on_skewed_loads(seed: int) -> None:
    without, balanced = simulated(seed, None), simulated(seed, MARKS)
    assert balanced.begun, "nothing moved at all"
    assert without.begun == []
    assert balanced.used >= without.used
    assert len(balanced.over) >= len(without.over)
    assert waited(balanced) < waited(without)
    check_no_ping_pong(balanced, MARKS)


@pytest.mark.parametrize("seed", range(2))
def test_a_target_is_never_crowded_by_what_moves_there(seed: int) -> None:
    world, seen = Crowd(*NAMES, marks=MARKS), 0
    for at, node, lengths in arrivals(seed, 1.5):
        while world.now < 1000.0 + at:
            world.pass_time(STEP)
            for _, _, _, target in world.begun[seen:]:
                assert world.places()[target] + 1 <= world.cpus
            seen = len(world.begun)
        world.crowd(node, *[Work(left=each) for each in lengths])
    assert seen


@pytest.mark.parametrize("seed", range(2))
def test_nothing_moves_where_the_load_is_even(seed: int) -> None:
    """As many jobs as CPUs on each node; they pause now and then, and others run for a moment."""
    dice = random.Random(seed)
    world = Crowd(*NAMES, marks=MARKS)
    for name in NAMES:
        phases = [dice.uniform(0, 300) for _ in range(2)]
        works = [Work(wants=lambda now, p=each: (now + p) % 300 > 60) for each in phases]
        world.crowd(name, *works)
    world.others = lambda name, now: float(dice.random() < 0.15)
    world.pass_time(2 * HOUR)
    assert world.begun == []

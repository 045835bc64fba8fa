"""One chaotic run: a load, faults beside it, and the audit when everything is over."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.chaos import load
from tests.chaos.faults import Faults
from tests.e2e.grid import Grid

TIMES = {"node_timeout": 8.0, "lease": 20.0, "node_lost": 30.0}
"""Of the manager, in seconds, so that cuts are long enough to lose jobs within a test."""

LONGEST_CUT = 45.0


def chaos(grid: Grid, hosts: Sequence[str], count: int, seed: int, seconds: float) -> None:
    """Have ``count`` jobs done while everything on ``hosts`` fails now and then.

    :param hosts: the manager's first, then the nodes
    :param seconds: until when all must be over
    """
    print(f"seed {seed}", flush=True)
    dice = random.Random(seed)
    program = load.prepare(grid)
    wanted = load.draw(dice, count, program, f"chaos-{time.time_ns()}")
    end = time.monotonic() + seconds
    with Faults(grid, hosts, random.Random(seed + 1), LONGEST_CUT) as faults:
        _submit_all(grid, hosts[1:], wanted, end)
        _await_most(grid, count, end)
    grid.wait(lambda: not grid.active_jobs(), "all jobs to end", max(60.0, end - time.monotonic()))
    print(load.audit(grid, wanted, faults.lost), flush=True)
    assert faults.struck, "nothing failed: this was no test"


def _submit_all(grid: Grid, nodes: Sequence[str], wanted: list[load.Wanted], end: float) -> None:
    """From every node at once; what one did not get through is tried again from another."""
    left, attempt = wanted, 0
    while left:
        assert time.monotonic() < end, f"{len(left)} jobs could not be submitted"
        parts = {
            node: left[at :: len(nodes)]
            for at, node in enumerate([*nodes[attempt:], *nodes[:attempt]])
        }
        with ThreadPoolExecutor(len(nodes)) as pool:
            told = pool.map(lambda part: load.submit(grid, *part, 60.0), parts.items())
            failed = {node for node, why in zip(parts, told, strict=True) if why}
        left = [each for node in failed for each in parts[node]]
        attempt = (attempt + 1) % len(nodes)


def _await_most(grid: Grid, count: int, end: float) -> None:
    """Go on with the faults until nine in ten tasks have run."""
    while time.monotonic() < end and len(load.book(grid, "effects")) < count * 9 // 10:
        time.sleep(1.0)

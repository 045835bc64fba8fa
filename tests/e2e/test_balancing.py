"""A crowded node gives one of its jobs to an idle one, by itself, and then all is quiet."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.e2e.grid import Grid
from tests.e2e.test_leaving import output, wide
from tests.e2e.test_migration import leftovers, node_of, started

__all__ = ["wide"]

HASH = """#!/usr/bin/python3
import hashlib, sys, time
digest, begun = b"", time.monotonic()
for step in range(int(sys.argv[1])):
    for _ in range(1000):
        digest = hashlib.sha256(digest + bytes(1000)).digest()
    if step % 100 == 0:
        print(step, digest.hex(), flush=True)
"""
STEPS = 30_000
SETTINGS = """balance = true
balance_seconds = 10
balance_pause = 300
balance_jobs_only = true"""
# The lab's hosts share one kernel, and so its count of what runs.


def balance(grid: Grid, user: str = "root") -> dict[str, Any]:
    words = ("balance", "--cluster", "alpha", "--json")
    done = grid.kcms("head", *words, user=user, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def moves(grid: Grid) -> list[dict[str, Any]]:
    return [each for each in balance(grid).get("decisions", []) if each["job"] is not None]


def test_one_of_three_jobs_moves_to_the_idle_node(wide: Grid) -> None:
    program = wide.program("alice", "hash.py", HASH)
    assert balance(wide)["on"] is False
    with wide.managed(SETTINGS):
        wide.await_idle("alpha1", "alpha2")
        with wide.drained("alpha2"):
            jobs = [started(wide, program, f"hash{each}", str(STEPS)) for each in range(3)]
            assert {node_of(each) for each in jobs} == {"alpha1"}
        wide.wait(lambda: any(each["outcome"] for each in moves(wide)), "a job to have moved")
        (made,) = moves(wide)
        assert made["outcome"].startswith("done, stood still for "), made
        job = wide.job(made["job"])
        assert (node_of(job), job["migration"]["by"]) == ("alpha2", "the balancer")
        assert made["message"].startswith(f"job {job['id']} from alpha1 (1.5")
        quiet = "no node has stood above 1.2 for each CPU for 10 s"
        wide.wait(lambda: balance(wide)["why"] == quiet, "all to be quiet")
        roles = {row["name"]: row["role"] for row in balance(wide)["nodes"]}
        assert (roles["alpha1"], roles["alpha2"]) == ("neither", "takes")
        shown = wide.kcms("alpha1", "balance", user="alice").stdout
        assert f"{made['message']}: {made['outcome']}" in shown
        assert f"nothing moves now: {quiet}" in shown
        assert f"job {job['id']}" not in wide.kcms("alpha1", "balance", user="bob").stdout
        numbers = {each["id"] for each in jobs}
        wide.wait(
            lambda: not numbers & {each["id"] for each in wide.active_jobs()}, "all to end", 300
        )
        ended = [wide.job(each) for each in numbers]
        assert Counter(each["state"] for each in ended) == {"COMPLETED": 3}
        assert moves(wide) == [made]
        undisturbed = wide.shell("alpha2", f"{program} {STEPS}", user="alice").stdout
        assert [output(wide, f"hash{each}") for each in range(3)] == [undisturbed] * 3
    wide.wait(lambda: leftovers(wide) == "", "every image to be removed")
    assert undisturbed.count("\n") == STEPS // 100

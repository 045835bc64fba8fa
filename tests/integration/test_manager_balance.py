"""A manager that balances, over real TLS, a real store and a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from kcms.jobs.processes import Process
from tests.integration.managed import FakeNode, Grid, Peer

RULES: dict[str, Any] = {"balance": True, "balance_seconds": 2.0, "balance_jobs_only": True}


async def told(peer: Peer) -> dict[str, Any]:
    status, answer = await peer.call("GET", "/v1/balance")
    assert status == 200, answer
    return answer


def at_work(node: FakeNode) -> None:
    """Each of its tasks has one process that runs all the time."""
    node.processes = tuple(
        Process(pid, pid, "x", *key, root=True, status="R", cpu_seconds=900.0, rss_kib=1000)
        for pid, key in enumerate(node.tasks, start=100)
    )


async def followed(node: FakeNode, other: FakeNode, seconds: float) -> None:
    for _ in range(int(seconds * 4)):
        for each in (node, other):
            at_work(each)
            await each.follow(wait=0)
        await asyncio.sleep(0.25)


async def test_a_job_moves_to_the_idle_node_and_that_is_told(tmp_path: Path) -> None:
    grid = Grid(tmp_path, RULES)
    async with (
        grid.peer("alpha1", "alice") as alice,
        grid.peer("alpha2", "bob") as bob,
        grid.peer("head", "root") as root,
        grid.peer("alpha1") as first,
        grid.peer("alpha2") as second,
    ):
        node, other = FakeNode(first, slots=4), FakeNode(second, slots=4)
        async with grid.running():
            await node.report()
            for _ in range(3):
                await alice.submit()
            await node.follow()
            await followed(node, other, 1.5)
            assert {row["role"] for row in (await told(bob))["nodes"]} <= {"listening", "down"}
        async with grid.running():  # which listens anew
            await node.report()
            await other.report()
            await followed(node, other, 1.5)
            assert {row["role"] for row in (await told(bob))["nodes"]} <= {"listening", "down"}
            await followed(node, other, 4.5)
            jobs = [await alice.job(number) for number in (1, 2, 3)]
            moved = [job for job in jobs if job["migration"]]
            assert [job["migration"]["by"] for job in moved] == ["the balancer"]
            assert moved[0]["tasks"][0]["node"] == "alpha2"
            seen = {row["job"] for row in (await told(root))["decisions"]}
            assert seen >= {moved[0]["id"]}
            assert {row["job"] for row in (await told(bob))["decisions"]} == {None}


async def test_it_is_off_by_default(alice: Peer) -> None:
    answer = await told(alice)
    assert (answer["on"], answer["marks"], answer["nodes"]) == (False, None, [])

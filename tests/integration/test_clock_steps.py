"""A manager whose wall clock is set by hours, on and back, while jobs run: it is injected, the
machine's is never touched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kcms.manager.audit import audit
from tests.integration.managed import FakeNode, Grid, Peer

HOURS = 5 * 3600.0


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock of everything in this process."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])

    def stepped(seconds: float) -> None:
        offset[0] += seconds

    return stepped


async def states(alice: Peer) -> list[tuple[int, str]]:
    _, listed = await alice.call("GET", "/v1/jobs")
    return [(job["id"], job["state"]) for job in listed["jobs"]]


@pytest.mark.parametrize("hours", [HOURS, -HOURS])
async def test_a_step_ends_no_job_no_wait_and_no_login(
    tmp_path: Path, step: Callable[[float], None], hours: float
) -> None:
    grid = Grid(tmp_path, {"node_timeout": 30.0, "node_lost": 60.0})
    password = {"password": "correct horse"}
    async with grid.running(), grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer)
        await node.report()
        for spec in ({"time_limit": "1h"}, {}, {}):
            await alice.submit(**spec)
        await node.follow()
        assert (await alice.call("POST", "/v1/password", password))[0] == 200
        login = {"user": "alice", **password}
        _, token = await alice.call("POST", "/v1/login", login)
        held = asyncio.create_task(node.desired(wait=4))
        await asyncio.sleep(0.3)
        step(hours)
        await asyncio.sleep(1.5)  # ticks of the manager
        assert not held.done()
        assert await states(alice) == [(1, "PENDING"), (2, "RUNNING"), (3, "RUNNING")]
        (row,) = [r for r in (await alice.call("GET", "/v1/nodes"))[1]["nodes"] if r["used"]]
        assert row["state"] == "UP"
        headers = {"Kcms-Token": token["token"]}
        async with grid.peer("alpha1") as page:
            assert (await page.call("GET", "/v1/session", headers=headers))[0] == 200
        await held
        node.end([2])
        assert len(await node.report()) == 1
        assert (await alice.submit())[1]["id"] == 4
        assert [number for number, _ in await states(alice)] == [1, 2, 3, 4]


async def test_a_restart_after_a_step_back_loses_and_doubles_nothing(
    tmp_path: Path, step: Callable[[float], None]
) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer)
        for seconds in (0.0, -HOURS, 3 * HOURS, -2 * HOURS):
            step(seconds)
            async with grid.running():
                await node.report()
                await alice.submit()
                await alice.submit()
                await node.follow(wait=0)
                await node.follow(wait=0)
                node.end(node.starts)
                await node.report()
                await node.follow(wait=0)
                await asyncio.sleep(0)
        async with grid.running():
            await node.report()
            await node.follow(wait=0)
            node.end(node.starts)
            await node.report()
            found = await states(alice)
    assert sorted(node.starts) == list(range(1, 9))
    assert found == [(number, "COMPLETED") for number in range(1, 9)]
    grid.state.chmod(0o700)
    assert audit(str(grid.state), "alpha")["findings"] == []

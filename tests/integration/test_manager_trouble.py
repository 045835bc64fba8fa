"""The manager over real TLS: restarts, full disks, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from kcms.errors import ConfigError
from kcms.jobs.model import Job, Task
from kcms.manager.store import Store
from tests.integration.managed import FakeNode, Grid, Peer, code

# restart, and trouble ----------------------------------------------------------------------------


async def test_a_restart_loses_and_doubles_nothing(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer)
        async with grid.running():
            await node.report()
            for _ in range(4):
                await alice.submit()
            await node.follow()
            assert sorted(node.starts) == [1, 2]
            version = node.version
        node.end([1])
        async with grid.running():
            assert (await alice.job(2))["state"] == "RUNNING"
            assert await node.report() == [[1, 0, 1]]
            await node.follow()
            assert node.version != version
            assert sorted(node.starts) == [1, 2, 3]
            assert (await alice.job(1))["state"] == "COMPLETED"
            assert (await alice.job(4))["state"] == "PENDING"
            assert (await alice.submit())[1]["id"] == 5


async def test_what_was_seen_before_a_restart_hides_nothing_after_it(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer)
        async with grid.running():
            await node.report()
            assert await node.desired(wait=0) == []
            seen = node.version
            await alice.submit()
        async with grid.running():
            assert [each["job"] for each in await node.desired(wait=50)] == [1]
            assert node.version > seen


async def test_a_held_question_does_not_hold_up_the_end(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1") as peer:
        async with grid.running():
            node = FakeNode(peer)
            await node.report()
            await node.desired(wait=0)
            held = asyncio.create_task(node.desired(wait=50))
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(held, 10) == []


async def test_a_full_disk_refuses_and_goes_on(
    grid: Grid, alice: Peer, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.report()
    assert (await alice.submit())[0] == 201
    await node.follow()
    disk = Disk(monkeypatch)
    for _ in range(3):
        answer = await alice.submit()
        assert code(answer) == (503, "unavailable")
        assert "disk is full" in answer[1]["error"]["message"]
    assert code(await alice.call("POST", "/v1/jobs/1/kill"))[0] == 503
    assert (await alice.job(1))["killed_by"] is None
    node.end([1])
    with pytest.raises(AssertionError, match="disk is full"):
        await node.report()
    assert len(node.tasks) == 1, "the node keeps what is not on record"
    disk.full = False
    assert await node.report() == [[1, 0, 1]]
    assert (await alice.job(1))["state"] == "COMPLETED"
    assert (await alice.submit())[1]["id"] == 2


async def test_time_goes_on_after_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid(tmp_path, {"node_timeout": 0.5, "node_lost": 1.5})
    async with grid.running(), grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        await FakeNode(peer).report()
        await alice.submit()
        disk = Disk(monkeypatch)
        await until(lambda: disk.refused >= 3)
        assert (await alice.job(1))["state"] == "RUNNING"
        disk.full = False
        async with asyncio.timeout(60):
            while (await alice.job(1))["state"] == "RUNNING":
                await asyncio.sleep(0.05)
        assert (await alice.job(1))["reason"] == "alpha1 was not heard for 1.5 s"


class Disk:
    """Full until told otherwise, as the last write of a commit finds out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.refused = 0
        real = Store._write

        def write(store: Store, job: Job, changed: Iterable[Task]) -> None:
            real(store, job, changed)
            if self.full:
                self.refused += 1
                raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(Store, "_write", write)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


async def test_what_keeps_a_manager_from_starting_is_one_line(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    grid.hosts_file.unlink()
    with pytest.raises(ConfigError, match=r"list of hosts .* No such file"):
        async with grid.running():
            pass
    grid.set_hosts({})
    grid.ca = str(tmp_path / "missing.pem")
    with pytest.raises(ConfigError, match="certificate files"):
        async with grid.running():
            pass

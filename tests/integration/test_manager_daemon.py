"""The manager as a process: killed at any moment, it loses and doubles nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from kcms.manager.schema import VERSION
from tests.integration.managed import FakeNode, Grid, Peer

APP = Path(__file__).resolve().parents[2] / "app"


def command(grid: Grid) -> list[str]:
    """The command line that starts it."""
    file = grid.directory / "manager.toml"
    values = dataclasses.asdict(grid.config())
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    return [sys.executable, "-m", "kcms", "daemon", "manager", "--config", str(file)]


def start(grid: Grid) -> subprocess.Popen[bytes]:
    with (grid.directory / "log").open("ab") as log:
        return subprocess.Popen(
            command(grid), env={**os.environ, "PYTHONPATH": str(APP)}, stderr=log
        )


async def reached(peer: Peer) -> None:
    for _ in range(600):
        with contextlib.suppress(aiohttp.ClientError):
            assert (await peer.call("GET", "/v1/ping"))[0] == 200
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the manager does not answer")


@contextlib.asynccontextmanager
async def started(grid: Grid, peer: Peer) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The process, once it answers; killed in the end."""
    process = start(grid)
    try:
        await reached(peer)
        yield process
    finally:
        process.kill()
        process.wait()


async def submit_until_it_breaks(peer: Peer, keys: list[str]) -> dict[str, int]:
    """Jobs that were acknowledged, by their keys."""
    acknowledged = {}
    for key in keys:
        try:
            status, job = await peer.submit(key=key)
        except aiohttp.ClientError:
            break
        assert status == 201
        acknowledged[key] = job["id"]
    return acknowledged


async def test_kill_under_load_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer, slots=3)
        acknowledged: dict[str, int] = {}
        for turn in range(3):
            async with started(grid, alice) as process:
                await node.report()
                await node.follow(wait=1)
                keys = [[f"{turn}.{lane}.{each}" for each in range(500)] for lane in range(4)]
                lanes = [asyncio.create_task(submit_until_it_breaks(alice, each)) for each in keys]
                await asyncio.sleep(0.3 + turn * 0.07)
                process.send_signal(signal.SIGKILL)
                for lane in lanes:
                    acknowledged |= await lane
            node.end(node.starts[:-1])
        assert len(acknowledged) > 10
        assert len(set(acknowledged.values())) == len(acknowledged), "a number was given twice"
        async with started(grid, alice):
            again = {key: (await alice.submit(key=key))[1]["id"] for key in acknowledged}
            assert again == acknowledged
            _, listed = await alice.call("GET", "/v1/jobs?limit=10000")
            numbers = [job["id"] for job in listed["jobs"]]
            assert numbers == list(range(1, len(numbers) + 1))
            for _ in range(5):
                await node.report()
                await node.follow(wait=0)
                node.end(node.starts)
            await node.report()
            assert len(node.starts) == len(set(node.starts)), "a job was started twice"
            _, listed = await alice.call("GET", "/v1/jobs?limit=10000&state=COMPLETED")
            done = [job["id"] for job in listed["jobs"]]
            assert set(node.starts) == set(done) | {job for job, *_ in node.tasks}, (
                "a job that ran has no record, or a record no job"
            )


async def many_until_it_breaks(peer: Peer, lots: list[list[str]]) -> dict[str, int]:
    """As :func:`submit_until_it_breaks`, of calls with many."""
    acknowledged: dict[str, int] = {}
    for keys in lots:
        rows = [{"spec": {"executable": "/shared/x"}, "key": key} for key in keys]
        try:
            status, answer = await peer.call("POST", "/v1/jobs/bulk", {"jobs": rows})
        except aiohttp.ClientError:
            break
        assert status == 200
        made = [row["job"]["id"] for row in answer["jobs"]]
        acknowledged |= dict(zip(keys, made, strict=True))
    return acknowledged


async def test_kill_amid_calls_with_many_loses_and_doubles_nothing(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    every: list[list[str]] = []
    async with grid.peer("alpha1", "alice") as alice:
        acknowledged: dict[str, int] = {}
        for turn in range(3):
            lanes = [
                [[f"{turn}.{lane}.{lot}.{each}" for each in range(20)] for lot in range(20)]
                for lane in range(4)
            ]
            every += [lot for lane in lanes for lot in lane]
            async with started(grid, alice) as process:
                calls = [asyncio.create_task(many_until_it_breaks(alice, each)) for each in lanes]
                await asyncio.sleep(0.1 + turn * 0.07)
                process.send_signal(signal.SIGKILL)
                for call in calls:
                    acknowledged |= await call
        async with started(grid, alice):
            again = await many_until_it_breaks(alice, every)
            _, listed = await alice.call("GET", "/v1/jobs?limit=10000")
    assert len(acknowledged) > 20
    assert acknowledged.items() <= again.items()
    assert sorted(again.values()) == [job["id"] for job in listed["jobs"]]


async def test_who_is_stopped_answers_for_every_job_that_it_takes(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice:
        acknowledged: dict[str, int] = {}
        for turn in range(3):
            async with started(grid, alice) as process:
                keys = [[f"{turn}.{lane}.{each}" for each in range(500)] for lane in range(16)]
                lanes = [asyncio.create_task(submit_until_it_breaks(alice, each)) for each in keys]
                await asyncio.sleep(0.5)
                process.send_signal(signal.SIGTERM)
                for lane in lanes:
                    acknowledged |= await lane
                assert await asyncio.to_thread(process.wait, 10) == 0
        async with started(grid, alice):
            _, listed = await alice.call("GET", "/v1/jobs?limit=10000")
        assert len(acknowledged) > 30
        assert {job["id"] for job in listed["jobs"]} == set(acknowledged.values())


async def test_a_store_that_was_lost_takes_nothing_of_what_the_old_one_left(tmp_path: Path) -> None:
    """Alice's job 1 of the old store still runs when bob's becomes job 1 of the new one."""
    grid = Grid(tmp_path)
    async with (
        grid.peer("alpha1", "alice") as alice,
        grid.peer("alpha2", "bob") as bob,
        grid.peer("alpha1") as peer,
    ):
        node = FakeNode(peer, slots=2)
        async with started(grid, alice):
            await node.report()
            await alice.submit()
            await node.follow()
        (old,) = node.tasks
        for each in grid.state.iterdir():
            each.unlink()
        node.version = -1
        async with started(grid, bob):
            await node.report()
            await bob.submit()
            (wanted,) = await node.desired()
            assert (wanted["user"], wanted["want"]) == ("bob", "run")
            key = (wanted["job"], wanted["task"], wanted["epoch"], wanted["store"])
            assert key[:3] == old[:3]
            assert key[3] != old[3]
            node.end([1], code=9)
            assert await node.report() == []
            assert (await bob.job(1))["state"] == "RUNNING"
            await bob.call("POST", "/v1/jobs/1/kill")
            wants = {each["store"]: each["want"] for each in await node.desired()}
            assert wants == {key[3]: "kill"}
            assert list(node.tasks) == [old]
    log = (tmp_path / "log").read_text()
    assert log.count("has tasks that are not of our job store") == 1
    assert f"left alone: 1.0.1-{old[3]}; when nobody" in log


async def test_an_older_copy_of_the_store_neither_ends_nor_takes_what_came_after_it(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path)
    async with (
        grid.peer("alpha1", "alice") as alice,
        grid.peer("alpha2", "bob") as bob,
        grid.peer("alpha1") as peer,
    ):
        node = FakeNode(peer, slots=2)
        async with started(grid, alice) as process:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)
        copy = (grid.state / "jobs.sqlite").read_bytes()
        async with started(grid, alice):
            await node.report()
            await alice.submit()
            await node.follow()
        for each in grid.state.iterdir():
            each.unlink()
        (grid.state / "jobs.sqlite").write_bytes(copy)
        for _ in range(2):
            node.version = -1
            async with started(grid, bob):
                await node.report()
                (_, job) = await bob.submit()
                assert job["id"] > 1
                wants = {each["job"]: each["want"] for each in await node.desired()}
                assert (1 not in wants, "kill" not in wants.values()) == (True, True)
        node.end([1])
        async with started(grid, bob):
            assert await node.report() == []


async def test_sigterm_ends_it_cleanly_and_in_silence(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, started(grid, alice) as process:
        await alice.submit()
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert log.splitlines()[0] == (
        f"kcms.manager: manager of alpha listens on 127.0.0.1 port {grid.port}"
    )
    assert len(log.splitlines()) == 1


def test_what_it_cannot_use_is_one_line_and_status_78(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    words = command(grid)
    database = sqlite3.connect(grid.state / "jobs.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    done = subprocess.run(
        words,
        env={**os.environ, "PYTHONPATH": str(APP)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1
    assert f"has schema 99, newer than this release's {VERSION}" in done.stderr

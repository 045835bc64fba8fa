"""Signals over real TLS and a real store: kept over a restart, given once, for who may."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.model import ABILITIES
from kcms.jobs.processes import Process
from kcms.manager import signal_rows
from kcms.manager.backup import settle
from kcms.manager.store import Store
from tests.integration.managed import FakeNode, Grid, Peer, code

SIGNAL = "/v1/jobs/1/signal"
HUP = {"signal": "HUP"}


async def begin(alice: Peer, node: FakeNode) -> None:
    """Job 1 of alice runs, with the process 47."""
    node.abilities = ABILITIES
    await node.report()
    await alice.submit()
    await node.follow()
    ((job, task, epoch, store),) = node.tasks
    node.processes = (Process(47, 9, "sh", job, task, epoch, store, True),)
    await node.report()


async def test_a_signal_reaches_its_node_once(alice: Peer, node: FakeNode) -> None:
    await begin(alice, node)
    status, job = await alice.call("POST", SIGNAL, HUP)
    assert (status, job["id"], job["state"]) == (202, 1, "RUNNING")
    process = {"process": {"node": "alpha1", "pid": 47}, "task": 0}
    assert (await alice.call("POST", SIGNAL, {"signal": "sigusr1", **process}))[0] == 202
    await node.follow()
    await node.follow(wait=0)
    assert node.received == [(1, "HUP", None), (1, "USR1", 47)]
    assert [each.get("signals", []) for each in await node.desired(wait=0)] == [[]]


async def test_a_signal_is_kept_and_its_key_known_over_a_restart(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    keyed = {**HUP, "key": "k"}
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer)
        async with grid.running():
            await begin(alice, node)
            await alice.call("POST", SIGNAL, keyed)
        async with grid.running():
            assert (await alice.call("POST", SIGNAL, keyed))[0] == 202
            await node.follow()
            assert node.received == [(1, "HUP", None)]
        async with grid.running():
            assert (await alice.call("POST", SIGNAL, keyed))[0] == 202
            await node.follow(wait=0)
            await alice.call("POST", SIGNAL, HUP)
            await node.follow(wait=0)
            assert node.received == [(1, "HUP", None)] * 2
            node.end([1])
            await node.report()
    with sqlite3.connect(tmp_path / "state" / "jobs.sqlite") as database:
        assert signal_rows.read(database) == {}


async def test_who_may_signal(alice: Peer, bob: Peer, root: Peer, node: FakeNode) -> None:
    await begin(alice, node)
    named = {**HUP, "process": {"node": "alpha1", "pid": 47}}
    for body in (HUP, named):
        assert code(await bob.call("POST", SIGNAL, body)) == (404, "not_found")
    assert (await root.call("POST", SIGNAL, named))[0] == 202
    await node.follow()
    assert node.received == [(1, "HUP", 47)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"signal": "NONE"}, 400),
        ({"signal": "HUP", "to": 1}, 400),
        ({"signal": "HUP", "key": ""}, 400),
        ({"signal": "HUP", "check": 1}, 400),
        ({"signal": "HUP", "task": 7}, 404),
        ({"signal": "HUP", "process": {"node": "alpha1", "pid": 48}}, 404),
    ],
)
async def test_what_is_refused(
    body: dict[str, Any], status: int, alice: Peer, node: FakeNode
) -> None:
    await begin(alice, node)
    assert code(await alice.call("POST", SIGNAL, body))[0] == status
    assert [each.get("signals", []) for each in await node.desired(wait=0)] == [[]]


async def test_a_check_gives_none(alice: Peer, node: FakeNode) -> None:
    await begin(alice, node)
    assert (await alice.call("POST", SIGNAL, {**HUP, "check": True}))[0] == 202
    assert [each.get("signals", []) for each in await node.desired(wait=0)] == [[]]
    node.end([1])
    await node.report()
    assert code(await alice.call("POST", SIGNAL, {**HUP, "check": True}))[0] == 409


async def test_a_full_disk_gives_none(
    alice: Peer, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await begin(alice, node)
    with monkeypatch.context() as broken:
        broken.setattr(signal_rows, "write", full)
        assert code(await alice.call("POST", SIGNAL, HUP)) == (503, "unavailable")
    assert [each.get("signals", []) for each in await node.desired(wait=0)] == [[]]
    assert (await alice.call("POST", SIGNAL, HUP))[0] == 202


async def test_an_older_node_is_asked_for_nothing(alice: Peer, node: FakeNode) -> None:
    await begin(alice, node)
    node.abilities = ("suspend", "limits")
    await node.report()
    status, answer = await alice.call("POST", SIGNAL, HUP)
    assert status == 409
    assert "whose release cannot send signals" in answer["error"]["message"]


async def test_a_restored_store_sends_nothing_late(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer, grid.running():
        await begin(alice, FakeNode(peer))
        await alice.call("POST", SIGNAL, HUP)
    settle(str(grid.state), "alpha", 1.0, keep=True)
    store = Store(str(grid.state), "alpha")
    try:
        assert store.signals() == {}
        assert [each.id for each in store.active()] == [1]
    finally:
        store.close()

"""Moving jobs, taking nodes out of use and listing processes, over real TLS and a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.processes import Process
from kcms.manager.store import Store
from tests.integration.managed import FakeNode, Grid, Peer, code


@pytest.fixture
async def other(grid: Grid) -> AsyncIterator[FakeNode]:
    async with grid.peer("alpha2") as peer:
        yield FakeNode(peer)


async def start(alice: Peer, node: FakeNode, other: FakeNode) -> None:
    """Job 1 of alice runs on alpha1, and both nodes are heard."""
    await node.report()
    await alice.submit()
    await node.follow()
    await other.report()
    assert (await alice.job(1))["tasks"][0]["node"] == "alpha1"


async def migrate(peer: Peer, node: str = "alpha2", **body: Any) -> tuple[int, dict[str, Any]]:
    return await peer.call("POST", "/v1/jobs/1/migrate", {"node": node, **body})


async def phase(peer: Peer) -> str:
    return str((await peer.job(1))["migration"]["phase"])


async def test_a_job_moves(alice: Peer, node: FakeNode, other: FakeNode) -> None:
    await start(alice, node, other)
    status, job = await migrate(alice)
    assert (status, job["migration"]["phase"], job["migration"]["by"]) == (202, "checking", "alice")
    for actor, after in (
        (node, "preparing"),
        (other, "dumping"),
        (node, "restoring"),
        (other, "done"),
    ):
        await actor.follow()
        assert await phase(alice) == after
    (told,) = [each for each in other.moves if each.step == "restore"]
    assert told.data["before"]["step"] == "dump"
    assert told.data["before"]["before"]["step"] == "admit"
    (left,) = await node.desired()
    assert (left["epoch"], left["want"], left["grace"]) == (1, "kill", 0.0)
    (there,) = await other.desired()
    assert (there["epoch"], there["want"]) == (2, "run")
    job = await alice.job(1)
    assert (job["tasks"][0]["node"], job["tasks"][0]["epoch"]) == ("alpha2", 2)
    other.end([1], code=4)
    await other.report()
    assert (await alice.job(1))["reason"] == "exit status 4"


async def test_the_manager_may_be_restarted_in_every_phase(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with (
        grid.peer("alpha1", "alice") as alice,
        grid.peer("alpha1") as first,
        grid.peer("alpha2") as second,
    ):
        node, other = FakeNode(first), FakeNode(second)
        async with grid.running():
            await start(alice, node, other)
            await migrate(alice)
        for actor, after in (
            (node, "preparing"),
            (other, "dumping"),
            (node, "restoring"),
            (other, "done"),
        ):
            async with grid.running():
                await node.report()
                await other.report()
                await actor.follow()
                assert await phase(alice) == after
                if after == "restoring":
                    await node.desired(wait=0)
                    assert [each.step for each in node.moves] == ["dump"]
        async with grid.running():
            assert [each["epoch"] for each in await other.desired()] == [2]
            await node.report()
            assert [each["want"] for each in await node.desired()] == ["kill"]


async def test_a_refusal_is_one_sentence_and_the_job_runs_on(
    alice: Peer, node: FakeNode, other: FakeNode
) -> None:
    await start(alice, node, other)
    other.refuses["admit"] = "/usr/bin/x differs"
    await migrate(alice, check=True)
    await node.follow()
    await other.follow()
    job = await alice.job(1)
    assert (job["migration"]["phase"], job["migration"]["message"]) == (
        "refused",
        "alpha2: /usr/bin/x differs",
    )
    assert (job["state"], job["tasks"][0]["epoch"]) == ("RUNNING", 1)
    other.refuses.clear()
    await migrate(alice, check=True)
    await node.follow()
    await other.follow()
    assert await phase(alice) == "possible"


async def test_what_is_refused_at_once(
    alice: Peer, bob: Peer, root: Peer, node: FakeNode, other: FakeNode
) -> None:
    await start(alice, node, other)
    assert code(await migrate(bob)) == (404, "not_found")
    assert code(await migrate(alice, "alpha1")) == (409, "conflict")
    assert code(await migrate(alice, "nowhere")) == (409, "conflict")
    assert code(await migrate(alice, "pc")) == (409, "conflict")
    for body in ({}, {"node": 7}, {"node": ""}, {"node": "alpha2", "check": "yes"}):
        answer = await alice.call("POST", "/v1/jobs/1/migrate", body)
        assert code(answer) == (400, "invalid_request"), body
    assert code(await migrate(alice, colour=1)) == (400, "invalid_request")
    assert (await alice.job(1))["migration"] is None
    other.mover = {}
    await other.report()
    status, answer = await migrate(root)
    assert (status, answer["error"]["message"]) == (
        409,
        "job 1 cannot be moved: the release on alpha2 cannot move jobs: "
        "run the site playbook for it",
    )


async def test_a_report_with_nonsense_about_moves_harms_nobody(
    alice: Peer, node: FakeNode, other: FakeNode
) -> None:
    await start(alice, node, other)
    await migrate(alice)
    await node.desired()
    (good,) = node.moves
    node.moves = [replace(good, data={"a": float("nan")})]
    await node.report()
    assert await phase(alice) == "failed"
    await migrate(alice)
    await node.desired()
    (good,) = node.moves
    node.moves = [replace(good, data={"a": "\ud800"})]
    await node.report()
    assert await phase(alice) == "preparing"
    await other.follow()
    assert await phase(alice) == "dumping"


# nodes -------------------------------------------------------------------------------------------


async def test_a_drained_node_stays_so_over_a_restart(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with (
        grid.peer("alpha1", "alice") as alice,
        grid.peer("head", "root") as root,
        grid.peer("alpha1") as peer,
    ):
        node = FakeNode(peer)
        path = "/v1/nodes/alpha1/state"
        async with grid.running():
            await node.report()
            status, row = await root.call("POST", path, {"state": "drain", "reason": "new disk"})
            assert (status, row["availability"], row["drain_reason"]) == (
                *(200, "drained"),
                "new disk",
            )
        async with grid.running():
            await node.report()
            await alice.submit()
            job = await alice.job(1)
            assert (job["state"], job["reason"]) == (
                "PENDING",
                "every node that is up is drained",
            )
            status, row = await root.call("POST", path, {"state": "resume"})
            assert (status, row["drained"]) == (200, False)
            assert (await alice.job(1))["state"] == "RUNNING"
        async with grid.running():
            _, listed = await root.call("GET", "/v1/nodes")
            assert {row["name"]: row["drained"] for row in listed["nodes"]}["alpha1"] is False


async def test_only_the_grids_root_takes_nodes_out_of_use(alice: Peer, root: Peer) -> None:
    drain = {"state": "drain"}
    assert code(await alice.call("POST", "/v1/nodes/alpha1/state", drain)) == (403, "forbidden")
    assert code(await root.call("POST", "/v1/nodes/zeta/state", drain)) == (404, "not_found")
    for body in ({}, {"state": "off"}, {"state": "drain", "reason": 7}, {"state": 1}, {"x": 1}):
        answer = await root.call("POST", "/v1/nodes/alpha1/state", body)
        assert code(answer) == (400, "invalid_request"), body
    _, listed = await root.call("GET", "/v1/nodes")
    assert not any(row["drained"] for row in listed["nodes"])


async def test_a_full_disk_takes_no_node_out_of_use(
    root: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    path, drain = "/v1/nodes/alpha1/state", {"state": "drain"}
    with monkeypatch.context() as broken:
        broken.setattr(Store, "_write_drain", full)
        assert code(await root.call("POST", path, drain)) == (503, "unavailable")
    _, listed = await root.call("GET", "/v1/nodes")
    assert not any(row["drained"] for row in listed["nodes"])
    assert (await root.call("POST", path, drain))[1]["drained"] is True


# processes, and pages of jobs --------------------------------------------------------------------


async def test_processes_are_shown_to_their_owner(
    alice: Peer, bob: Peer, root: Peer, node: FakeNode
) -> None:
    await node.report()
    await alice.submit()
    await node.follow()
    ((job, task, epoch, store),) = node.tasks
    node.processes = (Process(77, 5, "sh", job, task, epoch, store, True),)
    await node.report()
    for peer, path, count in (
        (alice, "/v1/processes", 1),
        (root, "/v1/processes", 1),
        (root, "/v1/processes?user=alice&node=alpha1", 1),
        (root, "/v1/processes?node=alpha2", 0),
        (alice, "/v1/processes?job=1", 1),
        (alice, "/v1/processes?job=2", 0),
        (root, "/v1/processes?user=bob", 0),
        (bob, "/v1/processes", 0),
    ):
        status, answer = await peer.call("GET", path)
        assert (status, len(answer["processes"]), answer["left_out"]) == (200, count, 0), path
    assert code(await bob.call("GET", "/v1/processes?user=alice")) == (403, "forbidden")
    assert code(await bob.call("GET", "/v1/processes?job=x")) == (400, "invalid_request")
    node.processes = ()
    await node.report()
    _, answer = await alice.call("GET", "/v1/processes")
    assert [row["state"] for row in answer["processes"]] == ["T"]


async def test_jobs_page_by_page(alice: Peer) -> None:
    for _ in range(5):
        await alice.submit()
    pages = []
    for before in ("", "&before=4", "&before=2", "&before=1"):
        _, listed = await alice.call("GET", f"/v1/jobs?limit=2{before}")
        pages.append([job["id"] for job in listed["jobs"]])
    assert pages == [[4, 5], [2, 3], [1], []]
    assert code(await alice.call("GET", "/v1/jobs?before=x")) == (400, "invalid_request")

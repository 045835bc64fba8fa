"""Emptying a node, over real TLS and a real store, and over restarts of the manager."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.managed import FakeNode, Grid, Peer, code

STATE, LEAVING = "/v1/nodes/alpha1/state", "/v1/nodes/alpha1/leaving"


async def told(peer: Peer) -> dict[int, tuple[str, str | None, str]]:
    status, answer = await peer.call("GET", LEAVING)
    assert status == 200, answer
    return {row["job"]: (row["state"], row["target"], row["message"]) for row in answer["tasks"]}


async def empty(root: Peer) -> dict[str, Any]:
    body = {"state": "drain", "reason": "fan", "migrate": True}
    status, node = await root.call("POST", STATE, body)
    assert (status, node["leaving"]) == (200, True)
    return node


async def steps(*actors: FakeNode) -> None:
    for actor in actors:
        await actor.follow(wait=0)


async def test_a_node_is_emptied_over_restarts(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with (
        grid.peer("alpha1", "alice") as alice,
        grid.peer("alpha2", "bob") as bob,
        grid.peer("head", "root") as root,
        grid.peer("alpha1") as first,
        grid.peer("alpha2") as second,
    ):
        node, other = FakeNode(first, slots=3), FakeNode(second, slots=3)
        async with grid.running():
            await node.report()
            for caller in (alice, bob, alice):
                await caller.submit()
            await node.follow()
            await other.report()
            await empty(root)
            moving = {1: ("moving", "alpha2", "it moves to alpha2: checking")}
            assert await told(alice) == {**moving, 3: ("waiting", None, "it goes next")}
            assert list(await told(bob)) == [2]
            assert len(await told(root)) == 3
        for _ in range(6):  # whatever phase it is in
            async with grid.running():
                await node.report()
                await other.report()
                await steps(node, other, node, other)
        async with grid.running():
            await steps(node, other)
            _, listed = await root.call("GET", "/v1/nodes")
            (row,) = [each for each in listed["nodes"] if each["name"] == "alpha1"]
            assert (row["availability"], row["leaving"], await told(root)) == ("drained", True, {})
            for number, owner in ((1, alice), (2, bob), (3, alice)):
                job = await owner.job(number)
                assert (job["state"], job["tasks"][0]["node"]) == ("RUNNING", "alpha2")


async def test_what_stays_is_told_and_resuming_ends_it(
    alice: Peer, bob: Peer, root: Peer, grid: Grid
) -> None:
    async with grid.peer("alpha1") as first, grid.peer("alpha2") as second:
        node, other = FakeNode(first), FakeNode(second)
        await node.report()
        await alice.submit()
        await node.follow()
        await other.report()
        node.refuses["check"] = "process 7 (x) has a TCP connection"
        await empty(root)
        await steps(node)
        held = ("staying", None, "alpha1: process 7 (x) has a TCP connection")
        assert await told(alice) == {1: held}
        assert (await alice.job(1))["state"] == "RUNNING"
        assert await told(bob) == {}
        status, row = await root.call("POST", STATE, {"state": "resume"})
        assert (status, row["leaving"], row["drained"]) == (200, False, False)
        assert (await alice.call("GET", LEAVING))[1] == {
            **{"node": "alpha1", "leaving": False},
            "tasks": [],
        }


async def test_bad_input_is_one_sentence(alice: Peer, root: Peer) -> None:
    drain = {"state": "drain", "reason": "fan"}
    answer = await root.call("POST", STATE, {**drain, "migrate": "yes"})
    assert code(answer) == (400, "invalid_request")
    answer = await root.call("POST", STATE, {"state": "resume", "migrate": True})
    assert code(answer) == (400, "invalid_request")
    answer = await alice.call("POST", STATE, {**drain, "migrate": True})
    assert code(answer) == (403, "forbidden")
    assert code(await root.call("GET", "/v1/nodes/zeta/leaving")) == (404, "not_found")
    _, listed = await root.call("GET", "/v1/nodes")
    assert not any(row["drained"] for row in listed["nodes"])

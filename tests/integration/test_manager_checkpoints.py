"""Checkpoints and restarts, asked for over real TLS and kept in a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.model import ABILITIES
from kcms.manager import openapi
from tests.integration.managed import FakeNode, Grid, Peer, code

SAVE, RESTART = "/v1/jobs/1/checkpoint", "/v1/jobs/1/restart"
SCHEMAS = openapi.document()["components"]["schemas"]


async def start(alice: Peer, node: FakeNode, **fields: Any) -> None:
    """Job 1 of alice runs on alpha1, which makes checkpoints."""
    node.abilities = ABILITIES
    await node.report()
    await alice.submit(**fields)
    await node.follow()


async def save(alice: Peer, node: FakeNode) -> dict[str, Any]:
    """Have job 1 saved; its document once the image is on record."""
    assert (await alice.call("POST", SAVE, {}))[0] == 202
    await node.follow()
    return await alice.job(1)


def check(schema: dict[str, Any], shown: Any) -> None:
    """That a document has just the members of its schema, and those theirs."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if shown is None:
        assert {"type": "null"} in schema.get("anyOf", [])
        return
    schema = schema.get("anyOf", [schema])[0]
    for name, each in schema.get("properties", {}).items():
        check(each, shown[name]) if isinstance(shown[name], dict) else None
        for row in shown[name] if isinstance(shown[name], list) else ():
            check(each["items"], row)
    if "properties" in schema:
        assert set(schema["properties"]) == set(shown)


async def test_a_job_is_saved(alice: Peer, node: FakeNode) -> None:
    await start(alice, node)
    status, job = await alice.call("POST", SAVE, {})
    (saving,) = job["checkpoint"]["under_way"]
    assert (status, saving["by"], saving["task"], saving["number"]) == (202, "alice", 0, 1)
    check(SCHEMAS["Checkpoint"], job["checkpoint"])
    check(SCHEMAS["Saved"], job["tasks"][0]["checkpoint"])
    await node.follow()
    saved = (await alice.job(1))["checkpoint"]
    assert (saved["rung"], saved["under_way"], saved["last"]["size"]) == (
        *("transparent", []),
        52_428_800,
    )
    check(SCHEMAS["Checkpoint"], saved)
    job = await alice.job(1)
    check(SCHEMAS["Saved"], job["tasks"][0]["checkpoint"])
    assert [each["number"] for each in job["tasks"][0]["checkpoint"]["images"]] == [1]
    await node.follow()
    assert [each.step for each in node.moves] == ["keep"]


async def test_a_checkpoint_outlives_the_manager(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.peer("alpha1", "alice") as alice, grid.peer("alpha1") as peer:
        node = FakeNode(peer)
        async with grid.running():
            await start(alice, node)
            await alice.call("POST", SAVE, {})
        async with grid.running():
            await node.report()
            await node.follow()
        async with grid.running():
            assert (await alice.job(1))["checkpoint"]["last"]["number"] == 1


async def test_what_keeps_one_from_being_made_is_a_sentence(alice: Peer, node: FakeNode) -> None:
    await start(alice, node)
    node.refuses["save"] = "it has a TCP socket"
    job = await save(alice, node)
    assert job["checkpoint"]["failure"] == "alpha1: it has a TCP socket"
    assert (job["state"], job["checkpoint"]["last"]) == ("RUNNING", None)


async def test_one_task_of_a_batch_job_is_saved(alice: Peer, node: FakeNode) -> None:
    await start(alice, node, **{"class": "batch", "total_tasks": 2})
    _, job = await alice.call("POST", SAVE, {"task": 1})
    assert [each["task"] for each in job["checkpoint"]["under_way"]] == [1]
    assert code(await alice.call("POST", SAVE, {"task": 2})) == (404, "not_found")


async def test_a_check_asks_for_nothing(alice: Peer, node: FakeNode) -> None:
    await start(alice, node)
    status, job = await alice.call("POST", SAVE, {"check": True})
    assert (status, len(job["checkpoint"]["under_way"])) == (202, 1)
    assert (await alice.job(1))["checkpoint"]["under_way"] == []
    node.abilities = ()
    await node.report()
    assert code(await alice.call("POST", SAVE, {"check": True})) == (409, "conflict")


@pytest.mark.parametrize("path", [SAVE, RESTART])
async def test_what_is_refused_at_once(
    alice: Peer, bob: Peer, root: Peer, node: FakeNode, path: str
) -> None:
    await start(alice, node)
    assert code(await bob.call("POST", path, {})) == (404, "not_found")
    for body in ({"task": -1}, {"task": "0"}, {"task": True}, {"check": 1}, {"colour": 1}, []):
        assert code(await alice.call("POST", path, body)) == (400, "invalid_request"), body
    strange = path.replace("/1/", "/x/")
    assert code(await alice.call("POST", strange, {})) == (400, "invalid_request")
    assert code(await alice.call("POST", path.replace("/1/", "/7/"), {})) == (404, "not_found")
    node.end([1])
    await node.report()
    assert code(await root.call("POST", path, {})) == (409, "conflict")


async def test_the_grids_root_saves_everybodys(alice: Peer, root: Peer, node: FakeNode) -> None:
    await start(alice, node)
    _, job = await root.call("POST", SAVE, {})
    assert job["checkpoint"]["under_way"][0]["by"] == "root"


async def test_a_restart_needs_something_to_go_on_from(alice: Peer, node: FakeNode) -> None:
    await start(alice, node)
    assert code(await alice.call("POST", RESTART, {})) == (409, "conflict")


async def test_a_job_goes_back_to_its_checkpoint(alice: Peer, node: FakeNode) -> None:
    await start(alice, node)
    await save(alice, node)
    status, job = await alice.call("POST", RESTART, {"check": True})
    assert (status, job["reason"]) == (202, "being restarted by alice")
    assert (await alice.job(1))["reason"] != "being restarted by alice"
    status, job = await alice.call("POST", RESTART, {})
    assert (status, job["tasks"][0]["checkpoint"]["restart_by"]) == (202, "alice")
    check(SCHEMAS["Saved"], job["tasks"][0]["checkpoint"])
    assert code(await alice.call("POST", RESTART, {})) == (409, "conflict")
    await node.follow()
    (wanted,) = [each for each in await node.desired() if each["want"] == "run"]
    assert (wanted["epoch"], wanted["image"]["number"]) == (2, 1)
    await node.follow(wait=0)
    job = await alice.job(1)
    assert (job["state"], job["tasks"][0]["restarts"]) == ("RUNNING", 1)
    assert "went on from checkpoint 1" in job["checkpoint"]["note"]

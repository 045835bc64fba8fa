"""The manager over real TLS: every call, and what is refused as nonsense."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kcms.jobs.migration import Migration
from kcms.jobs.processes import Process
from kcms.jobs.spec import APART, FIELDS
from kcms.manager.api import Api
from kcms.manager.processes import Processes
from tests.integration.managed import FakeNode, Grid, Peer, code

# a job's way -------------------------------------------------------------------------------------


async def test_a_job_goes_its_way(alice: Peer, node: FakeNode) -> None:
    status, job = await alice.submit(arguments=["a b"], name="first")
    assert (status, job["id"], job["user"], job["uid"]) == (201, 1, "alice", 2001)
    assert (job["name"], job["submit_host"], job["cluster"]) == ("first", "alpha1", "alpha")
    await node.report()
    await node.follow()
    assert (await alice.job(1))["state"] == "RUNNING"
    node.end([1], code=3)
    assert await node.report() == [[1, 0, 1]]
    job = await alice.job(1)
    assert (job["state"], job["reason"], job["tasks"][0]["exit"]["code"]) == (
        "FAILED",
        "exit status 3",
        3,
    )
    assert await node.desired() == []


async def test_a_kill_goes_its_way(alice: Peer, root: Peer, node: FakeNode) -> None:
    await node.report()
    await alice.submit()
    await node.follow()
    for _ in range(2):
        status, job = await alice.call("POST", "/v1/jobs/1/kill")
        assert (status, job["state"], job["killed_by"]) == (202, "RUNNING", "alice")
    await node.follow()
    assert (await root.job(1))["state"] == "CANCELLED"
    assert code(await alice.call("POST", "/v1/jobs/1/kill")) == (409, "conflict")


async def test_a_held_job_waits_until_it_is_released(
    alice: Peer, bob: Peer, root: Peer, node: FakeNode
) -> None:
    await node.report()
    _, job = await alice.submit(hold=True)
    assert (job["state"], job["held_by"]) == ("PENDING", "alice")
    assert code(await bob.call("POST", "/v1/jobs/1/release")) == (404, "not_found")
    assert (await root.call("POST", "/v1/jobs/1/hold"))[1]["held_by"] == "root"
    assert code(await alice.call("POST", "/v1/jobs/1/release")) == (403, "forbidden")
    status, job = await root.call("POST", "/v1/jobs/1/release")
    assert (status, job["held_by"]) == (200, None)
    await node.follow()
    assert (await alice.job(1))["state"] == "RUNNING"
    assert code(await alice.call("POST", "/v1/jobs/1/hold")) == (409, "conflict")
    assert code(await bob.submit(dependency=["after:1"])) == (400, "invalid_request")
    assert (await alice.submit(dependency=["after:1"]))[0] == 201


async def test_a_number_that_is_not_given_yet_spoils_nothing_for_who_gets_it(
    alice: Peer, bob: Peer, node: FakeNode
) -> None:
    await node.report()
    for kind in ("afterany", "afterok"):
        assert code(await bob.submit(dependency=[f"{kind}:1"])) == (400, "invalid_request")
    await alice.submit()
    await alice.submit(dependency=["afterany:1"], hold=True)
    await node.follow()
    node.end([1], code=3)
    await node.report()
    assert (await alice.job(1))["state"] == "FAILED"
    assert (await alice.job(2))["reason"] == "held by alice"
    await alice.submit(dependency=["afternotok:1", "afterany:2"])
    assert (await alice.job(3))["reason"] == "waits for job 2 (afterany)"


async def test_what_is_only_checked_is_not_done(alice: Peer, bob: Peer, node: FakeNode) -> None:
    await node.report()
    await alice.submit(hold=True)
    status, job = await alice.call("POST", "/v1/jobs/1/release", {"check": True})
    assert (status, job["held_by"]) == (200, None)
    assert (await alice.job(1))["held_by"] == "alice"
    assert code(await bob.call("POST", "/v1/jobs/1/release", {"check": True}))[0] == 404
    assert code(await alice.call("POST", "/v1/jobs/1/suspend", {"check": True}))[0] == 409
    assert code(await alice.call("POST", "/v1/jobs/1/hold", {"check": 1})) == (
        *(400, "invalid_request"),
    )


async def test_a_key_makes_a_submission_that_can_be_repeated(alice: Peer, bob: Peer) -> None:
    answers = await asyncio.gather(*(alice.submit(key="k") for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 200, 201]
    assert {job["id"] for _, job in answers} == {1}
    assert code(await alice.submit(key="k", priority=3)) == (409, "conflict")
    assert (await bob.submit(key="k"))[0] == 201
    await alice.call("POST", "/v1/jobs/1/kill")
    assert (await alice.submit(key="k"))[1]["state"] == "CANCELLED"


async def test_many_at_once_get_numbers_of_their_own(alice: Peer) -> None:
    answers = await asyncio.gather(*(alice.submit() for _ in range(50)))
    assert sorted(job["id"] for _, job in answers) == list(range(1, 51))
    status, listed = await alice.call("GET", "/v1/jobs?limit=3")
    assert (status, [job["id"] for job in listed["jobs"]]) == (200, [48, 49, 50])
    assert listed["more"] is True
    assert (await alice.call("GET", "/v1/jobs?limit=50"))[1]["more"] is False


async def test_only_a_single_job_is_shown_with_its_environment(alice: Peer) -> None:
    await alice.submit(environment={"A": "1" * 4000})
    _, listed = await alice.call("GET", "/v1/jobs")
    assert "environment" not in listed["jobs"][0]["spec"]
    assert (await alice.job(1))["spec"]["environment"] == {"A": "1" * 4000}


# bad requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "specification"),
        ({"spec": {}}, "executable"),
        ({"spec": {"executable": "x"}}, "absolute"),
        ({"spec": {"executable": "/x", "colour": 1}}, "colour"),
        ({"spec": {"executable": "/x", "priority": "high"}}, "priority"),
        ({"spec": {"executable": "/x", "environment": {"\ud800": "x"}}}, "environment"),
        ({"spec": {"executable": "/x\ud800"}}, "UTF-8"),
        ({"spec": {"executable": "/x"}, "key": ""}, "key"),
        ({"spec": {"executable": "/x"}, "key": "\ud800"}, "key"),
        ({"spec": {"executable": "/x"}, "key": 7}, "key"),
        ({"spec": {"executable": "/x"}, "nice": 1}, "nice"),
        ([], "object"),
    ],
)
async def test_a_bad_submission_gets_one_line(alice: Peer, body: Any, word: str) -> None:
    answer = await alice.call("POST", "/v1/jobs", body)
    assert code(answer) == (400, "invalid_request")
    assert word in answer[1]["error"]["message"]
    assert (await alice.submit())[1]["id"] == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/jobs/x", 400),
        ("GET", "/v1/jobs/-1", 400),
        ("GET", "/v1/jobs/7", 404),
        ("GET", "/v1/jobs/99999999999999999999", 400),
        ("POST", "/v1/jobs/7/kill", 404),
        ("GET", "/v1/jobs?limit=x", 400),
        ("GET", "/v1/jobs?limit=-1", 400),
        ("GET", "/v1/jobs?limit=99999999", 400),
        ("GET", "/v1/jobs?state=ASLEEP", 400),
        ("GET", "/v2/jobs", 404),
        ("DELETE", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=nan", 400),
        ("GET", "/v1/nodes/alpha1/desired?seen=x", 400),
        ("GET", "/v1/nodes/alpha1/desired?wait=-1", 400),
    ],
)
async def test_a_bad_request_has_the_one_shape(
    alice: Peer, method: str, path: str, status: int
) -> None:
    assert code(await alice.call(method, path))[0] == status


async def test_bodies_that_are_too_large_or_no_json(alice: Peer) -> None:
    url = f"{alice.base}/v1/jobs"
    for data, status in ((b"{" * 100_000, 400), (b"\xff", 400), (b" " * 300_000, 413)):
        async with alice.session.post(url, data=data) as answer:
            assert code((answer.status, await answer.json()))[0] == status
    assert (await alice.submit())[1]["id"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"load": {"load_one": None}}, {"slots": "2"}, {"tasks": [{"job": 1}]}, {"tasks": 7}],
)
async def test_a_bad_report_harms_nobody(
    alice: Peer, node: FakeNode, changes: dict[str, Any]
) -> None:
    body = {"boot_id": "b", "release": "1", "slots": 2, "load": {"load_one": 0.0}, "tasks": []}
    answer = await node.peer.call("POST", "/v1/nodes/alpha1/report", {**body, **changes})
    assert code(answer) == (400, "invalid_request")
    await alice.submit()
    await node.report()
    await node.follow()
    assert (await alice.job(1))["state"] == "RUNNING"


# nodes -------------------------------------------------------------------------------------------


async def test_the_question_for_what_is_wanted_is_held_until_it_changes(
    alice: Peer, node: FakeNode
) -> None:
    await node.report()
    assert await node.desired(wait=0) == []
    version = node.version
    assert await node.desired(wait=0) == []
    assert node.version == version
    held = asyncio.create_task(node.desired(wait=50))
    await asyncio.sleep(0.1)
    assert not held.done()
    await alice.submit()
    tasks = await asyncio.wait_for(held, 10)
    assert [(each["job"], each["want"]) for each in tasks] == [(1, "run")]
    assert node.version > version


async def test_nodes_as_they_are_listed(alice: Peer, root: Peer, node: FakeNode) -> None:
    await node.report()
    for peer in (alice, root):
        status, document = await peer.call("GET", "/v1/nodes")
        assert status == 200
        rows = {row["name"]: row for row in document["nodes"]}
        assert {name: row["state"] for name, row in rows.items()} == {
            "alpha1": "UP",
            "alpha2": "DOWN",
            "pc": "DOWN",
        }
        assert (rows["alpha1"]["slots"], rows["alpha1"]["used"]) == (2, 0)
        assert (rows["alpha2"]["slots"], rows["alpha2"]["heard"]) == (0, None)


@pytest.mark.parametrize(
    ("metric", "best"), [("load", "alpha1"), ("queue", "alpha2"), ("load_memory", "alpha2")]
)
async def test_a_job_goes_where_its_load_metric_is_least(
    grid: Grid, alice: Peer, node: FakeNode, metric: str, best: str
) -> None:
    memory = {"cpu_num": 2, "mem_total": 8e6}
    node.load = {**memory, "load_one": 0.2, "proc_run": 9.0, "mem_available": 1e6}
    async with grid.peer("alpha2") as peer:
        other = FakeNode(peer)
        other.load = {**memory, "load_one": 1.2, "proc_run": 0.0, "mem_available": 7e6}
        await node.report()
        await other.report()
        _, job = await alice.submit(load_metric=metric)
        assert (await alice.job(job["id"]))["tasks"][0]["node"] == best


# the document ------------------------------------------------------------------------------------


async def test_the_openapi_document_is_that_of_the_routes(alice: Peer, node: FakeNode) -> None:
    status, document = await alice.call("GET", "/v1/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    described = {
        (method.upper(), path) for path, calls in document["paths"].items() for method in calls
    }
    routes = {
        (route.method, route.resource.canonical)
        for route in Api("alpha", None, None, None).application().router.routes()  # type: ignore[arg-type]
        if route.method != "HEAD" and route.resource is not None
    }
    assert described == routes
    spec = document["components"]["schemas"]["Spec"]
    assert list(spec["properties"]) == [row.name for row in (*FIELDS, *APART)]
    assert spec["required"] == ["executable"]
    schemas = document["components"]["schemas"]
    await node.report()
    await alice.submit()
    await node.follow()
    node.end([1])
    await node.report()
    job = await alice.job(1)
    _, nodes = await alice.call("GET", "/v1/nodes")
    moving = Migration(1, "alpha1", "alpha2", 2, "checking", "alice", 1.0)
    watch = Processes()
    watch.follow("alpha1", [(Process(7, 1, "sh", 1, 0, 1, ""), "alice")], 1.0)
    for name, shown in (
        ("Migration", moving.document()),
        ("Process", watch.documents(None, None, 1, 1.0)[0][0]),
        ("Job", job),
        ("Task", job["tasks"][0]),
        ("Exit", job["tasks"][0]["exit"]),
        ("Node", nodes["nodes"][0]),
    ):
        assert set(schemas[name]["properties"]) == set(shown), name

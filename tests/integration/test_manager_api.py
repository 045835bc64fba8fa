"""The manager over real TLS: who may do what, every call, every refusal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kcms.errors import ConfigError
from kcms.jobs.model import Job
from kcms.jobs.spec import FIELDS
from kcms.manager.api import Api
from kcms.manager.store import Store
from kcms.tls import client_context
from tests.certificates import make_site
from tests.integration.managed import FakeNode, Grid, Peer, headers_of


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[Grid]:
    made = Grid(tmp_path)
    async with made.running():
        yield made


@pytest.fixture
async def alice(grid: Grid) -> AsyncIterator[Peer]:
    async with grid.peer("alpha1", "alice") as peer:
        yield peer


@pytest.fixture
async def bob(grid: Grid) -> AsyncIterator[Peer]:
    async with grid.peer("alpha2", "bob") as peer:
        yield peer


@pytest.fixture
async def root(grid: Grid) -> AsyncIterator[Peer]:
    async with grid.peer("head", "root") as peer:
        yield peer


@pytest.fixture
async def node(grid: Grid) -> AsyncIterator[FakeNode]:
    async with grid.peer("alpha1") as peer:
        yield FakeNode(peer)


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    status, document = answer
    assert set(document) == {"error"}, document
    assert set(document["error"]) == {"code", "message"}
    assert document["error"]["message"]
    assert "\n" not in document["error"]["message"]
    return status, document["error"]["code"]


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


async def test_only_a_single_job_is_shown_with_its_environment(alice: Peer) -> None:
    await alice.submit(environment={"A": "1" * 4000})
    _, listed = await alice.call("GET", "/v1/jobs")
    assert "environment" not in listed["jobs"][0]["spec"]
    assert (await alice.job(1))["spec"]["environment"] == {"A": "1" * 4000}


# whose is what -----------------------------------------------------------------------------------


async def test_bob_sees_nothing_of_alice_and_root_everything(
    alice: Peer, bob: Peer, root: Peer
) -> None:
    await alice.submit()
    await bob.submit()
    assert code(await bob.call("GET", "/v1/jobs/1")) == (404, "not_found")
    assert code(await bob.call("POST", "/v1/jobs/1/kill")) == (404, "not_found")
    assert (await alice.job(1))["killed_by"] is None
    for peer, expected in ((alice, [1]), (bob, [2]), (root, [1, 2])):
        _, listed = await peer.call("GET", "/v1/jobs")
        assert [job["id"] for job in listed["jobs"]] == expected
    _, listed = await root.call("GET", "/v1/jobs?user=bob&state=PENDING")
    assert [job["id"] for job in listed["jobs"]] == [2]
    assert code(await bob.call("GET", "/v1/jobs?user=alice")) == (403, "forbidden")
    assert (await root.call("POST", "/v1/jobs/1/kill"))[1]["killed_by"] == "root"


async def test_another_users_job_is_as_one_that_is_not(alice: Peer, bob: Peer) -> None:
    await alice.submit()
    messages = []
    for number in (1, 2):
        _, answer = await bob.call("GET", f"/v1/jobs/{number}")
        messages.append(answer["error"]["message"].replace(str(number), "N"))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("uid", ["0", "00", "0000000000"])
async def test_root_of_a_node_is_not_the_grids_root(alice: Peer, uid: str) -> None:
    for user in ("root", "toor"):
        headers = {"Kcms-User": user, "Kcms-Uid": uid, "Kcms-Gid": "0"}
        body = {"spec": {"executable": "/x"}}
        answer = await alice.call("POST", "/v1/jobs", body, headers=headers)
        assert code(answer) == (403, "forbidden")
        answer = await alice.call("GET", "/v1/jobs", headers=headers)
        assert code(answer) == (403, "forbidden")


@pytest.mark.parametrize(
    "changes",
    [
        {"Kcms-User": ""},
        {"Kcms-User": "a b"},
        {"Kcms-User": "x" * 99},
        {"Kcms-User": "../x"},
        {"Kcms-Uid": "-1"},
        {"Kcms-Uid": "x"},
        {"Kcms-Uid": str(2**32 - 1)},
        {"Kcms-Uid": "9" * 5000},
        {"Kcms-Gid": ""},
        {"Kcms-Uid": "1e3"},
    ],
)
async def test_a_user_must_be_well_formed(alice: Peer, changes: dict[str, str]) -> None:
    headers = {**headers_of("alice"), **changes}
    assert code(await alice.call("GET", "/v1/jobs", headers=headers)) == (400, "invalid_request")


# certificates and roles --------------------------------------------------------------------------


async def test_a_node_speaks_as_itself_only(grid: Grid, node: FakeNode, root: Peer) -> None:
    for method, call in (("POST", "report"), ("GET", "desired")):
        body: dict[str, Any] | None = {} if method == "POST" else None
        for peer in (node.peer, root):
            answer = await peer.call(method, f"/v1/nodes/alpha2/{call}", body)
            assert code(answer) == (403, "forbidden")
    async with grid.peer("pc", "alice") as lent:
        assert code(await lent.submit()) == (403, "forbidden")
        assert code(await lent.call("GET", "/v1/jobs")) == (403, "forbidden")
        assert (await lent.call("GET", "/v1/ping"))[0] == 200


async def test_a_host_that_is_taken_out_gets_nowhere_on_its_open_connection(
    grid: Grid, alice: Peer, node: FakeNode
) -> None:
    assert (await alice.submit())[0] == 201
    await node.report()
    grid.set_hosts({"alpha2": ["node", "submit"], "head": ["admin"]})
    assert code(await alice.submit()) == (403, "forbidden")
    assert code(await alice.call("GET", "/v1/ping")) == (403, "forbidden")
    path = "/v1/nodes/alpha1/desired?seen=0&wait=0"
    assert code(await node.peer.call("GET", path)) == (403, "forbidden")
    grid.set_hosts({"alpha1": ["submit"]})
    assert (await alice.submit())[0] == 201
    assert code(await node.peer.call("GET", path)) == (403, "forbidden")


async def test_a_damaged_list_of_hosts_leaves_the_last_one_in_force(
    grid: Grid, alice: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await alice.submit())[0] == 201
    for content in ("{", '{"hosts": {"alpha1": {"roles": ["king"]}}}', "[]", "\udcff"):
        caplog.clear()
        grid.hosts_file.write_bytes(content.encode("utf-8", "surrogateescape"))
        assert (await alice.submit())[0] == 201
        assert (await alice.submit())[0] == 201
        assert len([r for r in caplog.records if r.name == "kcms.manager.hosts"]) == 1
    grid.hosts_file.unlink()
    assert (await alice.submit())[0] == 201


async def test_strangers_get_nothing_and_fill_no_log(
    grid: Grid, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    foreign = make_site(tmp_path / "foreign")
    claimed = foreign.issue("alpha1", uris=("kcms://admin/head",))
    expired_free = client_context(grid.ca, *claimed)
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.load_verify_locations(grid.ca)
    for context in (expired_free, nobody):
        async with grid.peer("alpha1", "root", context) as peer:
            with pytest.raises(aiohttp.ClientError):
                await peer.call("GET", "/v1/ping")
    reader, writer = await asyncio.open_connection("127.0.0.1", grid.port)
    writer.write(b"GET /v1/ping HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert b"200" not in await reader.read()
    writer.close()
    await asyncio.sleep(0.1)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert not any(record.exc_info for record in caplog.records)


async def test_an_identity_that_is_not_on_the_list_gets_nowhere(grid: Grid) -> None:
    for name, uris in (
        ("gone", ("kcms://admin/gone",)),
        ("none", ()),
        ("beta", ("kcms://manager/alpha",)),
    ):
        pair = grid.site.issue(name, uris=uris)
        async with grid.peer("x", "root", client_context(grid.ca, *pair)) as peer:
            for path in ("/v1/ping", "/v1/jobs", "/v1/nodes", "/v1/openapi.json"):
                assert code(await peer.call("GET", path)) == (403, "forbidden")


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

        def write(store: Store, job: Job) -> None:
            real(store, job)
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
    assert list(spec["properties"]) == [row.name for row in FIELDS]
    assert spec["required"] == ["executable"]
    schemas = document["components"]["schemas"]
    await node.report()
    await alice.submit()
    await node.follow()
    node.end([1])
    await node.report()
    job = await alice.job(1)
    _, nodes = await alice.call("GET", "/v1/nodes")
    for name, shown in (
        ("Job", job),
        ("Task", job["tasks"][0]),
        ("Exit", job["tasks"][0]["exit"]),
        ("Node", nodes["nodes"][0]),
    ):
        assert set(schemas[name]["properties"]) == set(shown), name

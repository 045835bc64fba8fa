"""The manager over real TLS: who may do what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kcms.tls import client_context
from tests.certificates import make_site
from tests.integration.managed import FakeNode, Grid, Peer, code, headers_of

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

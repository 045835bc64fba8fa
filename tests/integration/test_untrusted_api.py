"""What an untrusted caller may put into a call of the API: every answer is one of its own words."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from kcms.door import Guard
from kcms.listener import Door, Listener, bound, listening
from kcms.manager import openapi
from kcms.tls import client_context, server_context
from tests import certificates
from tests.certificates import make_site
from tests.integration.face import ME, gateway
from tests.integration.managed import FakeNode, Grid, Peer, code, free_port
from tests.integration.test_release_before import of_head

# every member of every call ----------------------------------------------------------------------

DOCUMENT = openapi.document()
CALLS = [
    (method.upper(), path, call)
    for path, methods in DOCUMENT["paths"].items()
    for method, call in methods.items()
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(
        ["", "\0", "\n", "../..", "/", "a" * 5000, "\u202e", "NaN", "1e999", "-1", "0"]
    ),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def bodies(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Objects with the members of a schema, each of whatever type; and what is no such object."""
    members = resolved(schema).get("properties", {})
    built = {name: st.one_of(ANYTHING, bodies(each)) for name, each in members.items()}
    if not built:
        return ANYTHING
    return st.fixed_dictionaries({}, optional=built) | ANYTHING


REPORT_MEMBERS = ("boot_id", "release", "slots", "load", "tasks", "moves", "processes", "mover")
REPORT = st.fixed_dictionaries({}, optional=dict.fromkeys(REPORT_MEMBERS, ANYTHING))
TASK = st.fixed_dictionaries(
    dict.fromkeys(("job", "task", "epoch", "phase"), SCALARS),
    optional=dict.fromkeys(("start_time", "exit", "message", "store", "cause"), ANYTHING),
)
NODES_OWN = st.builds(
    lambda tasks: {"boot_id": "b", "release": "1", "slots": 2, "load": {}, "tasks": tasks},
    st.lists(TASK, max_size=3),
)


def body_of(path: str, call: dict[str, Any]) -> st.SearchStrategy[Any]:
    if path.endswith("/report"):
        return REPORT | NODES_OWN | ANYTHING
    content = call.get("requestBody", {}).get("content", {}).get("application/json")
    return bodies(content["schema"]) if content else ANYTHING


QUERY = st.dictionaries(
    st.sampled_from(["state", "user", "limit", "before", "node", "seen"]),
    st.one_of(st.text(max_size=30), st.integers(-(2**70), 2**70).map(str), st.just("1e999")),
    max_size=3,
)
PATHS = st.one_of(
    st.sampled_from(
        ["1", "0", "-1", "9" * 40, "1e3", "%00", "..%2f..", "1;2", "\u0661", "alpha1", "a b"]
    ),
    st.text(min_size=1, max_size=20),
)


def quoted(text: str) -> str:
    return "".join(f"%{each:02x}" for each in text.encode("utf-8", "surrogatepass"))


@pytest.fixture(scope="module")
def loop_of_module() -> Any:
    """Hypothesis calls a function many times; one loop and one manager serve them all."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def manager(loop_of_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    grid = Grid(tmp_path_factory.mktemp("grid"))
    stack = contextlib.AsyncExitStack()

    async def up() -> tuple[Peer, ...]:
        await stack.enter_async_context(grid.running())
        peers = [
            await stack.enter_async_context(grid.peer(*who))
            for who in (("alpha1", "alice"), ("alpha1",), ("head", "root"))
        ]
        await FakeNode(peers[1]).report()
        await peers[0].submit()
        config = of_head(grid, grid.directory)
        await stack.enter_async_context(gateway(config))
        connector = aiohttp.UnixConnector(config.socket)
        session = aiohttp.ClientSession(connector=connector, headers={"Kcms-As": ME.pw_name})
        peers.append(Peer("gateway", await stack.enter_async_context(session), "http://gateway"))
        return tuple(peers)

    found = loop_of_module.run_until_complete(up())
    yield found
    loop_of_module.run_until_complete(stack.aclose())


@pytest.mark.parametrize(("method", "path", "call"), CALLS, ids=lambda each: str(each)[:40])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_call_answers_whatever_it_is_given(
    loop_of_module: Any, manager: Any, method: str, path: str, call: dict[str, Any], data: Any
) -> None:
    alice, node, root, socket = manager
    callers = [node] if path.endswith(("/report", "/desired")) else [alice, root, socket]
    peer = data.draw(st.sampled_from(callers))
    name = st.just("alpha1") if "{name}" in path else st.just("1")
    place = re.sub(r"\{\w+\}", lambda _: quoted(data.draw(st.one_of(name, PATHS))), path)
    query = {} if path.endswith("/desired") else data.draw(QUERY)
    given_body = data.draw(body_of(path, call)) if method == "POST" else None
    content = None if given_body is None else json.dumps(given_body)

    async def asked() -> tuple[int, Any]:
        url = f"{peer.base}{place}"
        headers = {"Content-Type": "application/json"}
        where = URL(url, encoded=True).update_query(query)
        async with peer.session.request(method, where, data=content, headers=headers) as answer:
            return answer.status, json.loads(await answer.text())

    status, document = loop_of_module.run_until_complete(asked())
    assert status < 500, (status, document, place, query, content)
    if status >= 400:
        assert set(document) == {"error"}
        assert set(document["error"]) == {"code", "message"}
        assert "\n" not in document["error"]["message"]
        assert len(document["error"]["message"]) < 6000
    jobs = loop_of_module.run_until_complete(root.call("GET", "/v1/jobs?limit=1"))
    assert jobs[0] == 200  # it is there for others


# certificates ------------------------------------------------------------------------------------


async def refused_by_tls(grid: Grid, pair: tuple[str, str]) -> None:
    async with grid.peer("alpha1", "alice", client_context(grid.ca, *pair)) as peer:
        with pytest.raises(aiohttp.ClientError):
            await peer.call("GET", "/v1/jobs")


async def test_forged_certificates_get_no_word(
    grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own making, of another CA of the same name, over, and not begun."""
    uris = ("kcms://submit/alpha1", "kcms://admin/head")
    alone = make_site(tmp_path / "alone")
    await refused_by_tls(grid, (alone.ca_path, str(tmp_path / "alone" / "ca.key")))
    await refused_by_tls(grid, make_site(tmp_path / "other").issue("alpha1", uris))
    for name, days in (("over", -60), ("early", 60)):
        moved = certificates.NOW + datetime.timedelta(days=days)
        monkeypatch.setattr(certificates, "NOW", moved)
        pair = grid.site.issue(name, uris)
        monkeypatch.undo()
        await refused_by_tls(grid, pair)


async def test_a_certificate_of_a_host_signs_no_other(grid: Grid, tmp_path: Path) -> None:
    """What a leaf of the right CA signs is nobody's, whatever it says of itself."""
    leaf, key = grid.certificate("alpha1")
    forged = make_site(tmp_path / "forged")
    forged.key = certificates.serialization.load_pem_private_key(  # type: ignore[assignment]
        Path(key).read_bytes(), None
    )
    forged.certificate = x509.load_pem_x509_certificate(Path(leaf).read_bytes())
    pair = forged.issue("head", ("kcms://admin/head",))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(Path(pair[0]).read_bytes() + Path(leaf).read_bytes())
    await refused_by_tls(grid, (str(chain), pair[1]))


async def test_the_right_ca_and_the_wrong_role_is_told_so(grid: Grid, alice: Peer) -> None:
    """A workstation that was lent has role node alone: its root may speak for nobody."""
    await alice.submit()
    async with grid.peer("pc", "alice") as lent:
        for method, path, body in (
            ("POST", "/v1/jobs", {"spec": {"executable": "/shared/x"}}),
            ("GET", "/v1/jobs", None),
            ("GET", "/v1/jobs/1", None),
            ("POST", "/v1/jobs/1/kill", {}),
            ("POST", "/v1/jobs/1/hold", {}),
            ("POST", "/v1/jobs/1/migrate", {"node": "pc"}),
            ("POST", "/v1/jobs/1/checkpoint", {}),
            ("POST", "/v1/jobs/1/restart", {}),
            ("GET", "/v1/nodes", None),
            ("GET", "/v1/balance", None),
            ("GET", "/v1/processes", None),
            ("POST", "/v1/nodes/alpha1/state", {"state": "drain", "reason": "x"}),
            ("GET", "/v1/nodes/alpha1/leaving", None),
            ("POST", "/v1/nodes/alpha1/report", {}),
            ("GET", "/v1/nodes/alpha1/desired?seen=0&wait=0", None),
            ("POST", "/v1/password", {"password": "of another"}),
            ("POST", "/v1/login", {"user": "alice", "password": "guess"}),
        ):
            assert code(await lent.call(method, path, body)) == (403, "forbidden"), path
    assert (await alice.job(1))["killed_by"] is None


async def test_a_node_ends_and_reports_no_task_of_another(grid: Grid, alice: Peer) -> None:
    """alpha1 runs the job; pc says that it has ended there, and then that it was moved there."""
    async with grid.peer("alpha1") as peer, grid.peer("pc") as lent:
        node, other = FakeNode(peer), FakeNode(lent)
        await node.report()
        await alice.submit()
        await node.follow()
        (key,) = node.tasks
        other.tasks = dict(node.tasks)
        other.end([1], code=0)
        (ended,) = other.tasks.values()
        for epoch in (0, 1, 2, 99):
            other.tasks = {(1, 0, epoch, key[3]): replace(ended, epoch=epoch)}
            await other.report()
            job = await alice.job(1)
            assert (job["state"], job["tasks"][0]["node"]) == ("RUNNING", "alpha1")
        assert [each["want"] for each in await node.desired(wait=0)] == ["run"]
        assert (await alice.submit())[1]["id"] == 2  # no number was wasted for what it said


# a door of its own -------------------------------------------------------------------------------


class Silent(asyncio.Protocol):
    """A server that never answers."""


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[tuple[Listener, int, ssl.SSLContext]]:
    site, port = make_site(tmp_path / "site"), free_port()
    context = server_context(site.ca_path, *site.issue("manager"))
    made = Listener(bound("127.0.0.1", port), Silent, context, 4, handshake=0.4, quiet=0.4)
    async with listening(made):
        yield made, port, client_context(site.ca_path, *site.issue("alpha1"))


async def test_who_shakes_hands_and_asks_nothing_is_let_go(
    door: tuple[Listener, int, ssl.SSLContext],
) -> None:
    listener, port, context = door
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    await asyncio.sleep(0.1)
    assert listener.held == {"127.0.0.1": 1}
    writer.write(b"GET / HT")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await asyncio.sleep(0.1)
    assert not listener.held


async def test_who_does_not_shake_hands_is_let_go_and_others_come_in(
    door: tuple[Listener, int, ssl.SSLContext],
) -> None:
    listener, port, context = door
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    for reader, _ in idle:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert not listener.held
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    await asyncio.sleep(0.1)
    assert listener.held == {"127.0.0.1": 1}
    writer.close()
    for _, each in idle:
        each.close()


def test_a_guard_gives_on_no_more_than_its_server_keeps_up_with() -> None:
    class Server(asyncio.Protocol):
        def __init__(self) -> None:
            self._messages: list[bytes] = []
            self.taken = 0

        def data_received(self, data: bytes) -> None:
            self._messages += [b"x"] * data.count(b"\n")
            self.taken += len(data)

    class Transport(asyncio.Transport):
        reading = True

        def pause_reading(self) -> None:
            self.reading = False

        def resume_reading(self) -> None:
            self.reading = True

    server, transport = Server(), Transport()

    async def scenario() -> None:
        guard = Guard(Door(lambda: server, 60.0, lambda: None))
        guard.connection_made(transport)
        guard.data_received(b"y\n" * 100_000)
        assert server.taken <= 16384
        assert not transport.reading
        for _ in range(100):
            server._messages.clear()
            guard.rest()
            await asyncio.sleep(0)
        assert server.taken == 200_000
        assert transport.reading
        guard.work()

    asyncio.run(scenario())

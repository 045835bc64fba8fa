"""The node's link over real TLS on loopback, and what its daemon makes of the answers."""

from __future__ import annotations

import json
import logging
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from kcms.config import NodeConfig
from kcms.errors import ConfigError, ProtocolError, Unavailable
from kcms.jobs.migration import WantedMove
from kcms.jobs.model import Exit, NodeReport, TaskReport, WantedTask
from kcms.node import daemon, link
from kcms.node.core import TaskId
from kcms.node.moves import MoveId
from tests.certificates import make_site
from tests.lab_node.fake_manager import application

STORE = "5e1f0a2b"
TASK = TaskReport(
    7, 0, 1, "ended", 5.0, Exit(3, None, 6.0, 1, 0, {"cpu_seconds": 0.1}), store=STORE
)
REPORT = NodeReport("boot", "0.1.0", 4, {"load_one": 0.5}, (TASK,))
RUN = WantedTask(7, 0, 1, "run", "alice", 2001, 2001, {"executable": "/bin/true"}, store=STORE)
T = TaskId(7, 0, 1, STORE)


class Manager:
    """The test's manager, as ``name`` of the certificates; its files are in ``directory``."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        site = make_site(directory / "tls")
        served = site.issue("server", uris=(f"kcms://{name}",))
        self.ca = site.ca_path
        self.node = site.issue("node", uris=("kcms://node/n1",))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_verify_locations(self.ca)
        self.context.load_cert_chain(*served)
        self.context.verify_mode = ssl.CERT_REQUIRED

    async def __aenter__(self) -> Manager:
        self.runner = web.AppRunner(application(self.directory))
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.context).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    def config(self) -> NodeConfig:
        return NodeConfig(
            host="n1",
            cluster="c1",
            manager_address="127.0.0.1",
            manager_port=self.runner.addresses[0][1],
            state_directory=str(self.directory / "state"),
            tls_ca=self.ca,
            tls_certificate=self.node[0],
            tls_key=self.node[1],
        )

    def write(self, name: str, document: object) -> None:
        (self.directory / name).write_text(json.dumps(document))


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    async with Manager(tmp_path, "manager/c1") as made:
        yield made


async def test_report_arrives_whole_and_forget_comes_back(manager: Manager) -> None:
    manager.write("forget.json", [[7, 0, 1, STORE]])
    async with link.Link(manager.config()) as made:
        assert await made.report(REPORT) == frozenset({T})
    assert NodeReport.parse(json.loads((manager.directory / "reports").read_text())) == REPORT


async def test_desired_is_held_until_it_changes(manager: Manager) -> None:
    manager.write("desired.json", {"version": 8, "store": STORE, "tasks": [RUN.document()]})
    async with link.Link(manager.config()) as made:
        assert await made.desired(0, 20.0) == link.Desired(8, STORE, {T: RUN}, {})
        assert await made.desired(8, 0.0) == link.Desired(8, STORE, {T: RUN}, {})


async def test_moves_are_wanted_beside_the_tasks(manager: Manager) -> None:
    move = WantedMove(7, 0, 1, STORE, 3, "check", "a", "b", "alice", 2001, 2001, {})
    word = {"version": 9, "store": STORE, "tasks": [], "moves": [move.document()]}
    manager.write("desired.json", word)
    async with link.Link(manager.config()) as made:
        assert (await made.desired(0, 0.0)).moves == {MoveId(T, 3): move}
    manager.write("desired.json", {**word, "moves": [{**move.document(), "store": "0badcafe"}]})
    async with link.Link(manager.config()) as made:
        with pytest.raises(ProtocolError, match="another job store"):
            await made.desired(0, 0.0)


@pytest.mark.parametrize("name", ["manager/c2", "node/c1"])
async def test_any_other_certificate_is_no_manager(tmp_path: Path, name: str) -> None:
    async with Manager(tmp_path, name) as stranger, link.Link(stranger.config()) as made:
        with pytest.raises(Unavailable, match="not that of manager c1"):
            await made.report(REPORT)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    "forget", [7, [[7, 0, 1]], [["7", 0, 1, STORE]], [[7, 0, 1, 1]], [[7, 0, 1, ""]]]
)
async def test_nonsense_is_a_protocol_error(manager: Manager, forget: object) -> None:
    manager.write("forget.json", forget)
    async with link.Link(manager.config()) as made:
        with pytest.raises(ProtocolError, match="makes no sense"):
            await made.report(REPORT)


@pytest.mark.parametrize("store", [None, "0badcafe"])
async def test_tasks_of_another_store_than_the_manager_s_are_nonsense(
    manager: Manager, store: str | None
) -> None:
    manager.write("desired.json", {"version": 8, "store": store, "tasks": [RUN.document()]})
    async with link.Link(manager.config()) as made:
        with pytest.raises(ProtocolError, match="another job store"):
            await made.desired(0, 0.0)


async def test_nobody_there_is_unavailable(manager: Manager) -> None:
    config = manager.config()
    await manager.runner.cleanup()
    async with link.Link(config) as made:
        with pytest.raises(Unavailable):
            await made.desired(0, 0.0)


async def test_outage_is_said_once_and_ends_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    answers = [*[Unavailable("refused")] * 6, None, RuntimeError]
    waited: list[float] = []

    async def attempt() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    caplog.set_level(logging.INFO, "kcms.node")
    with pytest.raises(RuntimeError):
        await link.retrying("report", attempt, link.Outage(), sleep)
    assert [each.message for each in caplog.records] == [
        "cannot report, trying on: refused",
        "the manager is reached again",
    ]
    bounds = [0.5, 1.0, 2.0, 4.0, 8.0, 15.0]
    assert all(most / 2 <= got <= most for got, most in zip(waited, bounds, strict=True))


def tasks(state: daemon._State) -> dict[TaskId, WantedTask]:
    assert state.word is not None
    return state.word.tasks


def test_forgotten_task_is_not_wanted_by_an_answer_under_way() -> None:
    state = daemon._State()
    state.hear_wanted(link.Desired(1, STORE, {T: RUN}, {}))
    state.set_reports((TASK,))
    state.hear_forget(frozenset({T}))
    assert state.begin_forgetting() == {T}
    assert tasks(state) == {}
    state.hear_wanted(link.Desired(2, STORE, {T: RUN}, {}))
    assert tasks(state) == {}
    state.hear_wanted(link.Desired(3, STORE, {}, {}))
    assert state.forgotten == set()


def test_only_what_is_over_is_forgotten() -> None:
    state = daemon._State()
    state.hear_wanted(link.Desired(1, STORE, {T: RUN}, {}))
    state.set_reports((TaskReport(7, 0, 1, "running", store=STORE),))
    state.hear_forget(frozenset({T, TaskId(9, 0, 1)}))
    assert state.begin_forgetting() == set()
    assert tasks(state) == {T: RUN}


def test_second_daemon_on_the_same_records_is_refused(tmp_path: Path) -> None:
    first = daemon._only_one(tmp_path)
    try:
        with pytest.raises(ConfigError, match="another node daemon uses"):
            daemon._only_one(tmp_path)
    finally:
        os.close(first)
    os.close(daemon._only_one(tmp_path))

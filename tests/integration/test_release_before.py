"""This release beside the one before it: its documents as recorded, and its code where git has it.

The recorded documents were written by hand from the model of that release; the other tests run its
manager, its gateway and its node's link as they were.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.cli.jobs import job_page, job_table
from kcms.cli.nodes import node_table
from kcms.config import GatewayConfig
from kcms.jobs.migration import MoveReport
from kcms.jobs.model import NodeReport, TaskReport
from kcms.jobs.processes import Process
from kcms.node import link
from kcms.node.core import TaskId
from tests.certificates import Site, make_site
from tests.integration.face import ME, gateway, gateway_config, manager_tls, stub
from tests.integration.managed import MOVER, FakeNode, Grid, Peer
from tests.integration.test_face import Face, answer
from tests.integration.test_node_link import Manager

ROOT = Path(__file__).resolve().parents[2]
BEFORE = os.environ.get("KCMS_E2E_FROM", "0aa5f79")
SAID: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "release-before.json").read_text(encoding="utf-8")
)
STORE = SAID["desired"]["store"]
TLS = ("tls_ca", "tls_certificate", "tls_key")


def kinds(document: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in document.items()}


# its nodes under our manager ---------------------------------------------------------------------


def report(store: str = "", *tasks: int) -> dict[str, Any]:
    """The recorded report, with these of its tasks, as of that job store."""
    named = [{**SAID["report"]["tasks"][each], "store": store} for each in tasks]
    return {**SAID["report"], "tasks": named}


def figures(record: dict[str, Any]) -> dict[str, Any]:
    """What a record of an end counts; where its figures came from was one word then."""
    return {name: value for name, value in record["usage"].items() if name != "source"}


async def tell(peer: Peer, said: dict[str, Any]) -> Any:
    status, told = await peer.call("POST", f"/v1/nodes/{peer.name}/report", said)
    assert status == 200, told
    return told


async def test_a_node_of_it_is_given_what_it_knows_and_is_understood(
    grid: Grid, alice: Peer
) -> None:
    async with grid.peer("alpha1") as peer:
        await tell(peer, report())
        for _ in range(2):
            await alice.submit(arguments=["a"], environment={"A": "ä"})
        _, wanted = await peer.call("GET", "/v1/nodes/alpha1/desired?seen=0&wait=0")
        assert [each["job"] for each in wanted["tasks"]] == [1, 2]
        for each in wanted["tasks"]:
            assert kinds(each) == kinds(SAID["desired"]["tasks"][0])  # it takes no other members
        told = await tell(peer, report(wanted["store"], 0, 1))
        assert told == {"forget": [[2, 0, 1, wanted["store"]]]}
    first, second = await alice.job(1), await alice.job(2)
    assert (first["state"], first["start_time"]) == ("RUNNING", 1700000001.5)
    assert (second["state"], second["reason"]) == ("FAILED", "exit status 3")
    assert second["tasks"][0]["exit"]["usage"] == figures(SAID["report"]["tasks"][1]["exit"])


async def test_a_job_that_begins_anew_on_a_node_of_it_is_told_as_any(
    grid: Grid, alice: Peer
) -> None:
    async with grid.peer("alpha1") as peer:
        await tell(peer, report())
        await alice.submit()
        path = "/v1/nodes/alpha1/desired?seen=0&wait=0"
        store = (await peer.call("GET", path))[1]["store"]
        await tell(peer, report(store, 0))
        status, told = await alice.call("POST", "/v1/jobs/1/requeue")
        assert status == 200, told
        over = {**SAID["report"]["tasks"][1], "job": 1, "store": store}
        await tell(peer, {**SAID["report"], "tasks": [over]})
        (task,) = (await alice.job(1))["tasks"]
        assert task["restarts"] == 1
        (wanted,) = (await peer.call("GET", path))[1]["tasks"]
        assert (wanted["want"], kinds(wanted)) == ("run", kinds(SAID["desired"]["tasks"][0]))


async def test_what_a_node_of_it_cannot_do_is_refused_in_a_sentence(
    grid: Grid, alice: Peer
) -> None:
    async with grid.peer("alpha1") as peer, grid.peer("alpha2") as other:
        await tell(peer, report())
        await alice.submit()
        await alice.submit(time_limit="1h")
        _, wanted = await peer.call("GET", "/v1/nodes/alpha1/desired?seen=0&wait=0")
        await tell(peer, report(wanted["store"], 0))
        await tell(other, report())
    for call, body, said in (
        ("suspend", {}, "whose release cannot suspend jobs"),
        ("migrate", {"node": "alpha2"}, "cannot move jobs"),
    ):
        status, told = await alice.call("POST", f"/v1/jobs/1/{call}", body)
        assert (status, told["error"]["code"]) == (409, "conflict")
        assert said in told["error"]["message"]
    assert (await alice.job(2))["state"] == "PENDING"
    assert "limit" in (await alice.job(2))["reason"]


# our node under its manager ----------------------------------------------------------------------


async def test_a_manager_of_it_is_understood_by_our_node(tmp_path: Path) -> None:
    async with Manager(tmp_path, "manager/c1") as manager:
        manager.write("desired.json", SAID["desired"])
        manager.write("forget.json", SAID["report_answer"]["forget"])
        async with link.Link(manager.config()) as made:
            word = await made.desired(0, 0.0)
            forget = await made.report(NodeReport("boot", "2", 2, {}, ()))
    assert (word.version, word.store, word.moves) == (1700000000123, STORE, {})
    run, kill = (word.tasks[TaskId(number, 0, 1, STORE)] for number in (7, 8))
    assert (run.want, run.spec, run.suspend) == ("run", SAID["desired"]["tasks"][0]["spec"], False)
    assert (kill.want, kill.grace) == ("kill", 5.0)
    assert forget == {TaskId(2, 0, 1, STORE)}


def test_our_report_says_all_that_a_manager_of_it_asks_for() -> None:
    exit_ = SAID["report"]["tasks"][1]["exit"]
    said = NodeReport.parse(SAID["report"])
    told = json.loads(json.dumps(said.document()))
    for ours, its in (
        (told, SAID["report"]),
        *zip(told["tasks"], SAID["report"]["tasks"], strict=True),
    ):
        assert {name: ours[name] for name in its if name not in ("tasks", "exit")} == {
            name: value for name, value in its.items() if name not in ("tasks", "exit")
        }
    again = {name: told["tasks"][1]["exit"][name] for name in exit_}
    assert again == {**exit_, "usage": figures(exit_)}


# its clients before our manager, ours before its -------------------------------------------------


async def test_a_gateway_of_it_is_served(alice: Peer, node: FakeNode) -> None:
    status, job = await alice.call("POST", "/v1/jobs", SAID["submission"])
    assert status == 201
    assert job.keys() >= SAID["job"].keys()
    assert {name: job["spec"][name] for name in SAID["job"]["spec"]} == SAID["job"]["spec"]
    assert (await alice.call("POST", "/v1/jobs", SAID["submission"]))[0] == 200
    await node.report()
    await node.follow()
    (listed,) = (await alice.call("GET", "/v1/jobs"))[1]["jobs"]
    its = SAID["listing"]["jobs"][0]
    assert listed.keys() >= its.keys()
    assert listed["spec"].keys() >= its["spec"].keys()
    assert listed["tasks"][0].keys() >= its["tasks"][0].keys()
    shown = (await alice.call("GET", "/v1/nodes"))[1]["nodes"][0]
    assert shown.keys() >= SAID["nodes"]["nodes"][0].keys()
    assert (await alice.call("POST", "/v1/jobs/1/kill", {}))[0] == 202


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
async def face(site: Site, tmp_path: Path) -> AsyncIterator[Face]:
    context = manager_tls(site)
    async with (
        stub(context) as manager,
        gateway(gateway_config(site, tmp_path, {"alpha": manager.port})),
    ):
        yield Face(tmp_path, manager)


async def test_a_manager_of_it_is_asked_for_what_it_knows(face: Face) -> None:
    face.manager.answers = [answer(201, SAID["job"]), answer(400, SAID["unknown_field"])]
    job, new = await face.call(lambda client: client.submit(face.spec(priority=3)))
    assert (job, new) == (SAID["job"], True)
    assert face.manager.asked[0][3]["spec"].keys() <= SAID["submission"]["spec"].keys()
    error = await face.refused(lambda client: client.submit(face.spec(hold=True)))
    assert (error.code, error.message[:21]) == ("invalid_request", "unknown field 'hold';")


async def test_what_a_manager_of_it_shows_is_shown(face: Face) -> None:
    face.manager.answers = [answer(200, SAID[each]) for each in ("listing", "job", "nodes")]
    jobs, more = await face.call(lambda client: client.jobs_told())
    assert (jobs, more) == (SAID["listing"]["jobs"], False)
    assert "FAILED" in job_table(jobs, 1700000100.0)
    assert "exit 3" in job_page(await face.call(lambda client: client.job(7)), 1700000100.0)
    assert "alpha1  UP" in node_table(await face.call(lambda client: client.nodes()), 1700000100.0)


async def test_what_a_manager_of_it_cannot_do_is_a_sentence(face: Face) -> None:
    calls = [
        lambda client: client.act("hold", 7),
        lambda client: client.migrate(7, "alpha2"),
        lambda client: client.processes(),
        lambda client: client.set_password("a password"),
    ]
    face.manager.answers = [answer(404, SAID["unknown_call"]) for _ in calls]
    for each in calls:
        error = await face.refused(each)
        assert (error.code, error.status) == ("unsupported", 501)
        assert error.message.startswith("the manager of alpha is of an older release")


# its own code ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of the release before."""
    command = ["git", "-C", str(ROOT), "archive", BEFORE, "app"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this tree has no commit {BEFORE}: {done.stderr.decode().strip()}")
    made = tmp_path_factory.mktemp("before")
    subprocess.run(["tar", "-x", "-C", str(made)], input=done.stdout, check=True)
    return made / "app"


@contextmanager
def its_daemon(tree: Path, name: str, directory: Path, **settings: Any) -> Iterator[None]:
    """A daemon of that release, until the end of the context."""
    tables = settings.pop("clusters", [])
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    for each in tables:
        lines += ["[[clusters]]", *(f"{key} = {json.dumps(value)}" for key, value in each.items())]
    file = directory / f"{name}.toml"
    file.write_text("\n".join(lines))
    command = [sys.executable, "-m", "kcms", "daemon", name, "--config", str(file)]
    with (directory / f"{name}.log").open("w") as log:
        running = subprocess.Popen(command, env={"PYTHONPATH": str(tree)}, stderr=log)
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


async def until(call: Any, wanted: int) -> Any:
    """What a call answers, once its status is the wanted one."""
    end = time.monotonic() + 30
    while True:
        try:
            found = await call()
            if found[0] == wanted:
                return found[1]
        except OSError:
            found = None
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)


ASK = """
import asyncio, dataclasses, json, sys
from kcms.config import NodeConfig
from kcms.jobs.model import NodeReport, TaskReport
from kcms.node.link import Link

async def main():
    config = NodeConfig(**json.loads(sys.argv[1]))
    async with Link(config) as link:
        version, store, wanted = await link.desired(0, 0.0)
        tasks = tuple(
            TaskReport(*task[:3], phase="running", start_time=1000.0, store=task.store)
            for task in wanted
        )
        said = NodeReport("boot", "1", 2, {"load_one": 0.1, "cpu_num": 2}, tasks)
        await link.report(said)
        print(json.dumps([each.document() for each in wanted.values()]))

asyncio.run(main())
"""


async def test_its_node_takes_what_our_manager_wants(
    tree: Path, grid: Grid, alice: Peer, node: FakeNode
) -> None:
    await node.report()
    await alice.submit()
    certificate, key = grid.certificate("alpha1")
    config = {"host": "alpha1", "cluster": "alpha", "manager_address": "127.0.0.1"}
    config |= {"tls_ca": grid.ca, "tls_certificate": certificate, "tls_key": key}
    command = [sys.executable, "-c", ASK, json.dumps({**config, "manager_port": grid.port})]
    asked = await asyncio.create_subprocess_exec(
        *command, env={"PYTHONPATH": str(tree)}, stdout=-1, stderr=-1
    )
    said, problems = await asyncio.wait_for(asked.communicate(), 60)
    assert asked.returncode == 0, problems.decode()
    assert [(each["job"], each["want"]) for each in json.loads(said)] == [(1, "run")]
    assert (await alice.job(1))["start_time"] == 1000.0


def of_head(grid: Grid, directory: Path) -> GatewayConfig:
    """The gateway of the head, where root may submit as itself."""
    certificate, key = grid.certificate("head")
    config = gateway_config(grid.site, directory, {"alpha": grid.port})
    return replace(config, host="head", tls_certificate=certificate, tls_key=key)


@pytest.fixture
async def its_manager(tree: Path, tmp_path: Path) -> AsyncIterator[Grid]:
    grid = Grid(tmp_path)
    config = grid.config()
    names = ("cluster", "address", "port", "state_directory", "hosts_file", *TLS)
    settings = {name: getattr(config, name) for name in names}
    with its_daemon(tree, "manager", tmp_path, **settings):
        async with grid.peer("alpha1", "alice") as peer:
            await until(lambda: peer.call("GET", "/v1/ping"), 200)
        yield grid


async def test_our_node_and_gateway_work_with_its_manager(
    its_manager: Grid, tmp_path: Path
) -> None:
    move = MoveReport(9, 0, 1, "", 1, "check", True)
    process = Process(5, 9, 0, 1, "", "sh", True, 7)
    async with its_manager.peer("alpha1") as peer, gateway(of_head(its_manager, tmp_path)):
        said = NodeReport("b", "2", 2, {"load_one": 0.1}, (), (move,), (process,), MOVER, ("x",))
        await tell(peer, said.document())
        face = Face(tmp_path, None)  # type: ignore[arg-type]
        job, new = await face.call(lambda client: client.submit(face.spec()))
        assert (job["user"], new) == (ME.pw_name, True)
        _, wanted = await peer.call("GET", "/v1/nodes/alpha1/desired?seen=0&wait=0")
        task = TaskReport(job["id"], 0, 1, "running", 1000.0, store=wanted["store"])
        await tell(peer, NodeReport("b", "2", 2, {"load_one": 0.1}, (task,)).document())
        assert (await face.call(lambda client: client.job(job["id"])))["state"] == "RUNNING"
        error = await face.refused(lambda client: client.submit(face.spec(hold=True)))
        assert error.message.startswith("unknown field 'hold'")
        error = await face.refused(lambda client: client.act("hold", job["id"]))
        assert error.code == "unsupported"
        assert (await face.call(lambda client: client.kill(job["id"])))["killed_by"] == ME.pw_name


async def test_its_gateway_works_with_our_manager(
    tree: Path, grid: Grid, tmp_path: Path, node: FakeNode
) -> None:
    await node.report()
    config = of_head(grid, tmp_path)
    names = ("host", "socket", "shared_directories", *TLS)
    settings = {name: getattr(config, name) for name in names}
    clusters = [{"name": "alpha", "address": "127.0.0.1", "port": grid.port}]
    with its_daemon(tree, "gateway", tmp_path, **settings, clusters=clusters):
        face = Face(tmp_path, None)  # type: ignore[arg-type]
        await until(lambda: face.raw("GET", "/v1/ping"), 200)
        job, new = await face.call(lambda client: client.submit(face.spec(arguments=["x"])))
        assert (job["spec"]["arguments"], new) == (["x"], True)
        await node.follow()
        assert [each["id"] for each in await face.call(lambda client: client.jobs())] == [job["id"]]
        assert (await face.call(lambda client: client.kill(job["id"])))["killed_by"] == ME.pw_name

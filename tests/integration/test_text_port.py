"""The text protocol of 2003 on a raw socket: before jobs that are scripted, and a real manager."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kcms.config import ManagerConfig
from kcms.errors import ConfigError, Conflict
from kcms.jobs.model import Job, NodeReport, TaskReport
from kcms.jobs.processes import Process
from kcms.manager import text_port
from kcms.manager.core import Caller
from kcms.manager.hosts import Hosts
from kcms.manager.text_port import serving
from tests.integration.managed import Grid, Peer, free_port

HOSTS = {
    "beta2": {"roles": ["node", "submit"], "address": "10.0.0.2"},
    "alpha1": {"roles": ["node"], "address": "fd00::1"},
    "head": {"roles": ["admin"], "address": "10.0.0.9"},
}
ALICES, BOBS = ("beta2", 4711), ("alpha1", 12)


def process(key: tuple[str, int], name: str, user: str, job: int) -> dict[str, Any]:
    return {"node": key[0], "pid": key[1], "name": name, "ended": None, "user": user, "job": job}


class Scripted:
    """Two jobs; writes down what is asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.running = [process(ALICES, "sh", "alice", 7), process(BOBS, "a|b", "bob", 8)]

    async def processes(
        self, user: str | None, node: str | None
    ) -> tuple[list[dict[str, Any]], int]:
        assert node is None
        return [each for each in self.running if user in (None, each["user"])], 0

    def job_of_pid(self, node: str, pid: int) -> int | None:
        found = [each["job"] for each in self.running if (each["node"], each["pid"]) == (node, pid)]
        return found[0] if found else None

    def task_of_pid(self, node: str, pid: int) -> int | None:
        return None if self.job_of_pid(node, pid) is None else 3

    async def kill(self, caller: Caller, number: int) -> Job:
        self.asked.append(("kill", caller.user, number))
        return made(number)

    async def migrate(
        self, caller: Caller, number: int, node: str, check: bool, task: int | None = None
    ) -> Job:
        self.asked.append(("migrate", caller.user, number, node, check, task))
        if node == "beta2":
            raise Conflict(f"job {number} runs on beta2 already")
        return made(number)


def made(number: int) -> Job:
    return Job(number, "alpha", "alice", 2001, 2001, {}, "beta2", 0.0)


class Port:
    """The port, what is behind it, and a client of raw sockets."""

    def __init__(self, number: int, jobs: Scripted | None = None) -> None:
        self.number = number
        self.jobs = jobs or Scripted()

    def exchange(self, *parts: bytes, end: bool = False) -> bytes:
        """Send, then read until the connection closes; ``end`` says that nothing more comes."""
        with socket.create_connection(("127.0.0.1", self.number), timeout=30) as channel:
            for part in parts:
                channel.sendall(part)
            if end:
                channel.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while part := channel.recv(4096):
                    got += part
            return got

    async def said(self, *parts: bytes, end: bool = False) -> bytes:
        return await asyncio.to_thread(lambda: self.exchange(*parts, end=end))


def config(directory: Path, **more: Any) -> ManagerConfig:
    hosts = directory / "hosts.json"
    hosts.write_text(json.dumps({"hosts": HOSTS}))
    plain = ManagerConfig(
        cluster="alpha",
        address="127.0.0.1",
        state_directory=str(directory),
        hosts_file=str(hosts),
        tls_ca="",
        tls_certificate="",
        tls_key="",
    )
    return dataclasses.replace(plain, **more)


@contextlib.asynccontextmanager
async def listening(directory: Path, **more: Any) -> AsyncIterator[Port]:
    settings = config(directory, **{"text_port": free_port(), **more})
    jobs = Scripted()
    async with serving(settings, jobs, Hosts(settings.hosts_file)):
        yield Port(settings.text_port, jobs)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with listening(tmp_path) as made:
        yield made


async def test_what_runs_on_a_node_that_left_is_ended_by_its_name(port: Port) -> None:
    port.jobs.running.append(process(("gone", 5), "sh", "alice", 9))
    assert b"gone|5|sh|0&" in await port.said(b"REQ|alice\n")
    assert await port.said(b"KIL|5|gone\n") == b""
    assert port.jobs.asked == [("kill", "root", 9)]


async def test_root_sees_everything_and_others_their_own(port: Port) -> None:
    assert await port.said(b"REQ|root\n") == b"beta2|4711|sh|0&alpha1|12|a_b|0&"
    assert await port.said(b"REQ|bob\n") == b"beta2|alpha1|12|a_b|0&"
    assert await port.said(b"REQ|nobody\n") == b"beta2|alpha1|"
    assert port.jobs.asked == []


@pytest.mark.parametrize(
    ("parts", "end"),
    [
        ((b"REQ|bob\r\n",), False),
        ((b"REQ|bob\0",), False),
        ((b"REQ|bob",), True),
        ((b"R", b"EQ|b", b"ob\n"), False),
        ((b"REQ|bob\nKIL|4711|beta2\n",), False),
    ],
)
async def test_how_a_request_ends(port: Port, parts: tuple[bytes, ...], end: bool) -> None:
    assert await port.said(*parts, end=end) == b"beta2|alpha1|12|a_b|0&"
    assert port.jobs.asked == []


async def test_who_sends_no_newline_and_waits_is_answered(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_port, "SILENCE_SECONDS", 0.1)
    assert await port.said(b"REQ|bob") == b"beta2|alpha1|12|a_b|0&"


async def test_what_ends_or_moves_a_job_waits_for_its_whole_line(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause in the middle must not make KIL|4711|alpha1 of KIL|4711|alpha10."""
    monkeypatch.setattr(text_port, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(text_port, "LINE_SECONDS", 0.3)
    assert await port.said(b"KIL|4711|beta2") == b""
    assert port.jobs.asked == []


@pytest.mark.parametrize("node", [b"beta2", b"10.0.0.2", b"::ffff:10.0.0.2"])
async def test_a_pid_stands_for_its_job(port: Port, node: bytes) -> None:
    assert await port.said(b"KIL|4711|" + node + b"\n") == b""
    assert await port.said(b"MIG|4711|" + node + b"|fd00:0:0::1\n") == b""
    assert port.jobs.asked == [("kill", "root", 7), ("migrate", "root", 7, "alpha1", False, 3)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"KIL|4711|alpha1", "no job has a process 4711 on alpha1"),
        (b"KIL|1|beta2", "no job has a process 1 on beta2"),
        (b"KIL|4711|head", "no node has the name or address head"),
        (b"KIL|4711|10.0.0.9", "no node has the name or address 10.0.0.9"),
        (b"MIG|4711|beta2|gamma", "no node has the name or address gamma"),
        (b"MIG|12|alpha1|beta2", "job 8 runs on beta2 already"),
    ],
)
async def test_what_cannot_be_done_is_in_the_journal(
    port: Port, line: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await port.said(line + b"\n") == b""
    assert f"what 127.0.0.1 asked for is not done: {said}" in caplog.text
    assert ("kill", "root", 7) not in port.jobs.asked


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"KIL|x|beta2\n", b"\n", b"\xff\n", b"A" * 5000, b"REQ|\x1b\n"]
)
async def test_bad_lines_close_the_connection_and_nothing_else(
    port: Port, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert await port.said(line) == b""
    assert "127.0.0.1 sent no request: " in caplog.text
    assert await port.said(b"REQ|bob\n") == b"beta2|alpha1|12|a_b|0&"


async def test_strangers_are_turned_away_and_are_one_line_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tmp_path, text_allowed=["10.0.0.0/8", "::1"]) as port:
        for _ in range(3):
            assert await port.said(b"KIL|4711|beta2\n") == b""
        assert port.jobs.asked == []
    assert caplog.text.count("127.0.0.1 may not use the text port") == 1


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "127.0.0.1"])
async def test_a_network_or_address_lets_in(tmp_path: Path, allowed: str) -> None:
    async with listening(tmp_path, text_allowed=[allowed]) as port:
        assert (await port.said(b"REQ|bob\n")).startswith(b"beta2|")


async def test_who_sends_nothing_is_dropped(
    port: Port, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(text_port, "LINE_SECONDS", 0.1)
    assert await port.said() == b""
    assert "127.0.0.1 was too slow" in caplog.text


async def test_connections_are_bounded_and_places_come_back(
    port: Port, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(text_port, "CONNECTIONS", 2)
    held = [await asyncio.open_connection("127.0.0.1", port.number) for _ in range(2)]
    assert await port.said(b"REQ|bob\n") == b""
    assert "127.0.0.1 is turned away: 2 connections are open" in caplog.text
    for reader, writer in held:
        writer.write(b"REQ|bob\n")
        writer.write_eof()
        assert await reader.read() == b"beta2|alpha1|12|a_b|0&"
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(30):
        while not await port.said(b"REQ|bob\n"):
            await asyncio.sleep(0.01)


async def test_an_answer_that_is_long_arrives_whole(port: Port) -> None:
    port.jobs.running = [process(("beta2", pid), "x" * 60, "bob", 8) for pid in range(1, 20001)]
    content = await port.said(b"REQ|bob\n")
    assert content.count(b"&") == 20000
    assert content.endswith(b"|" + b"x" * 60 + b"|0&alpha1|")


async def test_off_unless_it_is_set(tmp_path: Path) -> None:
    async with listening(tmp_path, text_port=0) as port:
        assert port.number == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text_allowed": ["10.0.0.0/33"]}, "text_allowed: '10.0.0.0/33' does not appear to be"),
        ({"text_allowed": ["10.0.0.1/8"]}, "text_allowed: 10.0.0.1/8 has host bits set"),
        ({"text_allowed": ["head"]}, "text_allowed: 'head' does not appear to be"),
        ({"text_bind": "192.0.2.1"}, "cannot serve the text protocol on 192.0.2.1 port"),
        ({"text_port": 70000}, "cannot serve the text protocol on 127.0.0.1 port 70000"),
    ],
)
async def test_settings_that_cannot_be_used(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with listening(tmp_path, **settings):
            pass
    assert caught.value.message.startswith(said)
    assert "\n" not in caught.value.message


MOVER = {"machine": "x86_64", "kernel": "6.12", "criu": "4.1.1", "trouble": ""}
PIDS = {"alice": 100, "bob": 200}


@dataclasses.dataclass
class Real:
    """A manager with its port; node alpha1 runs a job each of alice (pid 100) and bob (200)."""

    port: Port
    jobs: dict[str, dict[str, Any]]
    root: Peer
    nodes: list[Peer]

    async def report(self, node: int, running: tuple[str, ...]) -> None:
        """What a node says: these users' jobs run, each of one process."""
        peer, tasks, processes = self.nodes[node], [], []
        _, wanted = await peer.call("GET", f"/v1/nodes/{peer.name}/desired?seen=-1&wait=0")
        for each in wanted["tasks"]:
            name = {"job": each["job"], "task": 0, "epoch": each["epoch"], "store": each["store"]}
            if each["user"] in running:
                tasks.append(TaskReport(**name, phase="running", start_time=1.0))
                pid = PIDS[each["user"]]
                processes.append(Process(pid, 5, f"{each['user']}|x", root=True, **name))
        said = NodeReport("boot", "1", 2, {"cpu_num": 2}, tuple(tasks), (), tuple(processes), MOVER)
        status, answer = await peer.call("POST", f"/v1/nodes/{peer.name}/report", said.document())
        assert status == 200, answer

    async def job(self, user: str) -> dict[str, Any]:
        return await self.root.job(self.jobs[user]["id"])


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Real]:
    grid = Grid(tmp_path, {"text_port": free_port()})
    hosts = json.loads(grid.hosts_file.read_text())["hosts"]
    hosts["alpha2"]["address"] = "10.0.0.2"
    grid.hosts_file.write_text(json.dumps({"hosts": hosts}))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(grid.running())
        peers = [
            await stack.enter_async_context(grid.peer(*each))
            for each in (("head", "root"), ("alpha1",), ("alpha1", "alice"), ("alpha1", "bob"))
        ]
        target = await stack.enter_async_context(grid.peer("alpha2"))
        made = Real(Port(int(grid.rules["text_port"])), {}, peers[0], [peers[1], target])
        await made.report(0, ())
        for user, peer in zip(PIDS, peers[2:], strict=True):
            made.jobs[user] = (await peer.submit())[1]
        await made.report(0, tuple(PIDS))
        yield made


async def test_bob_is_told_of_his_own_processes_alone(real: Real) -> None:
    assert await real.port.said(b"REQ|root\n") == (b"alpha1|100|alice_x|0&200|bob_x|0&alpha2|pc|")
    assert await real.port.said(b"REQ|bob\n") == b"alpha1|200|bob_x|0&alpha2|pc|"
    assert await real.port.said(b"REQ|carol\n") == b"alpha1|alpha2|pc|"


async def test_what_ended_is_told_with_a_one(real: Real) -> None:
    await real.report(0, ("bob",))
    assert await real.port.said(b"REQ|root\n") == (b"alpha1|100|alice_x|1&200|bob_x|0&alpha2|pc|")
    assert await real.port.said(b"KIL|100|alpha1\n") == b""
    assert (await real.job("alice"))["killed_by"] is None


async def test_kil_ends_the_job_of_the_process_and_no_other(real: Real) -> None:
    assert await real.port.said(b"KIL|100|alpha1\n") == b""
    alice, bob = await real.job("alice"), await real.job("bob")
    assert (alice["killed_by"], bob["killed_by"]) == ("root", None)


async def test_mig_moves_the_job_of_the_process(real: Real) -> None:
    await real.report(1, ())
    assert await real.port.said(b"MIG|200|alpha1|10.0.0.2\n") == b""
    moving = (await real.job("bob"))["migration"]
    assert (moving["source"], moving["target"], moving["by"]) == ("alpha1", "alpha2", "root")
    assert moving["check_only"] is False
    assert (await real.job("alice"))["migration"] is None


async def test_mig_that_cannot_be_done_changes_nothing(
    real: Real, caplog: pytest.LogCaptureFixture
) -> None:
    assert await real.port.said(b"MIG|200|alpha1|alpha2\n") == b""
    assert (await real.job("bob"))["migration"] is None
    assert "what 127.0.0.1 asked for is not done: job 2 cannot be moved: " in caplog.text

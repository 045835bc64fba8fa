"""A manager's process in this one, over real TLS, and those who call it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from kcms.config import ManagerConfig
from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import Exit, NodeReport, TaskReport
from kcms.jobs.processes import Process
from kcms.manager import daemon
from kcms.tls import client_context
from tests.certificates import Site, make_site

USERS = {"alice": (2001, 2001), "bob": (2002, 2002), "root": (0, 0)}
HOSTS = {
    "alpha1": ["node", "submit"],
    "alpha2": ["node", "submit"],
    "head": ["admin"],
    "pc": ["node"],
}
Answer = tuple[int, dict[str, Any]]
MOVER = {"machine": "x86_64", "kernel": "6.12", "criu": "4.1.1", "trouble": ""}


def free_port() -> int:
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return int(channel.getsockname()[1])


def image(number: int) -> dict[str, Any]:
    """What a node answers that made a checkpoint."""
    return {
        "number": number,
        "path": f"/shared/home/alice/.kcms/images/{number}",
        "size": 52_428_800,
        "sha256": "ab",
        "time": 1001.0 + number,
        "freeze_seconds": 0.384,
        "seconds": 2.5,
    }


@dataclass
class Grid:
    """A site with one manager; :meth:`running` is the manager, as often as one likes."""

    directory: Path
    rules: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.site: Site = make_site(self.directory / "site")
        self.state = self.directory / "state"
        self.state.mkdir()
        self.port = free_port()
        self.hosts_file = self.directory / "hosts.json"
        self.set_hosts(HOSTS)
        self.certificates: dict[str, tuple[str, str]] = {}
        self.ca = str(self.site.ca_path)

    def set_hosts(self, hosts: dict[str, list[str]]) -> None:
        new = self.directory / "hosts.new"
        new.write_text(json.dumps({"hosts": {name: {"roles": r} for name, r in hosts.items()}}))
        new.replace(self.hosts_file)

    def certificate(self, name: str, *uris: str) -> tuple[str, str]:
        if name not in self.certificates:
            wanted = uris or tuple(f"kcms://{role}/{name}" for role in HOSTS[name])
            self.certificates[name] = self.site.issue(name, uris=wanted, ips=("127.0.0.1",))
        return self.certificates[name]

    def config(self) -> ManagerConfig:
        certificate, key = self.certificate("manager", "kcms://manager/alpha")
        return ManagerConfig(
            cluster="alpha",
            address="127.0.0.1",
            port=self.port,
            state_directory=str(self.state),
            hosts_file=str(self.hosts_file),
            tls_ca=self.ca,
            tls_certificate=certificate,
            tls_key=key,
            **self.rules,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        before = loop.get_exception_handler()
        stop, ready = asyncio.Event(), asyncio.Event()
        manager = asyncio.create_task(daemon._run(self.config(), stop, ready.set))
        waiter = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({manager, waiter}, return_when=asyncio.FIRST_COMPLETED)
            if manager.done():
                await manager
            yield
        finally:
            stop.set()
            waiter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiter
            if not manager.done():
                await manager
            loop.set_exception_handler(before)

    @contextlib.asynccontextmanager
    async def peer(
        self, name: str, user: str | None = None, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[Peer]:
        if context is None:
            context = client_context(self.ca, *self.certificate(name))
        headers = {} if user is None else headers_of(user)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            yield Peer(name, session, f"https://127.0.0.1:{self.port}")
        await asyncio.sleep(0.05)  # TLS connections end in later turns of the loop


def headers_of(user: str) -> dict[str, str]:
    uid, gid = USERS[user]
    return {"Kcms-User": user, "Kcms-Uid": str(uid), "Kcms-Gid": str(gid)}


@dataclass
class Peer:
    """One host's connections to the manager."""

    name: str
    session: aiohttp.ClientSession
    base: str

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        async with self.session.request(method, self.base + path, json=body, **options) as answer:
            return answer.status, json.loads(await answer.text())

    async def submit(self, key: str | None = None, **fields: Any) -> Answer:
        spec = {"executable": "/shared/x", **fields}
        return await self.call("POST", "/v1/jobs", {"spec": spec, "key": key})

    async def job(self, number: int) -> dict[str, Any]:
        status, document = await self.call("GET", f"/v1/jobs/{number}")
        assert status == 200, document
        return document


class FakeNode:
    """A node daemon that runs nothing: every wanted task runs until it is told how to end.

    Every step of a move comes about, with its name and what was handed to it as its answer;
    ``refuses`` has the steps that do not, each with the reason.
    """

    def __init__(self, peer: Peer, slots: int = 2) -> None:
        self.peer = peer
        self.slots = slots
        self.tasks: dict[tuple[int, int, int, str], TaskReport] = {}
        self.starts: list[int] = []
        self.version = -1
        self.mover = MOVER
        self.moves: list[MoveReport] = []
        self.refuses: dict[str, str] = {}
        self.processes: tuple[Process, ...] = ()
        self.abilities: tuple[str, ...] = ()
        self.received: list[tuple[int, str, int | None]] = []
        self.load: dict[str, float] = {"load_one": 0.1, "cpu_num": 2}

    async def report(self) -> list[list[int]]:
        said = NodeReport(
            boot_id="boot",
            release="1",
            slots=self.slots,
            load=self.load,
            tasks=tuple(self.tasks.values()),
            moves=tuple(self.moves),
            processes=self.processes,
            mover=self.mover,
            abilities=self.abilities,
        )
        path = f"/v1/nodes/{self.peer.name}/report"
        status, answer = await self.peer.call("POST", path, said.document())
        assert status == 200, answer
        for each in answer["forget"]:
            self.tasks.pop(tuple(each), None)
        forget: list[list[int]] = [each[:3] for each in answer["forget"]]
        return forget

    async def desired(self, wait: float = 10) -> list[dict[str, Any]]:
        path = f"/v1/nodes/{self.peer.name}/desired?seen={self.version}&wait={wait}"
        status, answer = await self.peer.call("GET", path)
        assert status == 200, answer
        self.version = answer["version"]
        self.moves = [self._move(WantedMove.parse(each)) for each in answer["moves"]]
        tasks: list[dict[str, Any]] = answer["tasks"]
        return tasks

    def _move(self, move: WantedMove) -> MoveReport:
        key = (move.job, move.task, move.epoch, move.store)
        message = self.refuses.get(move.step, "")
        if move.step == "restore" and not message:
            self.tasks[key] = TaskReport(*key[:3], phase="running", store=key[3])
        ok, data = not message, {"step": move.step, "before": move.data}
        if move.step == "save":
            data = image(move.number)
        return MoveReport(*key, move.number, move.step, ok, message, data=data)

    async def follow(self, wait: float = 10) -> None:
        """Start what is wanted, end what is to be killed, and report it."""
        for each in await self.desired(wait):
            key = (each["job"], each["task"], each["epoch"], each["store"])
            if each["want"] == "kill":
                self.end([each["job"]], code=None, signal=15)
            elif key in self.tasks:
                self._signalled(key, each.get("signals", []))
            else:
                self.starts.append(each["job"])
                self.tasks[key] = TaskReport(
                    *key[:3], phase="running", start_time=1000.0, store=key[3]
                )
        await self.report()

    def _signalled(self, key: tuple[int, int, int, str], signals: list[dict[str, Any]]) -> None:
        """Take each once, as a node has on record how far it is."""
        for each in signals:
            if each["number"] > self.tasks[key].signalled:
                self.received.append((key[0], each["name"], each["pid"]))
                self.tasks[key] = replace(self.tasks[key], signalled=each["number"])

    def end(self, jobs: Iterable[int], code: int | None = 0, signal: int | None = None) -> None:
        for key in list(self.tasks):
            if key[0] in jobs:
                record = Exit(code, signal, 2000.0)
                self.tasks[key] = TaskReport(*key[:3], "ended", 1000.0, record, store=key[3])


def code(answer: Answer) -> tuple[int, str]:
    """Status and code of an answer that has the one error shape."""
    status, document = answer
    assert set(document) == {"error"}, document
    assert set(document["error"]) == {"code", "message"}
    assert document["error"]["message"]
    assert "\n" not in document["error"]["message"]
    return status, document["error"]["code"]

"""A manager, gateways of two hosts, and a node that has inits but no units; ``kcms run`` on top."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pwd
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from kcms.config import ClusterAddress, GatewayConfig
from kcms.gateway import attach, files
from kcms.gateway.api import Gateway
from kcms.gateway.checker import Checker
from kcms.gateway.daemon import listening
from kcms.gateway.managers import Clusters, Managers
from kcms.gateway.peers import Peers
from kcms.gateway.pourer import Pourer
from kcms.gateway.users import UserDatabase
from kcms.jobs.model import ABILITIES, Exit, NodeReport, TaskReport, WantedTask
from kcms.node import init, lease
from kcms.node.account import Account
from kcms.node.core import TaskId
from kcms.node.records import Records, read_record
from tests.integration.managed import Grid, Peer, free_port

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT / "app"),
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
}
ALICE, BOB = "games", "news"  # users of every Debian, whose names nobody logs in with
GATEWAY_USER = "daemon"
ROLES = {"alpha1": ["node", "submit"], "alpha2": ["node", "submit"], "head": ["admin"]}


class Site:
    """Host alpha2 runs the jobs; people are on alpha1 and head."""

    def __init__(self, directory: Path, grid: Grid) -> None:
        self.directory = directory
        self.grid = grid
        self.ports = {name: free_port() for name in ROLES}
        self.sessions = directory / "sessions"
        self.shared = directory
        self.set_hosts(ROLES)

    def set_hosts(self, roles: dict[str, list[str]]) -> None:
        rows = {
            name: {"roles": held, "address": "127.0.0.1", "gateway_port": self.ports[name]}
            for name, held in roles.items()
        }
        new = self.directory / "hosts.new"
        new.write_text(json.dumps({"hosts": rows}))
        new.replace(self.grid.hosts_file)

    def users(self, host: str) -> UserDatabase:
        """Those whom the gateway of a host knows."""
        return UserDatabase()

    def home(self, host: str, user: str) -> str:
        return pwd.getpwnam(user).pw_dir

    def config(self, host: str) -> GatewayConfig:
        certificate, key = self.grid.certificate(host)
        return GatewayConfig(
            host=host,
            socket=str(self.directory / f"{host}.sock"),
            clusters=[ClusterAddress(name="alpha", address="127.0.0.1", port=self.grid.port)],
            shared_directories=[str(self.shared)],
            tls_ca=self.grid.ca,
            tls_certificate=certificate,
            tls_key=key,
            address="127.0.0.1",
            port=self.ports[host],
            sessions_directory=str(self.sessions),
        )

    @contextlib.asynccontextmanager
    async def gateway(self, host: str) -> AsyncIterator[Peers]:
        config = self.config(host)
        clusters = Clusters(config)
        async with (
            Managers.open(config) as managers,
            Checker.open(config.shared_directories) as checker,
        ):
            users = self.users(host)
            pourer = Pourer(checker.children, users)
            kinds = {
                attach.KIND: attach.serving(config.sessions_directory),
                files.KIND: pourer.serve,
            }
            peers = Peers(config, managers, clusters, kinds)
            attaching = attach.Attaching(managers, peers)
            brought = files.Files(host, managers, peers, pourer)
            face = Gateway(clusters, managers, checker, users, attaching, brought)
            async with peers.listening(), listening(face.application(), Path(config.socket)):
                try:
                    yield peers
                finally:
                    copies = [*attaching._copies, *brought._copies]
                    for each in copies:  # as when the process ends
                        each.cancel()
                    await asyncio.gather(*copies, return_exceptions=True)

    async def process(self, host: str) -> asyncio.subprocess.Process:
        """The gateway of a host as a process of its own, which listens."""
        config, path = self.config(host), self.directory / f"{host}.toml"
        settings = dataclasses.asdict(config)
        path.write_text(toml(settings))
        socket = Path(config.socket)
        socket.unlink(missing_ok=True)
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kcms", "daemon", "gateway", "--config", str(path)),
            env=ENVIRONMENT,
        )
        while not socket.exists():
            assert started.returncode is None
            await asyncio.sleep(0.05)
        return started

    async def start(
        self,
        *words: str,
        user: str = ALICE,
        host: str = "alpha1",
        before: tuple[str, ...] = (),
        **streams: Any,
    ) -> asyncio.subprocess.Process:
        """``kcms run`` with these words, as a user of a host; ``before`` is a command before it."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
        return await asyncio.create_subprocess_exec(
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *before),
            *(sys.executable, "-m", "kcms", "run", *words),
            env={**ENVIRONMENT, "KCMS_SOCKET": str(self.directory / f"{host}.sock")},
            cwd=self.directory / user,
            **{**pipes, **streams},
        )

    async def run(self, *words: str, given: bytes = b"", **who: Any) -> tuple[int, bytes, bytes]:
        """Exit status, output and error of a ``kcms run``."""
        process = await self.start(*words, **who)
        output, error = await asyncio.wait_for(process.communicate(given), 60)
        assert process.returncode is not None
        return process.returncode, output, error


class Node:
    """Starts an init for every task that is wanted, and reports how it ends."""

    def __init__(self, site: Site, peer: Peer, abilities: tuple[str, ...] = ABILITIES) -> None:
        self.site = site
        self.peer = peer
        self.abilities = abilities
        self.runtime = site.directory / "runtime"
        self.runtime.mkdir()
        self.records = Records(site.directory / "node", "alpha", peer.name, str(self.runtime))
        self.records.session = {"directory": str(site.sessions), "user": GATEWAY_USER}
        self.records.gateway = str(site.directory / f"{peer.name}.sock")
        self.records.open()
        self.inits: dict[TaskId, asyncio.subprocess.Process] = {}

    async def work(self) -> None:
        while True:
            await self.report()
            await self.follow()

    async def end(self) -> None:
        """Kill what is left, as the end of a cgroup would."""
        for each_init in self.inits.values():
            with contextlib.suppress(OSError):  # it has ended
                children = Path(f"/proc/{each_init.pid}/task/{each_init.pid}/children").read_text()
                for each in (*map(int, children.split()), each_init.pid):
                    os.kill(each, signal.SIGKILL)
            await each_init.wait()

    async def report(self) -> None:
        said = NodeReport(
            boot_id="boot",
            release="1",
            slots=2,
            load={"load_one": 0.1, "cpu_num": 2},
            tasks=tuple(self._said(each) for each in self.records.tasks()),
            abilities=self.abilities,
        )
        status, answer = await self.peer.call(
            "POST", f"/v1/nodes/{self.peer.name}/report", said.document()
        )
        assert status == 200, answer
        lease.write(str(self.runtime), init.boot_id(), init.boottime())
        for each in answer["forget"]:
            self.records.forget(TaskId(*each))

    def _said(self, task: TaskId) -> TaskReport:
        found = read_record(self.records.path(task))
        end: Exit | None = found.exit
        phase = "refused" if found.refused else "ended" if end else "running"
        names = (task.job, task.task, task.epoch)
        message, cause = found.refused or "", found.refused_for
        return TaskReport(*names, phase, 1.0, end, message, task.store, cause)

    async def follow(self) -> None:
        path = f"/v1/nodes/{self.peer.name}/desired?seen=-1&wait=0"
        for each in (await self.peer.call("GET", path))[1]["tasks"]:
            wanted = WantedTask.parse(each)
            task = TaskId.of(wanted)
            if wanted.want == "run" and task not in self.inits:
                entry = pwd.getpwnam(wanted.user)
                home = self.site.home(self.peer.name, wanted.user)
                account = Account(home, "/bin/sh", [entry.pw_gid])
                self.records.prepare(wanted, account, None, 0.0)
                fake = self.site.directory / f"cgroup-{task}"
                fake.mkdir()
                self.inits[task] = await asyncio.create_subprocess_exec(
                    *(sys.executable, str(ROOT / "tests/integration/fake_unit.py")),
                    *(str(self.records.path(task)), str(fake)),
                    env=ENVIRONMENT,
                )
        await asyncio.sleep(0.02)


def toml(settings: dict[str, Any]) -> str:
    """Lists of tables go last, as TOML wants."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key != "clusters"]
    for table in settings["clusters"]:
        lines += ["[[clusters]]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


@contextlib.asynccontextmanager
async def standing(directory: Path, made: type[Site] = Site) -> AsyncIterator[Site]:
    """A site at work, but for its gateways."""
    grid = Grid(directory)
    site = made(directory, grid)
    for name in (ALICE, BOB):
        home, entry = directory / name, pwd.getpwnam(name)
        home.mkdir(mode=0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
    async with grid.running(), grid.peer("alpha2") as peer:
        node = Node(site, peer)
        work = asyncio.create_task(node.work())
        try:
            yield site
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await node.end()

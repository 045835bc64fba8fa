"""A site whose hosts share nothing: a home of each user on each host, and the commands there."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import aiohttp

from kcms.client import FINAL_STATES
from kcms.config import GatewayConfig
from kcms.gateway.users import User, UserDatabase
from kcms.jobs.staged import DIGITS
from tests.integration.attached import ALICE, BOB, ENVIRONMENT, ROLES, Site
from tests.integration.managed import Answer, Grid


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Homes(UserDatabase):
    """The users of one host, whose homes lie below ``directory``."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def by_uid(self, uid: int) -> User | None:
        return self._at_home(super().by_uid(uid))

    def by_name(self, name: str) -> User | None:
        return self._at_home(super().by_name(name))

    def _at_home(self, user: User | None) -> User | None:
        if user is None:
            return None
        return User(user.name, user.uid, user.gid, str(self._directory / user.name))


class Apart(Site):
    """Jobs run on alpha2, as in a :class:`Site`."""

    def __init__(self, directory: Path, grid: Grid) -> None:
        super().__init__(directory, grid)
        for host in ROLES:
            for name in (ALICE, BOB):
                home, entry = Path(self.home(host, name)), pwd.getpwnam(name)
                home.mkdir(parents=True)
                os.chown(home, entry.pw_uid, entry.pw_gid)
                home.chmod(0o700)

    def config(self, host: str) -> GatewayConfig:
        return dataclasses.replace(super().config(host), shared_directories=[])

    def users(self, host: str) -> UserDatabase:
        return Homes(self.directory / host)

    def home(self, host: str, user: str) -> str:
        return str(self.directory / host / user)

    def file(self, text: bytes | str, name: str, host: str = "alpha1", user: str = ALICE) -> Path:
        """A program in a user's home on a host."""
        path, entry = Path(self.home(host, user)) / name, pwd.getpwnam(user)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o755)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def staged(self, content: bytes, name: str, host: str, user: str = ALICE) -> Path:
        """Where a content is, or would be, in the stage of a user on a host."""
        content_directory = digest_of(content)[:DIGITS]
        return Path(self.home(host, user)) / ".kcms/stage" / content_directory / name

    def own_directories(self, path: Path, user: str = ALICE) -> None:
        """Make a directory in a user's home, and those above it, that user's own."""
        entry = pwd.getpwnam(user)
        for each in (path.parent, path):
            each.mkdir(mode=0o700)
            os.chown(each, entry.pw_uid, entry.pw_gid)

    async def post(self, path: str, body: dict[str, Any], host: str = "alpha1") -> Answer:
        """A call of the first user at a host's gateway, whatever the command line would say."""
        connector = aiohttp.UnixConnector(str(self.directory / f"{host}.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"http://x{path}", json=body, headers={"Kcms-As": ALICE}) as answer,
        ):
            return answer.status, await answer.json()

    async def kcms(
        self, *words: str, host: str = "alpha1", user: str = ALICE
    ) -> tuple[int, str, str]:
        """Exit status, output and error of a command of a user on a host."""
        process = await asyncio.create_subprocess_exec(
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"),
            *(sys.executable, "-m", "kcms", *words),
            env={**ENVIRONMENT, "KCMS_SOCKET": str(self.directory / f"{host}.sock")},
            cwd=self.home(host, user),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, error = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, output.decode(), error.decode()

    async def over(self, number: int, host: str = "alpha1") -> dict[str, Any]:
        """A job, once it is over."""
        while True:
            job = json.loads((await self.kcms("job", "--json", str(number), host=host))[1])
            if job["state"] in FINAL_STATES:
                return dict(job)

    async def submit(self, *words: str, **who: str) -> dict[str, Any]:
        """A job, once it is over."""
        base = self.home("alpha2", who.get("user", ALICE))
        given = ("submit", "--json", "--wait", "--base-directory", base, *words)
        _, output, error = await self.kcms(*given, **who)
        assert output, error
        return dict(json.loads(output))

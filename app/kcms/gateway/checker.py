"""Runs :mod:`kcms.gateway.check` as the user, in bounded time and number.

Root opens nothing on a shared directory: whatever touches a user's files is this child.

The gateway has CAP_SETUID and CAP_SETGID as ambient capabilities.  Changing from one ordinary uid
to another keeps them, so setpriv(1) changes the ids *and* clears them before the check starts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kcms.errors import Conflict, Forbidden, InvalidRequest, KcmsError, NotFound, Unavailable
from kcms.gateway.users import User

log = logging.getLogger("kcms.gateway")

PYTHON = "/usr/bin/python3"
SETPRIV = "/usr/bin/setpriv"
PROGRAM = Path(__file__).with_name("check.py")
SECONDS = 15.0
AT_ONCE = 4  # checks of one user; one that hangs in a dead file server keeps its place
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def command(user: User, own_uid: int, program: Path = PROGRAM) -> list[str]:
    """The command line of a check as ``user``, started by a process of ``own_uid``."""
    check = [PYTHON, "-I", "-S", "-E", str(program)]
    if user.uid == own_uid:
        return check
    ids = [f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups"]
    return [SETPRIV, *ids, "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", *check]


class Checker:
    """Checks files as their users.

    :param shared: directories below which executables must lie
    :param seconds: how long one check may take, waiting for its turn included
    """

    def __init__(
        self,
        shared: Sequence[str],
        seconds: float = SECONDS,
        command: Callable[[User, int], list[str]] = command,
    ) -> None:
        self._shared = list(shared)
        self._seconds = seconds
        self._command = command
        self._turns: dict[int, asyncio.Semaphore] = {}
        self._children: set[asyncio.Task[bytes]] = set()

    async def check(self, user: User, files: dict[str, str | None]) -> None:
        """:raises InvalidRequest: a file cannot be used  :raises Unavailable: no telling"""
        await self._asked(user, {"shared": self._shared, "files": files})

    async def tail(self, user: User, name: str, path: str, count: int) -> dict[str, Any]:
        """The end of a file as ``user`` may read it: ``size``, ``offset`` and ``text``.

        :param name: what the file is, for the sentence of an error
        :raises NotFound: there is none  :raises Forbidden: the user may not read it
        :raises Conflict: it cannot be read  :raises Unavailable: no telling
        """
        request = {"tail": {"name": name, "path": path, "bytes": count}}
        try:
            return await self._asked(user, request)
        except NotFound as error:
            if any(path.startswith(each.rstrip("/") + "/") for each in self._shared):
                raise
            raise NotFound(
                f"{error} on this host; it is not on a shared directory, "
                "so only the node that ran the job may have it"
            ) from error

    async def _asked(self, user: User, request: dict[str, Any]) -> dict[str, Any]:
        """The answer of a child that has become ``user``, when it found no problem."""
        turns = self._turns.setdefault(user.uid, asyncio.Semaphore(AT_ONCE))
        try:
            await asyncio.wait_for(turns.acquire(), self._seconds)
        except TimeoutError as error:
            raise self._too_slow(user) from error
        child = asyncio.create_task(self._run(user, json.dumps(request).encode()))
        self._children.add(child)
        child.add_done_callback(lambda done: self._gone(done, turns))
        done, _ = await asyncio.wait({child}, timeout=self._seconds)
        if not done:
            raise self._too_slow(user)
        return _checked(child.result(), user)

    def _gone(self, child: asyncio.Task[bytes], turns: asyncio.Semaphore) -> None:
        """Give back the turn only when the process is really gone: that is what bounds them."""
        self._children.discard(child)
        turns.release()
        if not child.cancelled() and (error := child.exception()) is not None:
            log.error("%s", error)

    def _too_slow(self, user: User) -> Unavailable:
        return Unavailable(
            f"looking at the files of {user.name} took over {self._seconds:g} s; "
            "does the shared directory answer?"
        )

    async def _run(self, user: User, request: bytes) -> bytes:
        """One child's answer; empty when it could not give one."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(user, os.geteuid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"cannot start a check of files: {error.strerror}") from error
        timer = asyncio.get_running_loop().call_later(self._seconds, _kill, process)
        try:
            answer, complaint = await process.communicate(request)
        finally:
            timer.cancel()
        if process.returncode != 0:
            log.error("check as %s: exit %s, %s", user.name, process.returncode, _line(complaint))
        return answer


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


def _line(text: bytes) -> str:
    return (text.decode(errors="replace").strip().splitlines() or ["no message"])[-1]


PROBLEMS: dict[str, type[KcmsError]] = {
    each.code: each for each in (InvalidRequest, NotFound, Forbidden, Conflict)
}


def _checked(answer: bytes, user: User) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(answer)
        problem = document.get("problem")
        kind = PROBLEMS[document.get("code", InvalidRequest.code)]
    except (ValueError, KeyError, AttributeError) as error:
        raise Unavailable(
            f"could not look at the files of {user.name} as {user.name}; "
            "the journal of kcms-gateway says why"
        ) from error
    if problem is not None:
        raise kind(problem)
    return document

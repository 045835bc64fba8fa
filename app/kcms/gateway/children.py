"""The gateway's side of :mod:`kcms.gateway.forks`: starts it, asks it, starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from kcms.errors import Unavailable
from kcms.gateway.users import User

log = logging.getLogger("kcms.gateway")

APP = Path(__file__).resolve().parents[2]
CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from kcms.gateway.forks import main; sys.exit(main())"
)
COMMAND = ("/usr/bin/python3", "-I", "-S", "-c", CODE, str(APP))
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
TRIES = 3
"""A look at files changes nothing, so one that was lost is repeated: a server that is killed may
take one order along, and keep its end of the pair open until the next."""

IDLE = 32
IDLE_SECONDS = 2.0
LIFE_SECONDS = 10.0
PAUSE = 0.02  # seconds between tries to hand an order to a server that has many waiting


class Server:
    """One process that forks, and the gateway's end of the pair."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.process = process
        self.control = control
        self._pidfd = _pidfd(process.pid)
        self._watch = asyncio.create_task(self._watched())

    @classmethod
    async def start(cls, command: Sequence[str]) -> Server:
        """:raises Unavailable: it cannot be started"""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise _cannot_start(error) from error
        ours.setblocking(False)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=theirs.fileno(),
                    env=ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise _cannot_start(error) from error
        return cls(process, ours)

    async def _watched(self) -> None:
        try:
            status = await self.process.wait()
        finally:
            if self._pidfd is not None:
                os.close(self._pidfd)
        if status != 0:
            log.error("the process that looks at files ended with status %s", status)

    @property
    def gone(self) -> bool:
        """Is its end of the pair closed?"""
        try:
            return not self.control.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def order(self, order: bytes, stream: socket.socket) -> bool:
        """Hand over an order and the child's end of a stream; False: the server is gone."""
        while True:
            try:
                socket.send_fds(self.control, [order], [stream.fileno()])
            except BlockingIOError:
                await asyncio.sleep(PAUSE)
            except (BrokenPipeError, ConnectionResetError):
                return False
            else:
                return True

    @property
    def over(self) -> bool:
        """Whether nothing is left of it."""
        return self._watch.done()

    def give_up(self) -> None:
        """End one that takes no orders any more."""
        self.control.close()
        if self._pidfd is not None and not self.over:
            # not by asyncio, which would take its status along
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """Let it end."""
        self.control.close()
        await self._watch


def _pidfd(pid: int) -> int | None:
    """None: the process is over, and was waited for, already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


class Child:
    """The gateway's end of the stream to one child."""

    def __init__(self, stream: socket.socket, born: float) -> None:
        self.born = born
        self._stream = stream

    async def answer(self, request: bytes) -> bytes:
        """One answer; empty when it ended without: then its end is closed everywhere."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await loop.sock_sendall(self._stream, request + b"\n")
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while not got.endswith(b"\n"):
                part = await loop.sock_recv(self._stream, 65536)
                if not part:
                    return b""
                got += part
        return got[:-1]

    async def poured(self, request: bytes) -> socket.socket:
        """The stream of an answer that ends with the child.  :raises OSError: it is gone"""
        await asyncio.get_running_loop().sock_sendall(self._stream, request + b"\n")
        self._stream.shutdown(socket.SHUT_WR)
        return self._stream

    def close(self) -> None:
        """Let it end."""
        self._stream.close()


class Children:
    """Asks children that are users; the server that forks them is there when it is needed.

    A child that answered stays for the next question in its user's name, the newest one of each
    user: for :data:`IDLE_SECONDS` without one, for :data:`LIFE_SECONDS` in all (a user's groups may
    change) and beside :data:`IDLE` others at the most.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._server: Server | None = None
        self._gone: list[Server] = []
        self._one = asyncio.Lock()
        self._closed = False
        self._idle: dict[User, tuple[Child, asyncio.TimerHandle]] = {}

    async def ready(self) -> Server:
        """The server, which is started unless it runs.  :raises Unavailable: it cannot be"""
        async with self._one:
            if self._closed:
                raise Unavailable("the gateway is being stopped")
            if self._server is not None and self._server.gone:
                self._server.give_up()
                self._gone.append(self._server)
                self._server = None
            self._gone = [each for each in self._gone if not each.over]
            if self._server is None:
                self._server = await Server.start(self._command)
            return self._server

    async def ask(self, user: User, request: bytes, seconds: float) -> bytes:
        """What a child that is ``user`` answers; empty when it ended without an answer.

        It returns with the answer, or when the child is gone, which the kernel ends ``seconds``
        after it was asked; one that hangs in the kernel goes when what it waits for answers.

        :raises Unavailable: no child can be started
        """
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        tries = TRIES + (user in self._idle)  # one that was kept may be ending
        for _ in range(tries):
            child = self._kept(user) or await self._new(user, seconds)
            answer = await self._answer(user, child, request) if child is not None else b""
            if answer or clock() >= end:
                return answer
        return b""

    async def stream(self, user: User, request: bytes, seconds: float) -> socket.socket:
        """What a new child that is ``user`` answers, to be read until its end.

        Closing it ends the child, which the kernel ends ``seconds`` after its start anyway.

        :raises Unavailable: no child can be started
        """
        for _ in range(TRIES):
            child = await self._new(user, seconds)
            if child is None:
                continue
            try:
                return await child.poured(request)
            except OSError:
                child.close()
            except BaseException:
                child.close()
                raise
        raise Unavailable("the process that reads files was killed: try again")

    async def _answer(self, user: User, child: Child, request: bytes) -> bytes:
        try:
            answer = await child.answer(request)
        except BaseException:
            child.close()
            raise
        self._keep(user, child, bool(answer))
        return answer

    def _kept(self, user: User) -> Child | None:
        child, timer = self._idle.pop(user, (None, None))
        if timer is not None:
            timer.cancel()
        return child

    async def _new(self, user: User, seconds: float) -> Child | None:
        """None: the server went away; there will be another."""
        who = {"name": user.name, "uid": user.uid, "gid": user.gid, "seconds": seconds}
        server = await self.ready()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _cannot_start(error) from error
        ours.setblocking(False)
        with theirs:
            if not await server.order(json.dumps(who).encode(), theirs):
                ours.close()
                return None
        return Child(ours, asyncio.get_running_loop().time())

    def _keep(self, user: User, child: Child, answered: bool) -> None:
        """Keep a child for the next question, or let it end."""
        loop = asyncio.get_running_loop()
        left = child.born + LIFE_SECONDS - loop.time()
        if not answered or self._closed or left < 0:
            child.close()
            return
        self._drop(user)
        if len(self._idle) >= IDLE:
            self._drop(next(iter(self._idle)))
        timer = loop.call_later(min(IDLE_SECONDS, left), self._drop, user)
        self._idle[user] = child, timer

    def _drop(self, user: User) -> None:
        child = self._kept(user)
        if child is not None:
            child.close()

    async def close(self) -> None:
        async with self._one:
            self._closed = True
            for user in list(self._idle):
                self._drop(user)
            if self._server is not None:
                self._gone.append(self._server)
                self._server = None
            while self._gone:
                await self._gone.pop().close()


def _cannot_start(error: OSError) -> Unavailable:
    return Unavailable(f"cannot start a check of files: {os.strerror(error.errno or 0)}")

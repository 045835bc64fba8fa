"""Files of jobs that one host alone has, for the users of this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from kcms.attach.chunks import Chunks
from kcms.config import ClusterAddress
from kcms.errors import Forbidden, InvalidRequest, KcmsError, Unavailable
from kcms.gateway.attach import require_upgrade
from kcms.gateway.checker import PROBLEMS
from kcms.gateway.door import divert
from kcms.gateway.managers import Managers, Refused
from kcms.gateway.output import Wanted
from kcms.gateway.peers import FILE, Peers
from kcms.gateway.pourer import Pourer, request_of
from kcms.gateway.streams import PART, Pair, join_user
from kcms.gateway.voice import Voice
from kcms.http import error_response
from kcms.jobs.members import Members

log = logging.getLogger("kcms.gateway")

KIND = FILE
PROTOCOL = "kcms-file"
TAIL_SECONDS = 30.0
TAIL_LIMIT = 8 << 20  # bytes of an answer, in which each of the file's may take six
NUMBERS = ("task", "begin", "size")


@dataclass(frozen=True)
class Wisher:
    """Who asks, and of which job."""

    speaks: Voice
    cluster: ClusterAddress
    number: int


class Files:
    """Brings files of jobs to who may see the job, read as the job's owner where they are.

    :param host: this host
    """

    def __init__(self, host: str, managers: Managers, peers: Peers, pourer: Pourer) -> None:
        self.host = host
        self._managers = managers
        self._peers = peers
        self._pourer = pourer
        self._copies: set[asyncio.Task[None]] = set()

    async def take(
        self, request: web.Request, wisher: Wisher, sees: Callable[[str, str, int], Awaitable[bool]]
    ) -> web.Response:
        """The connection as a stream of :mod:`kcms.gateway.pour`, or why not.

        :param sees: whether this host has a file, too, by its path and its user's name and id
        """
        try:
            require_upgrade(request, PROTOCOL)
            wish = _wish_of(request)
            row = await self._located(wisher, wish)
            where = row.text("path"), row.text("user"), row.whole("uid")
            here = row.text("node") == self.host or (
                row.members.get("staged") is not True and await sees(*where)
            )
            peer = None if here else await self._opened(row, wisher.cluster)
            try:
                user = divert(request, PROTOCOL)
            except BaseException:
                if peer is not None:
                    peer.abort()
                raise
        except KcmsError as error:
            refusal = error_response(error.status, error.code, error.message)
            refusal.force_close()
            return refusal
        log.info("%s reads %s of job %d", wisher.speaks.name, wish["which"], wisher.number)
        copy = self._poured(user, row) if peer is None else join_user(user, peer)
        task = asyncio.create_task(copy)
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)
        return web.Response()  # to a connection that the server has let go of

    async def _poured(self, user: Pair, row: Members) -> None:
        """A file of this host.  Why there is none is told as the file would be."""
        try:
            await self._pourer.pour(user, row.text("user"), row.whole("uid"), request_of(row))
        except (KcmsError, OSError) as error:
            code = error.code if isinstance(error, KcmsError) else Unavailable.code
            told = {"problem": str(error), "code": code}
            with contextlib.suppress(OSError):  # who asked has gone
                await user.write(json.dumps(told).encode() + b"\n")
            await user.flush()

    async def tail(self, wisher: Wisher, wanted: Wanted) -> dict[str, Any]:
        """The end of a file that another host has, as :meth:`kcms.gateway.checker.Checker.tail`.

        :raises KcmsError: as that, or it cannot be reached
        """
        wish = {
            "which": wanted.which,
            "task": wanted.task,
            "act": "tail",
            "begin": wanted.begin,
            "size": wanted.count,
        }
        row = await self._located(wisher, wish)
        peer = await self._opened(row, wisher.cluster)
        try:
            async with asyncio.timeout(TAIL_SECONDS):
                return _end_of(json.loads(await _content(peer)), row.text("node"))
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            raise Unavailable(f"the gateway of {row.text('node')} broke off its answer") from error
        finally:
            peer.abort()

    async def _located(self, wisher: Wisher, wish: dict[str, Any]) -> Members:
        """What the manager says of where a file is.  :raises KcmsError: there is none"""
        path = f"/v1/jobs/{wisher.number}/file"
        headers = wisher.speaks.headers
        answer = await self._managers.call(wisher.cluster, "POST", path, headers, body=wish)
        return Members(answer.document(), "place of a file")

    async def _opened(self, row: Members, cluster: ClusterAddress) -> Pair:
        """The stream from the host that has the file.

        :raises Unavailable: there is none now; so it is where the ticket is not known, as when the
            manager has just been started anew  :raises KcmsError: there is none
        """
        where = row.text("node"), row.text("address"), row.whole("port")
        try:
            return await self._peers.open(*where, KIND, row.text("ticket"), cluster)
        except Refused as error:
            if error.code != Forbidden.code:
                raise
            raise Unavailable(f"the gateway of {where[0]} refused: {error.message}") from error


def _end_of(told: dict[str, Any], node: str) -> dict[str, Any]:
    """The end of a file, as ``node`` told it.

    :raises KcmsError: the problem with it  :raises TypeError, LookupError: it is no such thing
    """
    problem = told.get("problem") if isinstance(told, dict) else None
    if problem is not None:
        raise PROBLEMS.get(str(told.get("code")), Unavailable)(f"{problem} on {node}")
    return {name: told[name] for name in ("size", "offset", "end", "text")}


async def _content(peer: Pair) -> bytes:
    """All that the other gateway sends, up to its mark.  :raises ValueError: too much, no mark"""
    chunks, content = Chunks(), b""
    while not chunks.ended:
        data = await peer.reader.read(PART)
        content += chunks.feed(data)
        if not data or len(content) > TAIL_LIMIT:
            raise ValueError("an answer without an end")
    return content


def _wish_of(request: web.Request) -> dict[str, Any]:
    """:raises InvalidRequest: a number is none; the rest is the manager's to judge"""
    query = request.query
    wish: dict[str, Any] = {"which": query.get("which"), "act": query.get("act", "read")}
    wish["path"] = query.get("file")
    for name in NUMBERS:
        text = query.get(name)
        if text is not None and not (text.isascii() and text.isdigit() and len(text) < 17):
            raise InvalidRequest(f"{name} must be a whole number, not {text!r:.60}")
        wish[name] = None if text is None else int(text)
    return wish

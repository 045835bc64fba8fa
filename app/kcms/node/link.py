"""The node's side of the exchange with its manager: report what is, fetch what is wanted."""

from __future__ import annotations

import json
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from kcms import tls
from kcms.config import NodeConfig
from kcms.errors import Forbidden, KcmsError, ProtocolError, Unavailable
from kcms.jobs.migration import WantedMove
from kcms.jobs.model import NodeReport, WantedTask
from kcms.node.core import TaskId
from kcms.node.moves import MoveId

log = logging.getLogger("kcms.node")

WAIT = 25.0
"""Seconds that the manager may hold a question for what is wanted."""

CALL_TIMEOUT = 15.0
RETRY_FIRST = 0.5
RETRY_LONGEST = 15.0


def context(config: NodeConfig) -> ssl.SSLContext:
    """TLS to this cluster's manager and to nobody else, known before a byte is sent to it."""
    wanted = tls.Identity("manager", config.cluster)

    class OnlyTheManager(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            try:
                tls.require_identity(self.getpeercert(), wanted)
            except Forbidden as error:
                raise ssl.SSLCertVerificationError(1, error.message) from error

    made = tls.client_context(config.tls_ca, config.tls_certificate, config.tls_key)
    made.sslobject_class = OnlyTheManager
    return made


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row; ``chance`` in [0, 1) spreads the nodes."""
    longest = min(RETRY_FIRST * 2.0 ** min(failures - 1, 16), RETRY_LONGEST)
    return longest * (0.5 + 0.5 * chance)


class Outage:
    """The exchange as the journal sees it: a line for each cause of an outage, one for its end."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._said: set[str] = set()

    def failed(self, what: str, error: Exception) -> float:
        """Note a failure of one of the calls; the seconds to wait before its next attempt."""
        count = self._failures[what] = self._failures.get(what, 0) + 1
        if count == 2 and str(error) not in self._said:  # one failure: a manager that restarts
            self._said.add(str(error))
            log.warning("cannot %s, trying on: %s", what, error)
        return backoff(count, random.random())  # noqa: S311  (spreading, no secret)

    def worked(self, what: str) -> None:
        self._failures.pop(what, None)
        if self._said and not self._failures:
            self._said.clear()
            log.info("the manager is reached again")


@dataclass(frozen=True)
class Desired:
    """One word of the manager: its version, its job store, and what it wants; an older release
    wants no moves."""

    version: int
    store: str
    tasks: dict[TaskId, WantedTask]
    moves: dict[MoveId, WantedMove]


class Link:
    """The two calls of a node, over connections that stay open."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._context = context(config)
        host = (
            f"[{config.manager_address}]"
            if ":" in config.manager_address
            else (config.manager_address)
        )
        self._base = f"https://{host}:{config.manager_port}/v1/nodes/{config.host}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Link:
        connector = aiohttp.TCPConnector(ssl=self._context, keepalive_timeout=60.0)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def report(self, report: NodeReport) -> frozenset[TaskId]:
        """Say how things stand; the tasks that the manager has on record for good.

        :raises KcmsError: unreachable, refused, or an answer that makes no sense
        """
        answer = await self._call("POST", "/report", CALL_TIMEOUT, body=report.document())
        try:
            return frozenset(_task_id(each) for each in answer["forget"])
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(
                f"the manager's answer to a report makes no sense: {error}"
            ) from error

    async def desired(self, seen: int, wait: float) -> Desired:
        """What is wanted here, once its version is another than ``seen`` or ``wait`` seconds are
        over.

        :raises KcmsError: as of :meth:`report`
        """
        path = f"/desired?seen={seen}&wait={wait:g}"
        answer = await self._call("GET", path, wait + CALL_TIMEOUT)
        try:
            tasks = [WantedTask.parse(each) for each in answer["tasks"]]
            moves = [WantedMove.parse(each) for each in answer.get("moves", [])]
            version, store = int(answer["version"]), answer["store"]
            wanted = {_task_id((w.job, w.task, w.epoch, w.store)): w for w in tasks}
            stores = {each.store for each in tasks} | {each.store for each in moves}
            if type(store) is not str or stores - {store}:
                raise ValueError(f"tasks of another job store than the manager's {store!r:.100}")
            return Desired(version, store, wanted, {MoveId.of(each): each for each in moves})
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"what the manager wants makes no sense: {error}") from error

    async def _call(self, method: str, path: str, seconds: float, body: Any = None) -> Any:
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method, self._base + path, json=body, timeout=timeout
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(str(error) or f"no answer within {seconds:g} s") from error
        return _answer(response.status, text)


def _answer(status: int, text: str) -> Any:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ProtocolError(f"the manager answered HTTP {status} without JSON") from error
    if status == 200 and isinstance(document, dict):
        return document
    try:
        message = document["error"]["message"]
    except (KeyError, TypeError):
        message = f"HTTP {status}"
    raise Unavailable(f"the manager refuses: {message}")


def _task_id(values: Any) -> TaskId:
    job, task, epoch, store = values
    numbers = all(type(each) is int and each >= 0 for each in (job, task, epoch))
    if not numbers or type(store) is not str or not store:
        raise ValueError(f"not a task: {values!r:.100}")
    return TaskId(job, task, epoch, store)


async def retrying(
    what: str,
    attempt: Callable[[], Awaitable[None]],
    outage: Outage,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Call ``attempt`` for ever; after a failure wait longer each time, up to a bound."""
    while True:
        try:
            await attempt()
        except KcmsError as error:
            await sleep(outage.failed(what, error))
        else:
            outage.worked(what)

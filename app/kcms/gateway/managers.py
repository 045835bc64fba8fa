"""One TLS session to each manager, kept alive between calls."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from kcms.config import ClusterAddress, GatewayConfig
from kcms.errors import ConfigError, Forbidden, KcmsError, NotFound, ProtocolError, Unavailable
from kcms.gateway.line import Line
from kcms.tls import Identity, client_context, require_identity

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
CONNECTIONS = 16  # to one manager
TRIES = 2  # a connection that was kept alive may be gone when it is used again


UNKNOWN = {404: b'Not Found"', 405: b'Method Not Allowed"'}
"""What a manager says to a call that its release does not have; its own errors are sentences."""

UNSUPPORTED = 501


class Refused(KcmsError):
    """What a manager refused, to be handed on as it said it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Answer:
    """A manager's answer as it came: status and JSON bytes."""

    status: int
    body: bytes

    def document(self) -> dict[str, Any]:
        """What it answered.

        :raises Refused: the manager's own error  :raises ProtocolError: no such document
        """
        try:
            document = json.loads(self.body)
            if self.status < 400:
                return dict(document)
            error = document["error"]
            refused = Refused(self.status, str(error["code"]), str(error["message"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolError("the manager gave an answer that is none") from error
        raise refused


class ManagerObject(ssl.SSLObject):
    """A TLS client that ends the handshake when the peer is not the manager it should be.

    So not one byte of a request, and no user's name, goes to anybody else.
    """

    wanted: Identity

    def do_handshake(self) -> None:
        super().do_handshake()
        try:
            require_identity(self.getpeercert(), self.wanted)
        except Forbidden as error:
            raise ssl.SSLCertVerificationError(str(error)) from error


def manager_context(config: GatewayConfig, cluster: str) -> ssl.SSLContext:
    """A client's context that accepts only the manager of ``cluster``."""
    context = client_context(config.tls_ca, config.tls_certificate, config.tls_key)
    holder = type("ManagerObject", (ManagerObject,), {"wanted": Identity("manager", cluster)})
    context.sslobject_class = holder
    return context


class Clusters:
    """Which clusters can be reached from here, and which is meant when none is named."""

    def __init__(self, config: GatewayConfig) -> None:
        self.addresses = {each.name: each for each in config.clusters}
        if not config.clusters:
            raise ConfigError("the gateway's configuration names no clusters")
        if len(self.addresses) != len(config.clusters):
            raise ConfigError("the gateway's configuration names a cluster twice")
        self.default = config.default_cluster or config.clusters[0].name
        if self.default not in self.addresses:
            raise ConfigError(f"default_cluster {self.default!r} is none of {self.known()}")

    def known(self) -> str:
        return ", ".join(self.addresses)

    def named(self, name: str | None) -> ClusterAddress:
        """:raises NotFound: there is no such cluster"""
        wanted = name or self.default
        if wanted not in self.addresses:
            raise NotFound(f"there is no cluster {wanted!r} here; known are {self.known()}")
        return self.addresses[wanted]


class Managers:
    """Calls managers.  :meth:`open` belongs into the loop that makes the calls."""

    def __init__(
        self, sessions: Mapping[str, aiohttp.ClientSession], lines: Mapping[str, Line]
    ) -> None:
        self._sessions = sessions
        self._lines = lines

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: GatewayConfig) -> AsyncIterator[Managers]:
        async with contextlib.AsyncExitStack() as stack:
            sessions, lines = {}, {}
            for each in config.clusters:
                context = manager_context(config, each.name)
                sessions[each.name] = await stack.enter_async_context(_session(context))
                lines[each.name] = Line(each, context)
                stack.callback(lines[each.name].close)
            yield cls(sessions, lines)

    async def hand_on(
        self, cluster: ClusterAddress, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """A submission; as :meth:`call`, over the connection that is for these alone."""
        line = self._lines[cluster.name]
        for left in reversed(range(TRIES)):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await line.connect()
            except OSError as error:
                raise _unavailable(cluster, error, CONNECT_SECONDS) from error
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    status, kind, content = await line.call(path, headers, body)
            except OSError as error:
                if not left or isinstance(error, TimeoutError):
                    raise _unavailable(cluster, error, ANSWER_SECONDS) from error
            else:
                return _in_json(Answer(status, content), kind, cluster)
        raise AssertionError("unreachable: the last try returns or raises")

    async def call(
        self,
        cluster: ClusterAddress,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: Any = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """One call, tried again when a connection turns out to be gone.

        Every call of the API may be made twice: submissions and signals carry a key.

        :raises Unavailable: no answer  :raises ProtocolError: an answer that is no JSON
        """
        url = URL.build(
            scheme="https", host=cluster.address, port=cluster.port, path=path, query=query or {}
        )
        for left in reversed(range(TRIES)):
            try:
                async with asyncio.timeout(seconds):
                    session = self._sessions[cluster.name]
                    async with session.request(method, url, headers=headers, json=body) as answer:
                        found = Answer(answer.status, await answer.read())
                        return _in_json(found, answer.content_type, cluster)
            except (aiohttp.ClientError, OSError) as error:
                if not left or not _gone(error):
                    raise _unavailable(cluster, error, seconds) from error
        raise AssertionError("unreachable: the last try returns or raises")


def _session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS, keepalive_timeout=60.0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


def _gone(error: Exception) -> bool:
    """Did a connection break, rather than never come about?"""
    if isinstance(error, aiohttp.ClientConnectorError):
        return False
    return isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)


def _in_json(answer: Answer, content_type: str, cluster: ClusterAddress) -> Answer:
    if content_type != "application/json":
        raise ProtocolError(f"the manager of {cluster.name} did not answer in JSON")
    if answer.status in UNKNOWN and b'"message": "' + UNKNOWN[answer.status] in answer.body:
        raise Refused(
            UNSUPPORTED,
            "unsupported",
            f"the manager of {cluster.name} is of an older release, which cannot do this: "
            "upgrade it (playbooks/upgrade.yml)",
        )
    return answer


def _unavailable(cluster: ClusterAddress, error: Exception, seconds: float) -> Unavailable:
    where = f"the manager of {cluster.name} at {cluster.address} port {cluster.port}"
    look = f"systemctl status kcms-manager@{cluster.name} on that host says more"
    if isinstance(error, TimeoutError):
        return Unavailable(f"{where} did not answer within {seconds:g} s; {look}")
    return Unavailable(f"{where} cannot be reached: {reason(error)}; {look}")


PLAINLY = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.EHOSTUNREACH: "that host cannot be reached from here",
    errno.ENETUNREACH: "there is no way to that network from here",
    errno.ETIMEDOUT: "that host does not answer",
    errno.ECONNRESET: "it broke the connection off",
}


def reason(error: BaseException) -> str:
    """Why a connection could not be made, without numbers of the system."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return reason(error.certificate_error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message if getattr(error, "verify_message", "") else str(error.args[-1])
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        return reason(error.os_error)
    if isinstance(error, aiohttp.ServerTimeoutError | TimeoutError):
        return PLAINLY[errno.ETIMEDOUT]
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno:
        return PLAINLY.get(error.errno) or os.strerror(error.errno)
    return " ".join(str(error).split()) or "the connection was closed"

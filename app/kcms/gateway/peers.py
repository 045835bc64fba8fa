"""Other gateways of the site: listens for them, and opens streams to them, over TLS.

Each end has a certificate of the site's CA that lets it speak for users, and the one that opens a
stream shows a ticket, which the other has its manager look at: so a host that was taken off the
list of hosts opens nothing, and nothing else has to be told to anybody.  A stream begins with a
line of JSON from the one that opens it, ``{"kind": …, "ticket": …, "cluster": …}``, answered by
``{"error": null}`` or the API's error shape; what follows is the kind's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from kcms.config import ClusterAddress, GatewayConfig
from kcms.errors import Forbidden, InvalidRequest, KcmsError, Unavailable
from kcms.gateway.managers import Clusters, Managers, Refused, reason
from kcms.gateway.streams import BUFFER, Pair
from kcms.listener import Listener, bound, listening
from kcms.tls import Identity, client_context, identities, server_context

log = logging.getLogger("kcms.gateway")

HANDSHAKE_SECONDS = 10.0
LINE_SECONDS = 10.0
LINE_LIMIT = 4096
INBOUND = 512  # streams from others at one time
OF_ONE = 256  # connections of one address, from before the handshake on
SPEAKERS = ("submit", "admin")
FILE = "file"
"""The kind of a stream that carries a file."""

Serve = Callable[[Pair, Mapping[str, Any]], Awaitable[None]]
"""Serves a stream of one kind: takes the connection, and what the ticket is for.  It answers with
:func:`accept`; what it raises before that is told to the other end."""


def speaker_of(peer_certificate: dict[str, Any] | None) -> str:
    """The host that a certificate lets speak for users.  :raises Forbidden: none"""
    for each in identities(peer_certificate):
        if each.role in SPEAKERS:
            return each.name
    raise Forbidden("this certificate may not speak for users")


class Peers:
    """The streams from and to other gateways.

    :param clusters: whose managers give the tickets for this host; one that names none is of the
        default's
    :param kinds: who serves streams from others, by kind
    """

    def __init__(
        self,
        config: GatewayConfig,
        managers: Managers,
        clusters: Clusters,
        kinds: Mapping[str, Serve],
    ) -> None:
        self._config = config
        self._managers = managers
        self._clusters = clusters
        self._kinds = kinds
        self._inbound: set[asyncio.Task[None]] = set()

    # from others ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve others for as long as the context lasts, if an address is set.

        :raises ConfigError: the address or port cannot be had
        """
        config = self._config
        if not config.address:
            yield
            return
        context = server_context(config.tls_ca, config.tls_certificate, config.tls_key)
        listener = Listener(
            bound(config.address, config.port), self._protocol, context, OF_ONE, quiet=None
        )
        try:
            async with listening(listener):
                yield
        finally:
            for each in self._inbound:
                each.cancel()
            await asyncio.gather(*self._inbound, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(BUFFER), self._connected)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        pair = Pair(reader, writer)
        if task is None or len(self._inbound) >= INBOUND:
            pair.abort()
            return
        self._inbound.add(task)
        try:
            await self._served(pair)
        except (OSError, ssl.SSLError) as error:
            log.info("a stream broke: %s", error)
        except asyncio.CancelledError:
            return  # the gateway is being stopped; asyncio would log it as a failure
        finally:
            self._inbound.discard(task)
            pair.abort()

    async def _served(self, pair: Pair) -> None:
        pair.notice_death()
        try:
            serve, claims = await self._admitted(pair)
            await serve(pair, claims)
        except KcmsError as error:
            refusal = {"error": {"code": error.code, "message": error.message}}
            await pair.write(json.dumps(refusal).encode() + b"\n")
            await pair.flush()

    async def _admitted(self, pair: Pair) -> tuple[Serve, Mapping[str, Any]]:
        """Who serves a stream, and what its ticket is for.  :raises KcmsError: it may not be"""
        tls = pair.writer.get_extra_info("ssl_object")
        host = speaker_of(tls.getpeercert() if tls else None)
        hello = await read_line(pair.reader)
        kind, ticket = hello.get("kind"), hello.get("ticket")
        serve = self._kinds.get(kind) if isinstance(kind, str) else None
        if serve is None:
            known = ", ".join(self._kinds)
            raise InvalidRequest(f"there are no streams of kind {kind!r:.60} here, but {known}")
        named = hello.get("cluster")
        cluster = self._clusters.named(named if isinstance(named, str) else None)
        body = {"ticket": ticket, "host": host}
        answer = await self._managers.call(cluster, "POST", "/v1/tickets", {}, body=body)
        claims = answer.document()
        if claims.get("kind") != kind:
            raise Forbidden(f"this ticket is not for streams of kind {kind!r:.60}")
        staged = kind == FILE and claims.get("staged") is True
        if not staged and cluster != self._clusters.named(None):
            raise Forbidden(
                f"this host is none of cluster {cluster.name}, whose tickets are for staged files "
                "alone here"
            )
        log.info("%s opens a stream to %s for %s", host, kind, claims.get("user"))
        return serve, claims

    # to others -----------------------------------------------------------------------------------

    async def open(
        self,
        node: str,
        address: str,
        port: int,
        kind: str,
        ticket: str,
        cluster: ClusterAddress | None = None,
    ) -> Pair:
        """A stream to the gateway of ``node``, admitted there.

        :param cluster: the one whose manager gave the ticket, where it may not be the default there

        :raises Refused: as the other said it  :raises Unavailable: it cannot be reached
        """
        pair = await self._connect(node, address, port)
        try:
            hello = {"kind": kind, "ticket": ticket}
            if cluster is not None:
                hello["cluster"] = cluster.name
            await pair.write(json.dumps(hello).encode() + b"\n")
            answer = await read_line(pair.reader)
        except (OSError, InvalidRequest) as error:
            pair.abort()
            raise Unavailable(f"the gateway of {node} broke off") from error
        except BaseException:
            pair.abort()
            raise
        refusal = answer.get("error")
        if isinstance(refusal, dict):
            pair.abort()
            raise Refused(409, str(refusal.get("code")), str(refusal.get("message")))
        return pair

    async def _connect(self, node: str, address: str, port: int) -> Pair:
        config = self._config
        context = client_context(config.tls_ca, config.tls_certificate, config.tls_key)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=context, limit=BUFFER
                )
        except (OSError, TimeoutError) as error:
            raise Unavailable(
                f"the gateway of {node} at {address} port {port} cannot be reached: {reason(error)}"
            ) from error
        pair = Pair(reader, writer)
        found = identities(writer.get_extra_info("ssl_object").getpeercert())
        if not any(Identity(role, node) in found for role in SPEAKERS):
            pair.abort()
            raise Unavailable(f"what listens at {address} port {port} is not the gateway of {node}")
        pair.notice_death()
        return pair


async def accept(pair: Pair) -> None:
    """Say that a stream is admitted."""
    await pair.write(json.dumps({"error": None}).encode() + b"\n")


async def read_line(reader: asyncio.StreamReader) -> dict[str, Any]:
    """:raises InvalidRequest: no line of JSON that is an object, or not in time"""
    try:
        async with asyncio.timeout(LINE_SECONDS):
            line = await reader.readuntil(b"\n")
        found = json.loads(line) if len(line) <= LINE_LIMIT else None
    except (TimeoutError, ValueError, RecursionError, EOFError, asyncio.LimitOverrunError) as error:
        raise InvalidRequest("a stream begins with a line of JSON") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"a stream begins with an object of up to {LINE_LIMIT} bytes of JSON")
    return found

"""What the manager's API and the gateway share: one JSON error shape, limits, JSON bodies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from kcms.errors import InvalidRequest, KcmsError
from kcms.service import escaped

BODY_LIMIT = 256 * 1024
BULK = "/v1/jobs/bulk"
BULK_BYTES = 1024 * 1024
"""Of a request that submits many jobs."""

BULK_JOBS = 1000
log = logging.getLogger("kcms.http")

Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Asked(Protocol):
    """What handlers use of a request: a ``web.Request``, or one that came by kcms.express."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def query(self) -> Mapping[str, str]: ...

    @property
    def transport(self) -> asyncio.Transport | None: ...

    async def read(self) -> bytes: ...


def error_response(status: int, code: str, message: str) -> web.Response:
    """The one error shape of the API: one line, whatever of the caller's is in it."""
    return web.json_response({"error": {"code": code, "message": escaped(message)}}, status=status)


@web.middleware
async def errors_as_json(request: Any, handler: Handler) -> web.StreamResponse:
    """Turn every failure of a handler into the one error shape."""
    try:
        return await handler(request)
    except KcmsError as error:
        return error_response(error.status, error.code, error.message)
    except web.HTTPRequestEntityTooLarge:
        return too_large(request.path)
    except web.HTTPException as error:
        return error_response(error.status, error.reason.lower().replace(" ", "_"), error.reason)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_response(500, "internal_error", "the daemon failed; its journal says why")


def most_bytes(path: str) -> int:
    """How large the body of a request to ``path`` may be."""
    return BULK_BYTES if path == BULK else BODY_LIMIT


def too_large(path: str) -> web.Response:
    return error_response(413, "too_large", f"the request is over {most_bytes(path)} bytes")


def application() -> web.Application:
    """An application with the error shape set, and the largest limit of a body that there is."""
    return web.Application(middlewares=[errors_as_json], client_max_size=BULK_BYTES)


async def json_body(request: Asked) -> dict[str, Any]:
    """The request's body as an object.  :raises InvalidRequest: it is none"""
    try:
        document = json.loads(await request.read() or b"{}")
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    return document


async def bulk_rows(request: Asked) -> list[dict[str, Any]]:
    """The jobs of a request that submits many, each an object of what else is one's body.

    :raises InvalidRequest: it is none
    """
    body = await json_body(request)
    rows = body.pop("jobs", None)
    if body:
        raise InvalidRequest(f"unknown member {min(body)!r}; known are jobs")
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise InvalidRequest("jobs must be a list of objects with spec and key")
    if not 0 < len(rows) <= BULK_JOBS:
        raise InvalidRequest(f"jobs must be 1 to {BULK_JOBS}, not {len(rows)}")
    return rows


def error_document(error: KcmsError) -> dict[str, Any]:
    """A row of an answer to many, of one that was refused."""
    return {
        "status": error.status,
        "error": {"code": error.code, "message": escaped(error.message)},
    }

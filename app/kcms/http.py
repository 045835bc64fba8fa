"""What the manager's API and the gateway share: one JSON error shape, limits, JSON bodies."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kcms.errors import InvalidRequest, KcmsError
from kcms.service import escaped

BODY_LIMIT = 256 * 1024
log = logging.getLogger("kcms.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_response(status: int, code: str, message: str) -> web.Response:
    """The one error shape of the API: one line, whatever of the caller's is in it."""
    return web.json_response({"error": {"code": code, "message": escaped(message)}}, status=status)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure of a handler into the one error shape."""
    try:
        return await handler(request)
    except KcmsError as error:
        return error_response(error.status, error.code, error.message)
    except web.HTTPRequestEntityTooLarge:
        return error_response(413, "too_large", f"the request is over {BODY_LIMIT} bytes")
    except web.HTTPException as error:
        return error_response(error.status, error.reason.lower().replace(" ", "_"), error.reason)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_response(500, "internal_error", "the daemon failed; its journal says why")


def application() -> web.Application:
    """An application with the error shape and the body limit set."""
    return web.Application(middlewares=[errors_as_json], client_max_size=BODY_LIMIT)


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's body as an object.  :raises InvalidRequest: it is none"""
    try:
        document = json.loads(await request.read() or b"{}")
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a JSON object")
    return document

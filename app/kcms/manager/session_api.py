"""The calls of API version 1 about passwords and logins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from kcms.errors import Forbidden, InvalidRequest, Unauthorized
from kcms.http import Asked, json_body
from kcms.manager.core import Caller
from kcms.manager.logins import Asker, Logins
from kcms.manager.passwords import LONGEST
from kcms.manager.sessions import Account

TOKEN = "Kcms-Token"  # noqa: S105 - the name of a header
NAMES = ("Kcms-User", "Kcms-Uid", "Kcms-Gid")


class SessionApi:
    """The handlers.

    :param caller: who calls, as the API of jobs knows it
    :param speaker: the host that calls; it raises Forbidden when it may not speak for users
    """

    def __init__(
        self,
        logins: Logins,
        caller: Callable[[web.Request], Caller],
        speaker: Callable[[web.Request], tuple[str, bool]],
    ) -> None:
        self._logins = logins
        self._caller = caller
        self._speaker = speaker

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/password", self.password)
        app.router.add_post("/v1/login", self.login)
        app.router.add_get("/v1/session", self.session)
        app.router.add_post("/v1/logout", self.logout)

    async def password(self, request: web.Request) -> web.Response:
        self._speaker(request)
        if TOKEN in request.headers:
            raise Forbidden(
                "a login cannot change its password: run kcms web-password on a host of the grid"
            )
        body = _members(await json_body(request), "password")
        await self._logins.set_password(self._caller(request), body["password"])
        return web.json_response({})

    async def login(self, request: web.Request) -> web.Response:
        host, _ = self._speaker(request)
        body = _members(await json_body(request), "user", "password")
        user, password = body["user"], body["password"]
        if not all(isinstance(each, str) and len(each) <= LONGEST for each in (user, password)):
            raise InvalidRequest(f"user and password must be texts of up to {LONGEST} characters")
        asker = Asker(request.headers.get("Kcms-User", "nobody")[:64], host)
        token, account, left = await self._logins.login(asker, user, password)
        ends = time.time() + left
        return web.json_response(
            {"token": token, "user": account.user, "root": account.root, "expires": ends}
        )

    async def session(self, request: web.Request) -> web.Response:
        self._speaker(request)
        return web.json_response(_document(*self._logins.session(token_of(request))))

    async def logout(self, request: web.Request) -> web.Response:
        self._speaker(request)
        self._logins.logout(token_of(request))
        return web.json_response({})


def token_of(request: Asked) -> str:
    """The token of a call.  :raises Unauthorized: none  :raises InvalidRequest: and a user"""
    if any(each in request.headers for each in NAMES):
        raise InvalidRequest(f"a call has {TOKEN} or the three {', '.join(NAMES)}, not both")
    token = request.headers.get(TOKEN)
    if token is None:
        raise Unauthorized("nobody is logged in")
    return token


def _document(account: Account, left: float) -> dict[str, Any]:
    return {
        "user": account.user,
        "uid": account.uid,
        "gid": account.gid,
        "root": account.root,
        "expires": time.time() + left,
    }


def _members(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """``body`` with these members and no others.  :raises InvalidRequest: it has not"""
    if body.keys() != set(names):
        raise InvalidRequest(f"the body must have {' and '.join(names)}, and nothing else")
    return body

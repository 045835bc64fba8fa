"""API version 1 on the Unix socket: who is calling, is it well-formed, then on to the manager."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from kcms.config import ClusterAddress
from kcms.errors import InvalidRequest, KcmsError
from kcms.gateway.checker import Checker
from kcms.gateway.door import tell_guard, uid_of
from kcms.gateway.managers import Answer, Clusters, Managers
from kcms.gateway.submission import Submission, parse
from kcms.gateway.users import Caller, User, UserDatabase, caller, in_time, lister, submitter
from kcms.http import application, json_body

log = logging.getLogger("kcms.gateway")

PING_SECONDS = 3.0
OURS = frozenset({"cluster", "check"})  # query parameters that are not the manager's


class Gateway:
    """The handlers, over what they need."""

    def __init__(
        self, clusters: Clusters, managers: Managers, checker: Checker, users: UserDatabase
    ) -> None:
        self._clusters = clusters
        self._managers = managers
        self._checker = checker
        self._users = users

    def application(self) -> web.Application:
        app = application()
        app.middlewares.insert(0, tell_guard)
        app.router.add_post("/v1/jobs", self.submit)
        app.router.add_get("/v1/jobs", self.jobs)
        app.router.add_get("/v1/jobs/{id}", self.job)
        app.router.add_post("/v1/jobs/{id}/kill", self.kill)
        app.router.add_get("/v1/clusters", self.clusters)
        for path in ("/v1/nodes", "/v1/ping", "/v1/openapi.json"):
            app.router.add_get(path, self.forward)
        return app

    async def submit(self, request: web.Request) -> web.Response:
        user = submitter(await self._caller(request))
        cluster = self._cluster(request)
        submission = parse(await json_body(request), user)
        await self._checker.check(user, submission.files())
        if request.query.get("check", "0") != "0":
            return web.json_response({"checked": True, "spec": submission.spec})
        return _response(await self._submitted(cluster, user, submission))

    async def _submitted(
        self, cluster: ClusterAddress, user: User, submission: Submission
    ) -> Answer:
        """Hand a submission on; with a key of our own if it has none, so that it can be repeated
        when the connection breaks, and still is one job."""
        key = submission.key or f"gateway-{uuid.uuid4()}"
        answer = await self._managers.call(
            cluster, "POST", "/v1/jobs", _headers(user), body={"spec": submission.spec, "key": key}
        )
        log.info("%s submits %s: %d", user.name, submission.spec["executable"], answer.status)
        if answer.status == 200 and submission.key is None:
            return Answer(201, answer.body)
        return answer

    async def jobs(self, request: web.Request) -> web.Response:
        who = await self._caller(request)
        wanted = request.query.get("user")
        user = await asyncio.to_thread(lister, who, wanted, self._users)
        return await self._forwarded(request, user)

    async def job(self, request: web.Request) -> web.Response:
        _job_id(request)
        return await self.forward(request)

    async def kill(self, request: web.Request) -> web.Response:
        number = _job_id(request)
        await json_body(request)
        user = (await self._caller(request)).user
        answer = await self._forwarded(request, user, body={})
        log.info("%s kills job %s: %d", user.name, number, answer.status)
        return answer

    async def forward(self, request: web.Request) -> web.Response:
        return await self._forwarded(request, (await self._caller(request)).user)

    async def _forwarded(self, request: web.Request, user: User, body: Any = None) -> web.Response:
        query = {key: value for key, value in request.query.items() if key not in OURS}
        answer = await self._managers.call(
            self._cluster(request), request.method, request.path, _headers(user), query, body
        )
        return _response(answer)

    async def clusters(self, request: web.Request) -> web.Response:
        user = (await self._caller(request)).user
        known = self._clusters.addresses.values()
        found = await asyncio.gather(*(self._asked(each, user) for each in known))
        return web.json_response({"clusters": found})

    async def _asked(self, cluster: ClusterAddress, user: User) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": cluster.name,
            "default": cluster.name == self._clusters.default,
            "address": cluster.address,
            "port": cluster.port,
        }
        try:
            answer = await self._managers.call(
                cluster, "GET", "/v1/ping", _headers(user), seconds=PING_SECONDS
            )
        except KcmsError as error:
            return {**row, "state": "DOWN", "release": None, "message": error.message}
        document = json.loads(answer.body)
        if answer.status != 200:
            return {**row, "state": "DOWN", "release": None, "message": _message(document)}
        return {**row, "state": "UP", "release": document.get("release"), "message": ""}

    async def _caller(self, request: web.Request) -> Caller:
        uid = peer_uid(request)
        wanted = request.headers.get("Kcms-As")
        name = None if wanted is None else unquote(wanted)
        return await in_time(lambda: caller(uid, name, self._users))

    def _cluster(self, request: web.Request) -> ClusterAddress:
        return self._clusters.named(request.query.get("cluster"))


def peer_uid(request: web.Request) -> int:
    """The uid of the process at the other end, as the kernel recorded it when it connected."""
    assert request.transport is not None
    return uid_of(request.transport.get_extra_info("socket"))


def _job_id(request: web.Request) -> int:
    text = request.match_info["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest(f"a job's id is a whole number, not {text!r}")
    return int(text)


def _headers(user: User) -> dict[str, str]:
    return {"Kcms-User": user.name, "Kcms-Uid": str(user.uid), "Kcms-Gid": str(user.gid)}


def _response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, content_type="application/json")


def _message(document: Any) -> str:
    try:
        return str(document["error"]["message"])
    except (KeyError, TypeError):
        return "the manager refused without a reason"

"""API version 1 on the Unix socket: who is calling, is it well-formed, then on to the manager."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import uuid
from typing import Any

from aiohttp import web

from kcms.config import ClusterAddress
from kcms.door import tell_guard, whole_body
from kcms.errors import Forbidden, InvalidRequest, KcmsError, NotFound
from kcms.express import Road
from kcms.gateway import output
from kcms.gateway.attach import Attaching
from kcms.gateway.checker import Checker
from kcms.gateway.desk import Desk, Name, Outcome, Turns
from kcms.gateway.files import Files, Wisher
from kcms.gateway.managers import Answer, Clusters, Managers
from kcms.gateway.submission import Submission, parse
from kcms.gateway.users import (
    User,
    UserDatabase,
    in_time,
    lister,
    local_user,
    require_person,
    submitter,
)
from kcms.gateway.voice import AS, Voice, logged_in, voice, voice_of
from kcms.http import BULK, Asked, application, bulk_rows, error_document, json_body
from kcms.jobs.number import job_number

log = logging.getLogger("kcms.gateway")

PING_SECONDS = 3.0
PARSED = 50  # submissions, about a ms
ACTS = (
    *("kill", "hold", "release", "suspend", "resume", "requeue"),
    *("checkpoint", "restart"),
)
OURS = frozenset({"cluster", "check"})  # query parameters that are not the manager's
NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")


class Gateway:
    """The handlers, over what they need."""

    def __init__(
        self,
        clusters: Clusters,
        managers: Managers,
        checker: Checker,
        users: UserDatabase,
        attaching: Attaching,
        files: Files,
    ) -> None:
        self._clusters = clusters
        self._managers = managers
        self._checker = checker
        self._users = users
        self._attaching = attaching
        self._files = files
        self._desk = Desk(managers, checker)
        self._turns = Turns()

    def application(self) -> web.Application:
        app = application()
        app.middlewares.insert(0, tell_guard)
        app.middlewares.append(whole_body)
        app.router.add_post("/v1/jobs", self.submit)
        app.router.add_post(BULK, self.bulk)
        app.router.add_get("/v1/jobs", self.listing)
        app.router.add_get("/v1/jobs/{id}", self.job)
        app.router.add_get("/v1/jobs/{id}/output", self.output)
        app.router.add_get("/v1/jobs/{id}/attach", self.attach)
        app.router.add_get("/v1/jobs/{id}/file", self.file)
        for act in ACTS:
            app.router.add_post(f"/v1/jobs/{{id}}/{act}", functools.partial(self.act, act))
        app.router.add_post("/v1/jobs/{id}/signal", self.signal)
        app.router.add_post("/v1/jobs/{id}/migrate", self.migrate)
        app.router.add_get("/v1/processes", self.listing)
        app.router.add_get("/v1/accounting", self.listing)
        app.router.add_post("/v1/nodes/{name}/state", self.node_state)
        app.router.add_get("/v1/nodes/{name}/leaving", self.leaving)
        app.router.add_get("/v1/clusters", self.clusters)
        app.router.add_get("/v1/places", self.places)
        for path in ("/v1/nodes", "/v1/balance", "/v1/ping", "/v1/openapi.json", "/v1/session"):
            app.router.add_get(path, self.forward)
        for path in ("/v1/password", "/v1/login", "/v1/logout"):
            app.router.add_post(path, self.forward_body)
        return app

    def road(self) -> Road:
        """The fast way for submissions."""
        return Road({"/v1/jobs": self.submit, BULK: self.bulk}, (AS,))

    async def submit(self, request: Asked) -> web.Response:
        name = await self._name(request)
        submission = parse(await json_body(request), name.user)
        if request.query.get("check", "0") != "0":
            await self._checker.check(name.user, submission.files())
            return web.json_response({"checked": True, "spec": submission.spec})
        (outcome,) = await self._desk.submit(name, [submission])
        if isinstance(outcome, KcmsError):
            raise outcome
        log.info("%s submits %s: %d", name.user.name, submission.program, outcome.status)
        return _response(_as_new(outcome, submission))

    async def bulk(self, request: Asked) -> web.Response:
        """Many submissions, each by itself: an answer for each, in their order."""
        if request.query.get("check", "0") != "0":
            raise InvalidRequest("many submissions cannot be checked only: check one by one")
        name = await self._name(request)
        async with self._turns.turn(name.user, len(await request.read())):
            rows = await self._bulk(name, await bulk_rows(request))
        return web.Response(
            body=b'{"jobs": [%s]}' % b", ".join(rows), content_type="application/json"
        )

    async def _bulk(self, name: Name, asked: list[dict[str, Any]]) -> list[bytes]:
        """The answer to each; others have their turns while these are taken apart."""
        parsed: list[Submission | bytes] = []
        for at in range(0, len(asked), PARSED):
            parsed += [_parsed(row, name.user) for row in asked[at : at + PARSED]]
            await asyncio.sleep(0)
        good = [each for each in parsed if isinstance(each, Submission)]
        outcomes = iter(await self._desk.submit(name, good))
        log.info("%s submits %d jobs", name.user.name, len(good))
        return [each if isinstance(each, bytes) else _row(next(outcomes), each) for each in parsed]

    async def _name(self, request: Asked) -> Name:
        """In whose name something is submitted, and where to."""
        speaks = await voice(request, self._users)
        cluster = self._cluster(request)
        if speaks.caller is None:
            user = await logged_in(speaks, cluster, self._managers, self._users)
        else:
            user = submitter(speaks.caller)
        return Name.of(cluster, user, speaks.headers)

    async def listing(self, request: web.Request) -> web.Response:
        """Jobs, processes or what jobs took; of a name that neither this host nor the answer
        knows, an error."""
        speaks, wanted = await voice(request, self._users), request.query.get("user")
        if speaks.caller is None:
            return _response(await self._asked(request, speaks))
        who = speaks.caller
        found = await in_time(lambda: lister(who, wanted, self._users))
        answer = await self._asked(request, voice_of(found.user, who))
        if found.unknown is not None and (
            answer.status == Forbidden.status or not _lists_any(answer.document())
        ):
            raise NotFound(f"there is no user {found.unknown!r} on this host, and nothing to list")
        return _response(answer)

    async def job(self, request: web.Request) -> web.Response:
        _job_id(request)
        return await self.forward(request)

    async def output(self, request: web.Request) -> web.Response:
        """A part of a job's output, read as the owner of the job, who need not be the caller."""
        number, wanted = _job_id(request), output.wanted(request.query)
        speaks = await voice(request, self._users)
        path, cluster = f"/v1/jobs/{number}", self._cluster(request)
        query = {"tasks": "0", "task": str(wanted.task)}
        answer = await self._managers.call(cluster, "GET", path, speaks.headers, query)
        job = answer.document()
        file = output.file_of(job, wanted.which, wanted.task)
        node = output.node_of(job, wanted.task)
        if node not in ("", self._files.host) and not await self._sees(*file):
            end = await self._files.tail(Wisher(speaks, cluster, number), wanted)
            return web.json_response({"path": file.path, **end})
        user = await in_time(lambda: local_user(self._users, file.user, file.uid))
        end = await self._checker.tail(user, wanted.which, file.path, wanted.count, wanted.begin)
        return web.json_response({"path": file.path, **end})

    async def _sees(self, path: str, name: str, uid: int) -> bool:
        """Whether a file of a user is one that every host has."""
        if not self._checker.shared:
            return False
        try:
            user = await in_time(lambda: local_user(self._users, name, uid))
        except Forbidden:  # nobody of this host
            return False
        return await self._checker.sees(user, path)

    async def file(self, request: web.Request) -> web.Response:
        """Take the connection over for a file of a job, from the host that has it."""
        number, speaks = _job_id(request), await voice(request, self._users)
        wisher = Wisher(speaks, self._cluster(request), number)
        return await self._files.take(request, wisher, self._sees)

    async def attach(self, request: web.Request) -> web.Response:
        """Take the connection over for whoever is to be attached to an interactive job."""
        number, speaks = _job_id(request), await voice(request, self._users)
        if speaks.caller is not None:
            require_person(speaks.caller)
        return await self._attaching.attach(request, speaks, self._cluster(request), number)

    async def act(self, act: str, request: web.Request) -> web.Response:
        what = f"{act} job {_job_id(request)}"
        return await self._told(request, what, await json_body(request))

    async def signal(self, request: web.Request) -> web.Response:
        """With a key of our own if it has none: the call may be made twice, and signals once."""
        body = await json_body(request)
        if body.get("key") is None:
            body["key"] = f"gateway-{uuid.uuid4()}"
        return await self._told(request, f"signal job {_job_id(request)}", body)

    async def migrate(self, request: web.Request) -> web.Response:
        what = f"migrate job {_job_id(request)}"
        return await self._told(request, what, await json_body(request))

    async def node_state(self, request: web.Request) -> web.Response:
        name = _node(request)
        return await self._told(request, f"set the state of {name}", await json_body(request))

    async def leaving(self, request: web.Request) -> web.Response:
        _node(request)
        return await self.forward(request)

    async def _told(self, request: web.Request, what: str, body: dict[str, Any]) -> web.Response:
        """Hand on what changes something, and say so in the journal."""
        speaks = await voice(request, self._users)
        answer = await self._asked(request, speaks, body)
        log.info("%s asks to %s: %d", speaks.name, what, answer.status)
        return _response(answer)

    async def forward(self, request: web.Request) -> web.Response:
        return _response(await self._asked(request, await voice(request, self._users)))

    async def forward_body(self, request: web.Request) -> web.Response:
        """What has a password in it is in no log."""
        body = await json_body(request)
        return _response(await self._asked(request, await voice(request, self._users), body))

    async def _asked(self, request: web.Request, speaks: Voice, body: Any = None) -> Answer:
        query = {key: value for key, value in request.query.items() if key not in OURS}
        return await self._managers.call(
            self._cluster(request), request.method, request.path, speaks.headers, query, body
        )

    async def clusters(self, request: web.Request) -> web.Response:
        speaks = await voice(request, self._users)
        known = self._clusters.addresses.values()
        found = await asyncio.gather(*(self._pinged(each, speaks) for each in known))
        return web.json_response({"clusters": found})

    async def places(self, request: web.Request) -> web.Response:
        """Where the caller's files may lie, for those who bring them from elsewhere."""
        speaks = await voice(request, self._users)
        if speaks.caller is None:
            raise InvalidRequest("a login on the page has no files on this host")
        user = speaks.caller.user
        return web.json_response(
            {
                "user": user.name,
                "home": user.home,
                "shared": self._checker.shared,
                "brings": True,  # what lies elsewhere, by GET /v1/jobs/ID/file
            }
        )

    async def _pinged(self, cluster: ClusterAddress, speaks: Voice) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": cluster.name,
            "default": cluster.name == self._clusters.default,
            "address": cluster.address,
            "port": cluster.port,
        }
        try:
            answer = await self._managers.call(
                cluster, "GET", "/v1/ping", speaks.headers, seconds=PING_SECONDS
            )
            document = answer.document()
        except KcmsError as error:
            return {**row, "state": "DOWN", "release": None, "message": error.message}
        return {**row, "state": "UP", "release": document.get("release"), "message": ""}

    def _cluster(self, request: Asked) -> ClusterAddress:
        return self._clusters.named(request.query.get("cluster"))


def _node(request: web.Request) -> str:
    """:raises InvalidRequest: the call names none"""
    name = request.match_info["name"]
    if not NODE.fullmatch(name):
        raise InvalidRequest(f"{name!r:.300} cannot be the name of a node")
    return name


def _lists_any(document: dict[str, Any]) -> bool:
    return any(each for each in document.values() if isinstance(each, list))


def _as_new(answer: Answer, submission: Submission) -> Answer:
    """A job that was there already was made by the same call, tried twice, unless the caller gave
    its key."""
    again = answer.status == 200 and submission.key is None
    return Answer(201, answer.body) if again else answer


def _parsed(row: dict[str, Any], user: User) -> Submission | bytes:
    """A submission, or the row of an answer that says what is wrong with it."""
    try:
        return parse(row, user)
    except KcmsError as error:
        return json.dumps(error_document(error)).encode()


def _row(outcome: Outcome, submission: Submission) -> bytes:
    if isinstance(outcome, KcmsError):
        return json.dumps(error_document(outcome)).encode()
    answer = _as_new(outcome, submission)
    try:
        answer.document()
    except KcmsError as error:
        return json.dumps(error_document(error)).encode()
    return b'{"status": %d, "job": %s}' % (answer.status, answer.body)


def _job_id(request: web.Request) -> int:
    text = request.match_info["id"]
    number = job_number(text)
    if number is None:
        raise InvalidRequest(f"a job is named by its number, not {text!r:.100}")
    return number


def _response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, content_type="application/json")

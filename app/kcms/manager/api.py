"""The manager's API, version 1: who calls, what they ask, in which words.  See openapi.py.

The caller is the peer's certificate, looked up in the list of hosts at every request, so that a
host that was removed gets nowhere from then on, on open connections too.
"""

from __future__ import annotations

import functools
import re
import ssl
import time
import uuid
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

import kcms
from kcms.door import tell_guard, whole_body
from kcms.errors import Forbidden, InvalidRequest, KcmsError, ProtocolError
from kcms.express import Road
from kcms.http import BULK, Asked, application, bulk_rows, error_document, json_body
from kcms.jobs.listed import LISTED_TASKS, Listed
from kcms.jobs.model import Job, NodeReport
from kcms.jobs.number import job_number
from kcms.jobs.spec import NAME_LIMIT, TASKS_LIMIT, SpecError, check_key, check_spec
from kcms.jobs.states import State
from kcms.manager import openapi, signals
from kcms.manager.accounting import MOST_ROWS, Question
from kcms.manager.attach_api import AttachApi
from kcms.manager.core import Caller
from kcms.manager.documents import job_json
from kcms.manager.engine import Engine
from kcms.manager.file_api import FileApi
from kcms.manager.hosts import Hosts
from kcms.manager.logins import Logins
from kcms.manager.session_api import NAMES, TOKEN, SessionApi, token_of
from kcms.manager.store import Query
from kcms.manager.tickets import Tickets
from kcms.tls import Identity, identities

USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\$?")
LISTING_LIMIT = 10_000
WAIT_LIMIT = 60.0


class Api:
    """The handlers; :meth:`application` wires them."""

    def __init__(self, cluster: str, engine: Engine, hosts: Hosts, logins: Logins) -> None:
        self._cluster = cluster
        self._engine = engine
        self._hosts = hosts
        self._logins = logins
        self._tickets = Tickets(time.monotonic)
        self._claimed: WeakKeyDictionary[ssl.SSLObject, frozenset[Identity]] = WeakKeyDictionary()

    def application(self) -> web.Application:
        app = application()
        app.middlewares.insert(0, tell_guard)
        app.middlewares.append(whole_body)
        app.router.add_get("/v1/ping", self.ping)
        app.router.add_get("/v1/openapi.json", self.openapi)
        app.router.add_post("/v1/jobs", self.submit)
        app.router.add_post(BULK, self.bulk)
        app.router.add_get("/v1/jobs", self.jobs)
        app.router.add_get("/v1/jobs/{id}", self.job)
        app.router.add_post("/v1/jobs/{id}/kill", self.kill)
        for act in ("hold", "release", "suspend", "resume", "requeue"):
            app.router.add_post(f"/v1/jobs/{{id}}/{act}", functools.partial(self.act, act))
        for act in ("checkpoint", "restart"):
            app.router.add_post(f"/v1/jobs/{{id}}/{act}", functools.partial(self.act_on_tasks, act))
        app.router.add_post("/v1/jobs/{id}/signal", self.signal)
        app.router.add_post("/v1/jobs/{id}/migrate", self.migrate)
        app.router.add_get("/v1/nodes", self.nodes)
        app.router.add_post("/v1/nodes/{name}/state", self.node_state)
        app.router.add_get("/v1/nodes/{name}/leaving", self.leaving)
        app.router.add_get("/v1/balance", self.balance)
        app.router.add_get("/v1/processes", self.processes)
        app.router.add_get("/v1/accounting", self.accounting)
        app.router.add_post("/v1/nodes/{name}/report", self.report)
        app.router.add_get("/v1/nodes/{name}/desired", self.desired)
        SessionApi(self._logins, self._caller, self._speaker).add_routes(app)
        AttachApi(
            self._engine, self._hosts, self._tickets, self._caller, self._speaker, _job_id
        ).add_routes(app)
        FileApi(self._engine, self._hosts, self._tickets, self._caller, _job_id).add_routes(app)
        return app

    async def ping(self, request: web.Request) -> web.Response:
        self._roles(request)
        return web.json_response(
            {"cluster": self._cluster, "release": kcms.__version__, "time": time.time()}
        )

    async def openapi(self, request: web.Request) -> web.Response:
        self._roles(request)
        return web.json_response(openapi.document())

    def road(self) -> Road:
        """The fast way for submissions."""
        handlers = {"/v1/jobs": self.submit, BULK: self.bulk}
        return Road(handlers, (*NAMES, TOKEN))

    async def submit(self, request: Asked) -> web.Response:
        caller = self._caller(request)
        spec, key = _submission(await json_body(request))
        job, created = await self._engine.submit(caller, spec, key)
        return web.json_response(job.document(), status=201 if created else 200)

    async def bulk(self, request: Asked) -> web.Response:
        """Many submissions, each by itself, in one commit: an answer for each, in their order."""
        caller = self._caller(request)
        asked: list[tuple[dict[str, Any], str | None] | KcmsError] = []
        for row in await bulk_rows(request):
            try:
                asked.append(_submission(row))
            except InvalidRequest as error:
                asked.append(error)
        good = [each for each in asked if not isinstance(each, KcmsError)]
        made = iter(await self._engine.submit_all(caller, good))
        outcomes = (each if isinstance(each, KcmsError) else next(made) for each in asked)
        return web.json_response({"jobs": [_row(each) for each in outcomes]})

    async def jobs(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        query = Query(
            _whose(request, caller, "jobs"),
            _states(request),
            name=_pattern(request),
            limit=_number(request, "limit", 1000, LISTING_LIMIT),
            before=_number(request, "before", 0, 1 << 62) or None,
        )
        jobs = await self._engine.jobs(query)
        older = replace(query, limit=1, before=jobs[0].id) if jobs else None
        more = older is not None and bool(await self._engine.jobs(older))
        return web.json_response({"jobs": [_in_listing(job) for job in jobs], "more": more})

    async def job(self, request: web.Request) -> web.Response:
        caller, number, listed = self._caller(request), _job_id(request), _listed(request)
        job = await self._engine.job(caller, number, listed)
        if len(job.tasks) > LISTED_TASKS:
            body = await self._engine.aside(job_json, job, listed)
        else:
            body = job_json(job, listed)
        return web.Response(body=body, content_type="application/json")

    async def kill(self, request: web.Request) -> web.Response:
        caller, number = self._caller(request), _job_id(request)
        task = _task(await _members(request, "task"))
        return _changed(await self._engine.kill(caller, number, task), 202, task)

    async def act(self, act: str, request: web.Request) -> web.Response:
        caller, number = self._caller(request), _job_id(request)
        check = _flag(await _members(request, "check"), "check")
        return _changed(await self._engine.act(caller, number, act, check))

    async def act_on_tasks(self, act: str, request: web.Request) -> web.Response:
        caller, number = self._caller(request), _job_id(request)
        body = await _members(request, "task", "check")
        task, check = _task(body), _flag(body, "check")
        job = await self._engine.act_on_tasks(caller, number, act, task, check)
        return _changed(job, 202, task)

    async def signal(self, request: web.Request) -> web.Response:
        caller, number = self._caller(request), _job_id(request)
        body = await _members(request, "signal", "task", "process", "kill", "check", "key")
        try:
            key = check_key(body.get("key")) or f"manager-{uuid.uuid4()}"
        except SpecError as error:
            raise InvalidRequest(str(error)) from error
        check = _flag(body, "check")
        asked = signals.asked(body, key)
        job = await self._engine.signal(caller, number, asked, check)
        return _changed(job, 202, asked.task)

    async def migrate(self, request: web.Request) -> web.Response:
        caller, number = self._caller(request), _job_id(request)
        body = await _members(request, "node", "check", "task")
        node, check, task = body.get("node"), _flag(body, "check"), _task(body)
        if not isinstance(node, str) or not node:
            raise InvalidRequest("node must be the name of the node that the job is to move to")
        return _changed(await self._engine.migrate(caller, number, node, check, task), 202, task)

    async def node_state(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        body = await _members(request, "state", "reason", "migrate")
        state, reason, migrate = body.get("state"), body.get("reason", ""), _flag(body, "migrate")
        if not isinstance(state, str) or not isinstance(reason, str):
            raise InvalidRequest("state must be drain or resume, and reason a text")
        name = request.match_info["name"]
        node = await self._engine.set_node_state(caller, name, state, reason, migrate)
        return web.json_response(node)

    async def leaving(self, request: web.Request) -> web.Response:
        caller, name = self._caller(request), request.match_info["name"]
        return web.json_response(await self._engine.leaving(caller, name))

    async def balance(self, request: web.Request) -> web.Response:
        return web.json_response(await self._engine.balance(self._caller(request)))

    async def processes(self, request: web.Request) -> web.Response:
        user = _whose(request, self._caller(request), "processes")
        node, job = request.query.get("node") or None, request.query.get("job") or None
        number = None if job is None else _job_number(job)
        rows, left_out = await self._engine.processes(user, node, number)
        return web.json_response({"processes": rows, "left_out": left_out})

    async def accounting(self, request: web.Request) -> web.Response:
        user = _whose(request, self._caller(request), "accounting")
        asked = Question.of(dict(request.query), user, time.time())
        rows = await self._engine.accounting(asked)
        return web.json_response(
            {
                "since": asked.since,
                "until": asked.until,
                "rows": rows[:MOST_ROWS],
                "more": len(rows) > MOST_ROWS,
            }
        )

    async def nodes(self, request: web.Request) -> web.Response:
        self._speaker(request)
        return web.json_response({"nodes": await self._engine.nodes()})

    async def report(self, request: web.Request) -> web.Response:
        name = self._node(request)
        body = await json_body(request)
        try:
            said = NodeReport.parse(body)
        except ProtocolError as error:
            raise InvalidRequest(error.message) from error
        forget = await self._engine.report(name, said)
        return web.json_response({"forget": [[*each, self._engine.store_id] for each in forget]})

    async def desired(self, request: web.Request) -> web.Response:
        name = self._node(request)
        seen = _number(request, "seen", -1, 1 << 62, least=-1)
        wait = _number(request, "wait", 0, int(WAIT_LIMIT))
        version, (tasks, moves) = await self._engine.desired(name, seen, wait)
        return web.json_response(
            {
                "version": version,
                "store": self._engine.store_id,
                "tasks": [task.document() for task in tasks],
                "moves": [move.document() for move in moves],
            }
        )

    def _roles(self, request: Asked) -> frozenset[Identity]:
        """The peer's identities that are in force.  :raises Forbidden: it has none"""
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        claimed = self._claims(tls) if tls else frozenset()
        held = claimed & self._hosts.identities()
        if not held:
            raise Forbidden(_stranger(claimed, self._cluster))
        return held

    def _claims(self, tls: ssl.SSLObject) -> frozenset[Identity]:
        """What the certificate says whose connection that is; it says the same as long as it is."""
        if tls not in self._claimed:
            self._claimed[tls] = identities(tls.getpeercert())
        return self._claimed[tls]

    def _node(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if Identity("node", name) not in self._roles(request):
            raise Forbidden(f"only node {name} may speak as {name}")
        return name

    def _speaker(self, request: Asked) -> tuple[str, bool]:
        """The host that may speak for its users, and whether its root is the grid's."""
        roles = {each.role: each.name for each in self._roles(request)}
        host = roles.get("admin") or roles.get("submit")
        if host is None:
            raise Forbidden("this certificate may not speak for users")
        return host, "admin" in roles

    def _caller(self, request: Asked) -> Caller:
        host, admin = self._speaker(request)
        if TOKEN in request.headers:
            return self._logins.caller(token_of(request), host)
        user, uid, gid = (
            request.headers.get(f"Kcms-{each}", "") for each in ("User", "Uid", "Gid")
        )
        if not USER.fullmatch(user) or not _is_id(uid) or not _is_id(gid):
            raise InvalidRequest("Kcms-User, Kcms-Uid and Kcms-Gid must name a user and two ids")
        is_root = user == "root" or int(uid) == 0
        if is_root and not admin:
            raise Forbidden(
                f"root of {host} is not the grid's root: name a user, or ask from the head"
            )
        return Caller(user, int(uid), int(gid), host, grid_root=is_root)


def _stranger(claimed: frozenset[Identity], cluster: str) -> str:
    """What a peer is told that is not in the list of hosts."""
    names = ", ".join(sorted({each.name for each in claimed if each.role != "manager"}))
    if not names:
        return f"this certificate is not that of a host, so not among the hosts of {cluster}"
    return (
        f"this host, {names}, is not among the hosts of cluster {cluster}: "
        "it was taken out of the inventory"
    )


def _submission(body: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """:raises InvalidRequest: not a submission"""
    _no_others(body, "spec", "key")
    try:
        key = check_key(body.get("key"))
        return check_spec(body.get("spec")), key
    except SpecError as error:
        raise InvalidRequest(str(error)) from error


def _row(outcome: tuple[Job, bool] | KcmsError) -> dict[str, Any]:
    if isinstance(outcome, KcmsError):
        return error_document(outcome)
    job, created = outcome
    return {"status": 201 if created else 200, "job": job.document()}


def _in_listing(job: Job) -> dict[str, Any]:
    """A job without its environment, which may be most of its bytes; /v1/jobs/ID has it, and all
    of its tasks."""
    document = job.document()
    del document["spec"]["environment"]
    return document


def _listed(request: web.Request) -> Listed:
    """The tasks that are asked for.  :raises InvalidRequest: by no number"""
    most, task = (
        _number(request, name, 0, TASKS_LIMIT) if name in request.query else None
        for name in ("tasks", "task")
    )
    return Listed(most, task)


def _changed(job: Job, status: int = 200, task: int | None = None) -> web.Response:
    """What a call made of a job, with the first of its tasks and the ``task`` that was meant."""
    shown = Listed(LISTED_TASKS, task).of(job)
    return web.json_response(shown.document(), status=status)


def _whose(request: web.Request, caller: Caller, what: str) -> str | None:
    """The user whose things are asked for; None is everybody's.

    :raises Forbidden: others than the caller's own, and this is not the grid's root
    """
    user = request.query.get("user") or None
    if caller.grid_root:
        return user
    if user not in (None, caller.user):
        raise Forbidden(f"{caller.user} may list only their own {what}")
    return caller.user


async def _members(request: web.Request, *known: str) -> dict[str, Any]:
    """The body, which has no other members than these.  :raises InvalidRequest: it has"""
    body = await json_body(request)
    _no_others(body, *known)
    return body


def _no_others(body: dict[str, Any], *known: str) -> None:
    unknown = body.keys() - set(known)
    if unknown:
        raise InvalidRequest(f"unknown member {min(unknown)!r}; known are {', '.join(known)}")


def _task(body: dict[str, Any]) -> int | None:
    """The index of a task.  :raises InvalidRequest: it is none"""
    task = body.get("task")
    if task is None or (type(task) is int and task >= 0):
        return task
    raise InvalidRequest(f"task must be the index of a task, not {task!r:.100}")


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false, not {value!r:.100}")
    return value


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < (1 << 32) - 1


def _job_id(request: web.Request) -> int:
    return _job_number(request.match_info["id"])


def _job_number(text: str) -> int:
    number = job_number(text)
    if number is None:
        raise InvalidRequest(f"a job is named by its number, not {text!r:.100}")
    return number


def _number(request: web.Request, name: str, default: int, most: int, least: int = 0) -> int:
    text = request.query.get(name, str(default))
    try:
        value = int(text) if text.lstrip("-").isdigit() else int(float(text))
    except (ValueError, OverflowError):
        value = least - 1
    if not least <= value <= most:
        raise InvalidRequest(f"{name} must be a number from {least} to {most}, not {text!r}")
    return value


def _pattern(request: web.Request) -> str | None:
    text = request.query.get("name") or None
    if text is not None and (len(text) > NAME_LIMIT or not text.isprintable()):
        raise InvalidRequest(f"name must be a pattern of 1 to {NAME_LIMIT} printable characters")
    return text


def _states(request: web.Request) -> tuple[str, ...] | None:
    text = request.query.get("state")
    if not text:
        return None
    states: list[str] = []
    for word in text.upper().split(","):
        if word == "ACTIVE":
            states += [state.value for state in State if not state.final]
        elif word in State.__members__:
            states.append(word)
        else:
            known = ", ".join(State.__members__)
            raise InvalidRequest(f"unknown state {word!r}; known are ACTIVE, {known}")
    return tuple(states)

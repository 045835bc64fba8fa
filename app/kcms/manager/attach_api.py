"""The calls of API version 1 about streams between gateways: tickets are made and redeemed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from kcms.errors import InvalidRequest
from kcms.http import json_body
from kcms.jobs.model import Job, Task
from kcms.manager import attaching
from kcms.manager.core import Caller
from kcms.manager.engine import Engine
from kcms.manager.hosts import Hosts
from kcms.manager.tickets import ATTACH, Ticket, Tickets


class AttachApi:
    """The handlers.

    :param caller: who calls, as the API of jobs knows it
    :param speaker: the host that calls; it raises Forbidden when it may not speak for users
    :param job_id: the job that a request names
    """

    def __init__(
        self,
        engine: Engine,
        hosts: Hosts,
        tickets: Tickets,
        caller: Callable[[web.Request], Caller],
        speaker: Callable[[web.Request], tuple[str, bool]],
        job_id: Callable[[web.Request], int],
    ) -> None:
        self._engine = engine
        self._hosts = hosts
        self._tickets = tickets
        self._caller = caller
        self._speaker = speaker
        self._job_id = job_id

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/jobs/{id}/ticket", self.ticket)
        app.router.add_post("/v1/tickets", self.redeem)

    async def ticket(self, request: web.Request) -> web.Response:
        """How a job stands, and a ticket to be attached to it once it has a place."""
        caller = self._caller(request)
        job = await self._engine.job(caller, self._job_id(request))
        attaching.check_attaches(caller, job)
        self._engine.asked(job.id)
        answer: dict[str, Any] = {"state": job.state.value, "reason": job.reason, "ticket": None}
        task = attaching.place_of(job)
        if task is not None:
            answer |= self._ticket_to(job, task, self._speaker(request)[0])
        return web.json_response(answer)

    def _ticket_to(self, job: Job, task: Task, source: str) -> dict[str, Any]:
        """:raises Conflict: the gateway of the task's node cannot be reached by others"""
        address, port = self._hosts.gateway_of(task.node)
        claims = {
            "job": job.id,
            "task": task.unit,
            "epoch": task.epoch,
            "store": self._engine.store_id,
            "user": job.user,
            "uid": job.uid,
            "gid": job.gid,
        }
        secret = self._tickets.issue(Ticket(ATTACH, source, task.node, claims))
        return {"ticket": secret, "node": task.node, "address": address, "port": port}

    async def redeem(self, request: web.Request) -> web.Response:
        """What a ticket is for that another gateway showed to the one that asks."""
        target, _ = self._speaker(request)
        body = await json_body(request)
        secret, source = body.get("ticket"), body.get("host")
        if not isinstance(secret, str) or not isinstance(source, str):
            raise InvalidRequest("ticket and host must be texts")
        ticket = self._tickets.redeem(secret, source, target)
        return web.json_response({"kind": ticket.kind, **ticket.claims})

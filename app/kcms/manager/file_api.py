"""The call of API version 1 about files that are on one host alone: who has it, and a ticket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from kcms.http import json_body
from kcms.jobs.listed import Listed
from kcms.manager import filing
from kcms.manager.core import Caller
from kcms.manager.engine import Engine
from kcms.manager.hosts import Hosts
from kcms.manager.tickets import FILE, Ticket, Tickets


class FileApi:
    """The handler; its parts are those of :class:`kcms.manager.attach_api.AttachApi`."""

    def __init__(
        self,
        engine: Engine,
        hosts: Hosts,
        tickets: Tickets,
        caller: Callable[[web.Request], Caller],
        job_id: Callable[[web.Request], int],
    ) -> None:
        self._engine = engine
        self._hosts = hosts
        self._tickets = tickets
        self._caller = caller
        self._job_id = job_id

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/jobs/{id}/file", self.file)

    async def file(self, request: web.Request) -> web.Response:
        """Where a file of a job is, and a ticket to read it there once; for who may see the job."""
        caller, number = self._caller(request), self._job_id(request)
        wish = filing.Wish.parse(await json_body(request))
        job = await self._engine.job(caller, number, Listed(task=wish.task))
        source = filing.source_of(job, wish, caller.host)
        claims = filing.claims(job, wish, source)
        answer: dict[str, Any] = {"node": source.node, "ticket": None, **claims}
        if source.node != caller.host:
            address, port = self._hosts.gateway_of(source.node)
            ticket = Ticket(FILE, caller.host, source.node, claims)
            answer |= {"ticket": self._tickets.issue(ticket), "address": address, "port": port}
        return web.json_response(answer)

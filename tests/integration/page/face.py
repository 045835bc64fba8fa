"""The page before a gateway with made-up work, and a browser at it."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kcms.config import WebConfig
from kcms.web.app import create_app
from kcms.web.files import RrdFiles
from kcms.web.gateway import Gateway
from kcms.web.graphs import Graphs
from kcms.web.nodestates import NodeStates
from kcms.web.services import Services
from kcms.web.sessions import Sessions
from kcms.web.tree import TreeSource
from tests.integration.fake_gateway import World
from tests.unit.web import trees

HTTPS = "https://grid.example:8443"
HTTP = "http://grid.example:8080"
SESSION = "__Host-kcms-session"
EVIL = "<script>alert(1)</script>"


class Page:
    """A browser at the page: it keeps cookies and sends the forms it was given."""

    def __init__(self, app: Flask, base: str = HTTPS) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.base = base
        self.last: TestResponse | None = None

    def get(self, path: str, **more: Any) -> TestResponse:
        self.last = self.client.get(path, base_url=self.base, **more)
        return self.last

    def post(self, path: str, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
        self.last = self.client.post(path, base_url=self.base, data=form, headers=headers)
        return self.last

    def seal(self, path: str = "/login") -> str:
        return re.findall(r'name="form" value="([^"]+)"', self.get(path).text)[-1]

    def login(
        self, user: str = "alice", password: str = "correct horse", to: str = "/"
    ) -> TestResponse:
        return self.post("/login", form=self.seal(), user=user, password=password, next=to)

    def cookie(self, name: str = SESSION) -> str | None:
        found = (
            self.client.get_cookie(name, domain="grid.example")
            if hasattr(self.client, "get_cookie")
            else next((c for c in self.client.cookie_jar if c.name == name), None)
        )
        return None if found is None else str(found.value)


def said(answer: TestResponse) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


class Site:
    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.path = folder, path
        self.now = time.monotonic()
        self.sessions = Sessions(lambda: self.now)
        self.gateway = Gateway(path)
        self.nodes = NodeStates(self.gateway.nodes, time.monotonic)

    def app(self, **settings: Any) -> Flask:
        given: dict[str, Any] = {"tls_port": 8443, "results_directory": "/shared/results/%u"}
        config = WebConfig(**{**given, **settings})
        tree = TreeSource(trees.two_clusters, time.monotonic)
        graphs = Graphs(RrdFiles(self.folder), lambda _: b"", 1, time.time)
        return create_app(
            config, Services(tree, graphs, self.gateway, self.nodes, sessions=self.sessions)
        )

    def close(self) -> None:
        self.nodes.close()
        self.gateway.close()


def calls(world: World, what: str) -> list[Any]:
    return [body for method, path, body in world.calls if f"{method} {path}" == what]


def running(pid: int, number: int, **changes: Any) -> dict[str, Any]:
    base = {"node": "alpha1", "pid": pid, "name": "sum.sh", "state": "R", "ended": None}
    return {**base, "job": number, "user": "alice", "root": True, **changes}


def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it never came about")

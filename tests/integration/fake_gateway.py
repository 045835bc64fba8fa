"""A gateway for tests of the page: API version 1 on a Unix socket, with made-up work behind it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PASSWORDS = {"alice": "correct horse", "bob": "battery staple", "root": "grid root"}


class Refusal(Exception):
    """An answer in the error shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def job(number: int, **changes: Any) -> dict[str, Any]:
    """A running job of alice's on alpha1, but for ``changes``."""
    now = time.time()
    spec = {
        "name": f"sum{number}",
        "class": "single",
        "executable": "/shared/home/alice/sum.sh",
        "arguments": ["-n", "100"],
        "base_directory": "/shared/home/alice",
        "input": None,
        "output": f"/shared/home/alice/kcms-{number}.out",
        "error": None,
        "priority": 0,
        "environment": {},
    }
    task = {
        "index": 0, "epoch": 1, "node": "alpha1", "state": "RUNNING",
        "start_time": now - 60, "exit": None, "message": "", "unit": 0, "restarts": 0,
    }  # fmt: skip
    base = {
        "id": number, "cluster": "alpha", "user": "alice", "uid": 2001, "gid": 2001, "spec": spec,
        "submit_host": "head", "submit_time": now - 70, "state": "RUNNING", "reason": "",
        "start_time": now - 60, "end_time": None, "key": None, "killed_by": None, "held_by": None,
        "tasks": [task],
        "migration": None, "name": spec["name"], "priority": 0,
    }  # fmt: skip
    return {**base, **changes}


def unsaved() -> dict[str, Any]:
    """What a manager tells of the checkpoints of a job that has none."""
    return {
        "rung": "beginning", "why": "no checkpoint was asked for", "last": None, "signalled": None,
        "interval": None, "interval_why": "", "under_way": [], "failure": "", "note": "",
    }  # fmt: skip


def ended(number: int, state: str, reason: str, code: int | None, **changes: Any) -> dict[str, Any]:
    """A job that is over."""
    now = time.time()
    found = job(number, state=state, reason=reason, end_time=now - 5, **changes)
    usage = {"cpu_seconds": 12.345, "max_rss_kib": 20480}
    found["tasks"][0]["exit"] = {
        "code": code, "signal": None if code is not None else 9, "time": now - 5,
        "processes_killed": 0, "processes_left": 0, "usage": usage,
    }  # fmt: skip
    return found


class World:
    """What the managers behind the gateway know; tests change it as they like."""

    def __init__(self) -> None:
        self.clusters = {"alpha": "UP", "beta": "UP"}
        self.tokens: dict[str, str] = {}
        self.numbers = itertools.count()
        self.jobs: dict[int, dict[str, Any]] = {}
        self.processes: list[dict[str, Any]] = []
        self.left_out = 0
        self.output = "line 1\nline 2\n"
        self.calls: list[tuple[str, str, Any]] = []
        self.tasks_asked: list[tuple[str | None, str | None]] = []
        self.refuse: dict[str, Refusal] = {}
        self.drained = ""
        self.gates: dict[str, threading.Event] = {}

    def nodes(self, cluster: str) -> list[dict[str, Any]]:
        names = [f"{cluster}{at}" for at in (1, 2, 3)]
        return [
            {
                "name": name,
                "state": "DOWN" if name.endswith("3") else "UP",
                "availability": "drained" if name == self.drained else "mixed",
                "drained": name == self.drained,
                "drain_reason": "new fan" if name == self.drained else "",
                "slots": 2,
                "used": 1,
                "load": {},
                "heard": 1.0,
                "release": "x",
                "mover": {},
            }
            for name in names
        ]

    def user(self, token: str | None) -> str:
        if token is None or token not in self.tokens:
            raise Refusal(401, "unauthorized", "this login is over: log in again")
        return self.tokens[token]

    def of(self, user: str, number: int) -> dict[str, Any]:
        found = self.jobs.get(number)
        if found is None or user not in ("root", found["user"]):
            raise Refusal(404, "not_found", f"there is no job {number} in cluster alpha")
        return found

    def answer(
        self, method: str, path: str, query: dict[str, str], token: str | None, body: Any
    ) -> tuple[int, Any]:
        for start, refusal in self.refuse.items():
            if f"{method} {path} {query.get('cluster', '')}".startswith(start):
                raise refusal
        if path == "/v1/clusters":
            rows = [
                {"name": name, "state": state, "default": False, "message": ""}
                for name, state in self.clusters.items()
            ]
            return 200, {"clusters": rows}
        cluster = query.get("cluster", "alpha")
        if cluster not in self.clusters:
            raise Refusal(404, "not_found", f"there is no cluster {cluster!r} here")
        if cluster in self.gates:
            self.gates[cluster].wait(60)
        if self.clusters[cluster] != "UP":
            raise Refusal(503, "unavailable", f"the manager of {cluster} cannot be reached")
        if path == "/v1/login":
            if PASSWORDS.get(body["user"]) != body["password"]:
                raise Refusal(401, "unauthorized", "wrong user or password, or no password set")
            token = f"{cluster}-{body['user']}-{next(self.numbers)}"
            self.tokens[token] = body["user"]
            return 200, {
                "token": token,
                "user": body["user"],
                "root": body["user"] == "root",
                "expires": time.time() + 1800,
            }
        if path == "/v1/nodes":
            return 200, {"nodes": self.nodes(cluster)}
        return self._of_user(method, path, query, token, body)

    def _of_user(
        self, method: str, path: str, query: dict[str, str], token: str | None, body: Any
    ) -> tuple[int, Any]:
        user, cluster = self.user(token), query.get("cluster", "alpha")
        if path == "/v1/logout":
            assert token is not None
            del self.tokens[token]
            return 200, {}
        if path == "/v1/session":
            return 200, {"user": user, "uid": 2001, "gid": 2001, "root": user == "root"}
        if path == "/v1/processes":
            found = [each for each in self.processes if user in ("root", each["user"])]
            return 200, {"processes": found, "left_out": self.left_out}
        if path == "/v1/jobs" and method == "POST":
            return self._submitted(user, body)
        if path == "/v1/jobs":
            return 200, {"jobs": self._listed(user, query)}
        if path.startswith("/v1/nodes/"):
            return 200, self._set_state(user, path.split("/")[3], body, cluster)
        number, _, what = path.removeprefix("/v1/jobs/").partition("/")
        return self._of_job(user, number, what, query, body)

    def _of_job(
        self, user: str, number: str, what: str, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        found_job = self.of(user, int(number))
        if what == "kill":
            if found_job["state"] != "RUNNING":
                raise Refusal(409, "conflict", f"job {number} is already over")
            found_job.update(killed_by=user)
            return 202, found_job
        if what in ("suspend", "resume"):
            found_job["state"] = "SUSPENDED" if what == "suspend" else "RUNNING"
            return 200, found_job
        if what in ("hold", "release"):
            found_job["held_by"] = user if what == "hold" else None
            return 200, found_job
        if what == "migrate":
            found_job["migration"] = {
                "number": 1, "source": "alpha1", "target": body["node"], "epoch": 2,
                "phase": "checking", "by": user, "start_time": time.time(), "check_only": False,
                "end_time": None, "message": "",
            }  # fmt: skip
            return 202, found_job
        if what in ("checkpoint", "restart"):
            self._saved(found_job, user, what)
            return 202, found_job
        if what == "output":
            path_there = found_job["spec"][query["which"]]
            size = len(self.output.encode())
            return 200, {"path": path_there, "size": size, "offset": 0, "text": self.output}
        self.tasks_asked.append((query.get("tasks"), query.get("task")))
        return 200, found_job

    def _saved(self, job: dict[str, Any], user: str, what: str) -> None:
        shown = job["checkpoint"]
        if shown["under_way"]:
            raise Refusal(409, "conflict", "one is being made already")
        if what == "restart":
            job["tasks"][0]["checkpoint"] = {"restart_by": user}
            return
        row = {"task": 0, "number": 1, "by": user, "start_time": time.time(), "begun": False}
        shown["under_way"] = [row]

    def _set_state(self, user: str, name: str, body: Any, cluster: str) -> dict[str, Any]:
        if user != "root":
            raise Refusal(403, "forbidden", f"only root may drain and resume nodes, not {user}")
        self.drained = name if body["state"] == "drain" else ""
        return next(each for each in self.nodes(cluster) if each["name"] == name)

    def _submitted(self, user: str, body: Any) -> tuple[int, Any]:
        for each in self.jobs.values():
            if each["key"] == body["key"] and each["user"] == user:
                if each["spec"] != body["spec"]:
                    raise Refusal(409, "conflict", "the key is of a job with other fields")
                return 200, each
        number = max(self.jobs, default=0) + 1
        new = job(number, user=user, spec=body["spec"], key=body["key"])
        new["name"] = body["spec"].get("name", "x")
        self.jobs[number] = new
        return 201, new

    def _listed(self, user: str, query: dict[str, str]) -> list[dict[str, Any]]:
        found = [self.jobs[number] for number in sorted(self.jobs)]
        found = [each for each in found if user in ("root", each["user"])]
        if "state" in query:
            found = [each for each in found if each["state"] in query["state"].split(",")]
        if "before" in query:
            found = [each for each in found if each["id"] < int(query["before"])]
        return found[-int(query.get("limit", "1000")) :]


class _Handler(BaseHTTPRequestHandler):
    world: World

    def _serve(self) -> None:
        split = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        token = self.headers.get("Kcms-Token")
        path = unquote(split.path)
        self.world.calls.append((self.command, path, body))
        try:
            status, document = self.world.answer(self.command, path, query, token, body)
        except Refusal as refusal:
            status = refusal.status
            document = {"error": {"code": refusal.code, "message": refusal.message}}
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - the names that the server calls

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "local"


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class FakeGateway:
    """Serves ``world`` at ``path`` until :meth:`close`."""

    def __init__(self, path: Path, world: World | None = None) -> None:
        self.world = world or World()
        self.path = str(path)
        handler = type("Handler", (_Handler,), {"world": self.world})
        self._server = _Server(self.path, handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        Path(self.path).unlink(missing_ok=True)

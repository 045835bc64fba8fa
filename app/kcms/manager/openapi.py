"""The OpenAPI 3.1 document of API version 1, made from the job table and the model."""

from __future__ import annotations

from typing import Any

import kcms
from kcms.http import BULK_JOBS
from kcms.jobs.migration import OVER, STEPS
from kcms.jobs.model import USAGE
from kcms.jobs.signals import NAMES
from kcms.jobs.spec import APART, FIELDS, Field
from kcms.jobs.states import State
from kcms.manager.accounting import FIGURES
from kcms.manager.nodes import AVAILABILITY
from kcms.manager.openapi_balance import BALANCE
from kcms.manager.openapi_checkpoints import CHECKPOINT, OF_TASKS, SAVED
from kcms.manager.openapi_files import FILE_WISH, OF_A_FILE
from kcms.manager.openapi_leaving import LEAVING, USE
from kcms.manager.tickets import ATTACH, FILE

_KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "path": {"type": "string", "pattern": "^/"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "moment": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
    "size": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
    "duration": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
    "list": {"type": "array", "items": {"type": "string"}},
    "table": {"type": "object", "additionalProperties": {"type": "string"}},
}


def document() -> dict[str, Any]:
    """The whole document, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "KCMS manager", "version": kcms.__version__},
        "paths": _paths(),
        "components": {"schemas": _schemas()},
    }


def _paths() -> dict[str, Any]:
    job, jobs, nodes = _ref("Job"), _list("jobs", "Job"), _list("nodes", "Node")
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    submission = {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": _ref("Spec"), "key": {"type": ["string", "null"]}},
    }
    listing = [_query("state", "string"), _query("user", "string"), _query("limit", "integer")]
    listing += [_query("before", "integer"), _query("name", "string")]
    move = {
        "type": "object",
        "required": ["node"],
        "properties": {
            "node": {"type": "string"},
            "check": {"type": "boolean"},
            "task": {"type": ["integer", "null"]},
        },
    }
    task = {"type": "object", "properties": {"task": {"type": ["integer", "null"]}}}
    check = {"type": "object", "properties": {"check": {"type": "boolean"}}}
    whose = [_query("user", "string"), _query("node", "string"), _query("job", "integer")]
    jobs["properties"]["more"] = {"type": "boolean"}
    processes = _list("processes", "Process")
    processes["properties"]["left_out"] = {"type": "integer"}
    period = [_query("since", "number"), _query("until", "number"), _query("user", "string")]
    accounting = _list("rows", "Took")
    accounting["properties"] |= {
        **{key: {"type": "number"} for key in ("since", "until")},
        "more": {"type": "boolean"},
    }
    waiting = [name, _query("seen", "integer"), _query("wait", "number")]
    anything: dict[str, Any] = {"type": "object"}
    return {
        "/v1/ping": {"get": _call("Is the manager there?", {200: anything})},
        "/v1/openapi.json": {"get": _call("This document", {200: anything})},
        "/v1/jobs": {
            "post": _call("Submit a job", {201: job, 200: job}, body=submission),
            "get": _call(
                "The newest jobs, as many as 8 MiB hold, newest last, without their environments "
                "and with their first tasks",
                {200: jobs},
                listing,
            ),
        },
        "/v1/jobs/bulk": {
            "post": _call(
                "Submit many jobs, each by itself", {200: _rows()}, body=_many(submission)
            )
        },
        "/v1/jobs/{id}": {
            "get": _call(
                "One job, with all of its tasks, or so many of them at the most: those that went "
                "wrong first, then those that run; or with one task, when it was ever placed",
                {200: job},
                [number, _query("tasks", "integer"), _query("task", "integer")],
            )
        },
        "/v1/jobs/{id}/kill": {"post": _call("End a job or task", {202: job}, [number], task)},
        "/v1/jobs/{id}/hold": {
            "post": _call("Keep a waiting job back", {200: job}, [number], check)
        },
        "/v1/jobs/{id}/release": {
            "post": _call("Let a held job go on", {200: job}, [number], check)
        },
        "/v1/jobs/{id}/suspend": {
            "post": _call("Let a running job stand still", {200: job}, [number], check)
        },
        "/v1/jobs/{id}/resume": {"post": _call("Let it go on", {200: job}, [number], check)},
        "/v1/jobs/{id}/requeue": {
            "post": _call("End what runs of it; it waits again", {200: job}, [number], check)
        },
        "/v1/jobs/{id}/checkpoint": {
            "post": _call("Save what runs of it, or a task", {202: job}, [number], OF_TASKS)
        },
        "/v1/jobs/{id}/restart": {
            "post": _call(
                "Let it, or a task, go on from its last checkpoint", {202: job}, [number], OF_TASKS
            )
        },
        "/v1/jobs/{id}/signal": {
            "post": _call("Signal a job, a task or a process", {202: job}, [number], _signal())
        },
        "/v1/jobs/{id}/migrate": {
            "post": _call("Move a running job, or see if it could be", {202: job}, [number], move)
        },
        "/v1/nodes": {"get": _call("List nodes", {200: nodes})},
        "/v1/nodes/{name}/state": {
            "post": _call("Take a node out of use or into it", {200: _ref("Node")}, [name], USE)
        },
        "/v1/nodes/{name}/leaving": {
            "get": _call("What leaves a node that is to be empty", {200: LEAVING}, [name])
        },
        "/v1/balance": {"get": _call("What moves jobs to idle nodes, and why", {200: BALANCE})},
        "/v1/processes": {"get": _call("List processes of jobs", {200: processes}, whose)},
        "/v1/accounting": {"get": _call("What jobs took", {200: accounting}, period)},
        "/v1/nodes/{name}/report": {
            "post": _call("A node says how things stand", {200: anything}, [name], anything)
        },
        "/v1/nodes/{name}/desired": {
            "get": _call("What is wanted of a node", {200: anything}, waiting)
        },
        **_ticket_paths(number),
        **_login_paths(),
    }


def _signal() -> dict[str, Any]:
    process = _object(node={"type": "string"}, pid={"type": "integer"})
    return {
        "type": "object",
        "required": ["signal"],
        "properties": {
            "signal": {"enum": list(NAMES)},
            "task": {"type": ["integer", "null"]},
            "process": {"anyOf": [process, {"type": "null"}]},
            "kill": {"type": "boolean"},
            "check": {"type": "boolean"},
            "key": {"type": ["string", "null"]},
        },
    }


def _ticket_paths(number: dict[str, Any]) -> dict[str, Any]:
    """Between gateways; a user of one of them asks it to be attached."""
    text, whole, maybe = {"type": "string"}, {"type": "integer"}, {"type": ["string", "null"]}
    place: dict[str, Any] = {"node": text, "address": text, "port": whole}
    standing = _object(state={"enum": list(State.__members__)}, reason=text, ticket=maybe)
    standing["properties"] |= place
    ids: dict[str, Any] = dict.fromkeys(("job", "task", "epoch", "uid", "gid"), whole)
    claims = _object(kind={"enum": [ATTACH, FILE]}, user=text, job=whole, uid=whole, gid=whole)
    claims["properties"] |= {**ids, "store": text, **OF_A_FILE}
    shown = _object(ticket=text, host=text)
    there = _object(node=text, ticket=maybe, **OF_A_FILE)
    there["properties"] |= place
    return {
        "/v1/jobs/{id}/file": {
            "post": _call(
                "Where a file of a task is, and a ticket to read it if that is another host",
                {200: there},
                [number],
                body=FILE_WISH,
            )
        },
        "/v1/jobs/{id}/ticket": {
            "post": _call(
                "How an interactive job stands, and once it has a place a ticket to attach to it",
                {200: standing},
                [number],
            )
        },
        "/v1/tickets": {
            "post": _call(
                "What a ticket is for that the gateway of a host showed, good once",
                {200: claims},
                body=shown,
            )
        },
    }


def _many(submission: dict[str, Any]) -> dict[str, Any]:
    return _object(jobs={"type": "array", "items": submission, "maxItems": BULK_JOBS})


def _rows() -> dict[str, Any]:
    """What became of each, in their order."""
    status, text = {"type": "integer"}, {"type": "string"}
    made = _object(status=status, job=_ref("Job"))
    refused = _object(status=status, error=_object(code=text, message=text))
    return _object(jobs={"type": "array", "items": {"oneOf": [made, refused]}})


def _login_paths() -> dict[str, Any]:
    text, root = {"type": "string"}, {"type": "boolean"}
    who: dict[str, Any] = {"user": text, "root": root, "expires": {"type": "number"}}
    ids: dict[str, Any] = {"uid": {"type": "integer"}, "gid": {"type": "integer"}}
    nothing: dict[str, Any] = {"type": "object"}
    password = _object(password={"type": ["string", "null"]})
    login = _call(
        "Log in", {200: _object(token=text, **who)}, body=_object(user=text, password=text)
    )
    return {
        "/v1/password": {
            "post": _call("Set or take away a password", {200: nothing}, body=password)
        },
        "/v1/login": {"post": login},
        "/v1/session": {"get": _call("Whose token this is", {200: _object(**who, **ids)})},
        "/v1/logout": {"post": _call("End a login", {200: nothing})},
    }


def _object(**members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(members), "properties": members}


def _schemas() -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": ["number", "null"]}
    maybe = {"type": ["string", "null"]}
    return {
        "Error": {
            "type": "object",
            "properties": {
                "error": {"type": "object", "properties": {"code": text, "message": text}}
            },
        },
        "Spec": {
            "type": "object",
            "additionalProperties": False,
            "required": [row.name for row in FIELDS if row.required],
            "properties": {row.name: _field(row) for row in (*FIELDS, *APART)},
        },
        "Job": {
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "cluster": text,
                "name": text,
                "user": text,
                "uid": {"type": "integer"},
                "gid": {"type": "integer"},
                "state": {"enum": list(State.__members__)},
                "reason": text,
                "priority": {"type": "integer"},
                "key": maybe,
                "killed_by": maybe,
                "held_by": maybe,
                "submit_host": text,
                "submit_time": number,
                "start_time": number,
                "end_time": number,
                "spec": _ref("Spec"),
                "tasks": {"type": "array", "items": _ref("Task")},
                "task_counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                "migration": {"anyOf": [_ref("Migration"), {"type": "null"}]},
                "fate": {"anyOf": [_ref("Fate"), {"type": "null"}]},
                "checkpoint": _ref("Checkpoint"),
            },
        },
        "Fate": {
            "type": "object",
            "description": "What the job is to become once what still runs of it is killed",
            "properties": {"state": {"enum": list(State.__members__)}, "reason": text},
        },
        "Checkpoint": CHECKPOINT,
        "Saved": SAVED,
        "Migration": {
            "type": "object",
            "properties": {
                "number": {"type": "integer"},
                "source": text,
                "target": text,
                "epoch": {"type": "integer"},
                "phase": {"enum": [*STEPS, *OVER]},
                "by": text,
                "start_time": number,
                "check_only": {"type": "boolean"},
                "end_time": number,
                "message": text,
                "task": {"type": "integer"},
                "predicted_bytes": {"type": ["integer", "null"]},
                "predicted_seconds": number,
                "bytes": {"type": ["integer", "null"]},
                "freeze_seconds": number,
            },
        },
        "Task": {
            "type": "object",
            "properties": {
                "index": {"type": "integer"},
                "unit": {"type": "integer"},
                "epoch": {"type": "integer"},
                "restarts": {"type": "integer"},
                "lease": {"type": "number"},
                "killed_by": maybe,
                "node": text,
                "state": {"enum": list(State.__members__)},
                "start_time": number,
                "exit": {"anyOf": [_ref("Exit"), {"type": "null"}]},
                "message": text,
                "checkpoint": {"anyOf": [_ref("Saved"), {"type": "null"}]},
            },
        },
        "Exit": {
            "type": "object",
            "properties": {
                "code": {"type": ["integer", "null"]},
                "signal": {"type": ["integer", "null"]},
                "time": {"type": "number"},
                "processes_killed": {"type": "integer"},
                "processes_left": {"type": "integer"},
                "cause": text,
                "detail": text,
                "usage": {
                    "type": "object",
                    "properties": {
                        **{key: {"type": "number"} for key in USAGE},
                        "sources": {"type": "object", "additionalProperties": text},
                    },
                },
            },
        },
        "Node": {
            "type": "object",
            "properties": {
                "name": text,
                "state": {"enum": ["UP", "DOWN"]},
                "availability": {"enum": list(AVAILABILITY)},
                "drained": {"type": "boolean"},
                "drain_reason": text,
                "leaving": {"type": "boolean"},
                "slots": {"type": "integer"},
                "used": {"type": "integer"},
                "load": {"type": "object"},
                "heard": number,
                "release": {"type": ["string", "null"]},
                "mover": {"type": "object", "additionalProperties": text},
            },
        },
        "Took": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("day", "user"), text),
                "state": {"enum": [state.value for state in State if state.final]},
                **{key: {"type": "number"} for key in FIGURES},
            },
        },
        "Process": _process(),
    }


def _process() -> dict[str, Any]:
    text, number, whole = {"type": "string"}, {"type": "integer"}, {"type": ["integer", "null"]}
    figure = {"type": ["number", "null"]}
    return {
        "type": "object",
        "properties": {
            "id": text,
            "node": text,
            "pid": number,
            "name": text,
            "state": {"enum": ["R", "T"]},
            "ended": figure,
            "job": number,
            "task": number,
            "user": text,
            "root": {"type": "boolean"},
            "status": text,
            "ppid": whole,
            "cpu_seconds": figure,
            "cpu_percent": figure,
            "rss_kib": whole,
            "threads": whole,
            "start_time": figure,
            "command": text,
        },
    }


def _field(row: Field) -> dict[str, Any]:
    schema = {**_KINDS[row.kind], "description": row.text}
    if row.choices:
        schema["enum"] = list(row.choices)
    if not row.required and "type" in schema:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str, of: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "array", "items": _ref(of)}}}


def _query(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}}


def _call(
    summary: str,
    answers: dict[int, dict[str, Any]],
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"description": summary, "content": _json(schema)}
        for status, schema in answers.items()
    }
    responses["default"] = {"description": "An error", "content": _json(_ref("Error"))}
    call: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        call["parameters"] = parameters
    if body:
        call["requestBody"] = {"required": True, "content": _json(body)}
    return call


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}

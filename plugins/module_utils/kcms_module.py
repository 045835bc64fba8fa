"""What the job modules share: their common options, and how a failed call ends a task."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import (
    DEFAULT_SOCKET,
    Client,
    ClientError,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_spec import FIELDS, Field

_TYPES = {"text": "str", "path": "str", "integer": "int", "list": "list", "table": "dict"}


def common_arguments() -> dict[str, dict[str, Any]]:
    """The options that doc fragment ``kcms.cluster.jobs`` describes."""
    return {
        "user": {"type": "str"},
        "cluster": {"type": "str"},
        "socket": {"type": "str", "default": DEFAULT_SOCKET},
    }


def spec_arguments() -> dict[str, dict[str, Any]]:
    """An option for each row of the table of a job's fields."""
    return {row.name: _argument(row) for row in FIELDS}


def _argument(row: Field) -> dict[str, Any]:
    argument: dict[str, Any] = {"type": _TYPES[row.kind]}
    if row.required:
        argument["required"] = True
    elif row.default is not None:
        argument["default"] = list(row.default) if row.kind == "list" else row.default
    if row.kind == "list":
        argument["elements"] = "str"
    if row.choices:
        argument["choices"] = list(row.choices)
    return argument


def spec_of(params: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job among a module's parameters, as the API takes them."""
    spec = {row.name: params[row.name] for row in FIELDS if params[row.name] is not None}
    for row in FIELDS:
        if row.kind == "table" and row.name in spec:
            # YAML makes numbers of what looks like one; an environment is texts.
            spec[row.name] = {key: _text(value) for key, value in spec[row.name].items()}
    return spec


def _text(value: object) -> object:
    return str(value) if type(value) in (int, float) else value


def client_of(params: dict[str, Any]) -> Client:
    return Client(params["socket"], params["cluster"], params["user"])


def fail(module: Any, error: ClientError, **more: Any) -> NoReturn:
    """End the task with the one line that the API gave."""
    module.fail_json(msg=error.message, code=error.code, status=error.status, **more)
    raise AssertionError("unreachable: fail_json ends the process")

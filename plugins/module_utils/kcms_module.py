"""What the job modules share: their options, how they run, and how a failed call ends one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import (
    DEFAULT_SOCKET,
    Client,
    ClientError,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_spec import FIELDS, STAGED, Field

_TYPES = {
    "text": "str",
    "path": "str",
    "integer": "int",
    "boolean": "bool",
    "duration": "raw",
    "size": "raw",
    "moment": "raw",
    "list": "list",
    "table": "dict",
}

Act = Callable[[Client, dict[str, Any], bool], dict[str, Any]]
"""Does a module's work: the client, the parameters, whether only to predict; what it returns."""


class Failed(Exception):
    """A task that fails with one line although its call went well; ``result`` is returned, too."""

    def __init__(self, error: ClientError, result: dict[str, Any]) -> None:
        super().__init__(error.message)
        self.error = error
        self.result = result


def run(act: Act, arguments: dict[str, dict[str, Any]], **rules: Any) -> None:
    """Be an Ansible module.

    :param arguments: the module's own options; the common ones are added
    :param rules: further arguments of AnsibleModule, as ``required_if``
    """
    module = AnsibleModule(
        argument_spec={**common_arguments(), **arguments}, supports_check_mode=True, **rules
    )
    try:
        result = act(client_of(module.params), module.params, module.check_mode)
    except Failed as failed:
        _fail(module, failed.error, _shown(module, failed.result))
    except ClientError as error:
        _fail(module, error, {"changed": False})
    module.exit_json(**_shown(module, result))


def _shown(module: Any, result: dict[str, Any]) -> dict[str, Any]:
    """``result``, with the difference only when it was asked for."""
    return {name: value for name, value in result.items() if name != "diff" or module._diff}


def _fail(module: Any, error: ClientError, result: dict[str, Any]) -> NoReturn:
    """End the task with the one line that the API gave."""
    known = {"code": error.code, "status": error.status} if error.code else {}
    module.fail_json(msg=error.message, **known, **result)
    raise AssertionError("unreachable: fail_json ends the process")


def common_arguments() -> dict[str, dict[str, Any]]:
    """The options that doc fragment ``kcms.cluster.jobs`` describes."""
    return {
        "user": {"type": "str"},
        "cluster": {"type": "str"},
        "socket": {"type": "str", "default": DEFAULT_SOCKET},
    }


def spec_arguments() -> dict[str, dict[str, Any]]:
    """An option for each row of the table of a job's fields."""
    return {row.name: _argument(row) for row in (*FIELDS, STAGED)}


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
    """The fields of a job among a module's parameters, as the API takes them.

    What is as it is by default is left out: an older manager may not know the field.
    """
    known = {row.name: _argument(row).get("default") for row in (*FIELDS, STAGED)}
    spec = {name: params[name] for name, default in known.items() if params[name] != default}
    for row in FIELDS:
        if row.kind == "table" and row.name in spec:
            # YAML makes numbers of what looks like one; an environment is texts.
            spec[row.name] = {key: _text(value) for key, value in spec[row.name].items()}
    return spec


def _text(value: object) -> object:
    return str(value) if type(value) in (int, float) else value


def client_of(params: dict[str, Any]) -> Client:
    return Client(params["socket"], params["cluster"], params["user"])


def listing(client: Client) -> Client:
    """The client to list with.

    A list is asked for by name, not in the name, of a user: the grid's root may look at what is of
    one whom its host does not know.
    """
    client.as_user = None
    return client

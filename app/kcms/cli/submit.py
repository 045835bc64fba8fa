"""``kcms submit``: its options are the rows of the table of :mod:`kcms.jobs.spec`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from kcms.cli import FAILURE_STATUS, stage, tables
from kcms.cli.options import Parser, client, client_options, whole_number
from kcms.client import Client
from kcms.errors import InvalidRequest
from kcms.jobs.spec import FIELDS, Field, SpecError, check_key, check_repeatable, check_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

POSITIONAL = ("executable", "arguments")


def submit(words: list[str]) -> int:
    options = parser().parse_args(words)
    stage.check_options(options)
    caller = client(options, options.user)
    if options.file is not None:
        return _submit_file(options, caller)
    if options.executable is None:
        parser().error("the following arguments are required: EXECUTABLE")
    plain = options.via is None and not options.stage
    spec = specification(options) if plain else _brought(options, caller)
    if options.check:
        answer = caller.check(spec, options.key)
        print(json.dumps(answer, indent=2) if options.json else "this could be submitted")
        return 0
    job, created = caller.submit(spec, options.key)
    if not options.json:
        print(f"job {job['id']}" + ("" if created else " (there already)"), flush=True)
    if options.wait:
        job = caller.wait(job["id"])
    if options.json:
        print(json.dumps(job, indent=2))
    elif options.wait:
        print(f"job {job['id']} is {', '.join(filter(None, (job['state'], tables.note(job))))}")
    return outcome(job) if options.wait else 0


def outcome(job: dict[str, Any]) -> int:
    """The exit status that tells how a job ended: its program's own, where that failed."""
    if job["state"] == "COMPLETED":
        return 0
    codes = [(task["exit"] or {}).get("code") or 0 for task in job["tasks"]]
    return max([*codes, FAILURE_STATUS])


def _brought(options: argparse.Namespace, caller: Client) -> dict[str, Any]:
    """The fields for a head, or with a snapshot of each file: everything is checked before a file
    is sent or copied."""
    from kcms.cli.away import Away
    from kcms.cli.here import Here

    away = Here(options, caller) if options.via is None else Away(options, caller)
    local: dict[str, str] = {}

    def placed(field: str, path: str) -> str:
        if not away.is_local(field, path):
            return away.there(path) if path else path
        local[field] = absolute(path)
        return local[field]

    spec = specification(options, placed)
    return away.staged(spec, local) if local else spec


def _submit_file(options: argparse.Namespace, caller: Client) -> int:
    given = [row.name for row in FIELDS if getattr(options, row.name) not in (None, [])]
    given += [name for name in ("key", "check", "wait", "stage") if getattr(options, name)]
    if given:
        parser().error(f"--file names all of its jobs' fields, so {given[0]} cannot be given here")
    if options.via is not None:
        parser().error("--file is of a host of the grid, as its paths are: --via cannot be given")
    from kcms.cli.submit_file import submit_file  # what a single job need not load

    return submit_file(options.file, caller, clean, options.json)


def parser() -> Parser:
    made = Parser(
        "submit",
        "Submit a job.  What follows EXECUTABLE are its arguments, so options come first.  "
        "Relative paths begin at the current directory.",
        usage="kcms submit [options] EXECUTABLE [ARGUMENT ...]\n       kcms submit --file FILE",
    )
    for row in FIELDS:
        if row.name not in POSITIONAL:
            made.add_argument(f"--{row.name.replace('_', '-')}", dest=row.name, **option_of(row))
    made.add_argument("--key", help="submit only if no job of this user has this key yet")
    made.add_argument(
        "--file",
        metavar="FILE",
        help="submit many jobs: each line is a JSON object of the fields of one, and may have its "
        "key; - is standard input",
    )
    made.add_argument("--check", action="store_true", help="check everything, submit nothing")
    made.add_argument(
        "--wait",
        action="store_true",
        help="until the job is over; the exit status is then 0 or that of its program",
    )
    stage.stage_options(made)
    client_options(made, "whose job it is; only root may say")
    made.add_argument("executable", metavar="EXECUTABLE", nargs="?", help=_text("executable"))
    made.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help=_text("arguments")
    )
    return made


def option_of(row: Field) -> dict[str, Any]:
    text = row.text.replace("%", "%%")
    if row.kind == "boolean":
        return {"action": "store_true", "default": None, "help": text}
    if row.kind == "list":
        return {"metavar": "TEXT", "action": "append", "help": f"{text}; may be given repeatedly"}
    if row.kind == "table":
        return {"metavar": "NAME=VALUE", "action": "append", "type": _pair, "help": text}
    if row.kind == "integer":
        usual = "" if row.default is None else f"; {row.default} by default"
        return {"metavar": "N", "type": whole_number, "help": text + usual}
    if row.choices:
        return {"metavar": "|".join(row.choices), "help": text}
    metavars = {"path": "PATH", "duration": "TIME", "moment": "WHEN", "size": "SIZE"}
    return {"metavar": metavars.get(row.kind, "TEXT"), "help": text}


def _text(name: str) -> str:
    return next(row.text for row in FIELDS if row.name == name)


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value


def specification(
    options: argparse.Namespace, placed: Callable[[str, str], str] | None = None
) -> dict[str, Any]:
    """The fields that were given, paths made absolute, and times those of now.

    :param placed: makes the path of a field absolute, where it does not begin here
    :raises InvalidRequest: a field is wrong
    """
    spec = {}
    for row in FIELDS:
        value = getattr(options, row.name)
        if value is not None:
            if row.kind == "path" and placed is not None:
                value = placed(row.name, value)
            spec[row.name] = dict(value) if row.kind == "table" else value
    return clean(spec, options.key)


def clean(spec: dict[str, Any], key: str | None) -> dict[str, Any]:
    """The fields of a job as they are sent.  :raises InvalidRequest: a field is wrong"""
    paths = [row.name for row in FIELDS if row.kind == "path"]
    spec = {
        name: absolute(value) if name in paths and isinstance(value, str) else value
        for name, value in spec.items()
    }
    try:
        check_key(key)
        check_repeatable(spec, key)
        whole = check_spec(spec)
    except SpecError as error:
        raise InvalidRequest(str(error)) from error
    return {each: whole[each] for each in spec}


def absolute(path: str) -> str:
    """``path`` from the current directory; ``..`` stays, as it may follow a link."""
    if not path or path.startswith("/"):
        return path
    try:
        here = os.getcwd()  # noqa: PTH109 - pathlib would cost each submission 5 ms
    except OSError as error:
        raise InvalidRequest(f"{path} is relative, and the current directory is gone") from error
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return f"{here.rstrip('/')}/{path}"

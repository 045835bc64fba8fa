"""``kcms submit``: its options are the rows of the table of :mod:`kcms.jobs.spec`."""

from __future__ import annotations

import argparse
import json
import os

from kcms.cli.options import Parser, client, client_options, whole_number
from kcms.errors import InvalidRequest
from kcms.jobs.spec import FIELDS, Field, SpecError, check_repeatable, check_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

POSITIONAL = ("executable", "arguments")


def submit(words: list[str]) -> int:
    options = parser().parse_args(words)
    spec = specification(options)
    caller = client(options, options.user)
    if options.check:
        answer = caller.check(spec, options.key)
        print(json.dumps(answer, indent=2) if options.json else "this could be submitted")
        return 0
    job, created = caller.submit(spec, options.key)
    if options.json:
        print(json.dumps(job, indent=2))
    else:
        print(f"job {job['id']}" + ("" if created else " (there already)"))
    return 0


def parser() -> Parser:
    made = Parser(
        "submit",
        "Submit a job.  What follows EXECUTABLE are its arguments, so options come first.  "
        "Relative paths begin at the current directory.",
        usage="kcms submit [options] EXECUTABLE [ARGUMENT ...]",
    )
    for row in FIELDS:
        if row.name not in POSITIONAL:
            made.add_argument(f"--{row.name.replace('_', '-')}", dest=row.name, **_option(row))
    made.add_argument("--key", help="submit only if no job of this user has this key yet")
    made.add_argument("--check", action="store_true", help="check everything, submit nothing")
    client_options(made, "whose job it is; only root may say")
    made.add_argument("executable", metavar="EXECUTABLE", help=_text("executable"))
    made.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help=_text("arguments")
    )
    return made


def _option(row: Field) -> dict[str, Any]:
    text = row.text.replace("%", "%%")
    if row.kind == "boolean":
        return {"action": "store_true", "default": None, "help": text}
    if row.kind == "list":
        return {"metavar": "TEXT", "action": "append", "help": f"{text}; may be given repeatedly"}
    if row.kind == "table":
        return {"metavar": "NAME=VALUE", "action": "append", "type": _pair, "help": text}
    if row.kind == "integer":
        return {"metavar": "N", "type": whole_number, "help": f"{text}; {row.default} by default"}
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


def specification(options: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given, paths made absolute, and times those of now.

    :raises InvalidRequest: a field is wrong
    """
    spec = {}
    for row in FIELDS:
        value = getattr(options, row.name)
        if value is None:
            continue
        if row.kind == "path":
            value = absolute(value)
        spec[row.name] = dict(value) if row.kind == "table" else value
    try:
        check_repeatable(spec, options.key)
        clean = check_spec(spec)
    except SpecError as error:
        raise InvalidRequest(str(error)) from error
    return {each: clean[each] for each in spec}


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

"""``kcms submit --file``: many jobs, one a line."""

from __future__ import annotations

import json
import sys

from kcms.cli import FAILURE_STATUS, complain
from kcms.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kcms.client import Client

    Clean = Callable[[dict[str, Any], str | None], dict[str, Any]]


def submit_file(path: str, caller: Client, clean: Clean, as_json: bool) -> int:
    """Submit every job of a file, each by itself, once all its lines make sense.

    :param clean: what makes the fields that were given those to be sent, with the job's key
    :raises InvalidRequest: a line is no job; then none is submitted
    """
    asked = [_job(at, line, clean) for at, line in enumerate(_lines(path), 1) if line.strip()]
    if not asked:
        raise InvalidRequest(f"there is no job in {path}")
    rows = caller.submit_all([(spec, key) for _, spec, key in asked])
    if as_json:
        print(json.dumps({"jobs": rows}, indent=2))
    failed = 0
    for (at, _, _), row in zip(asked, rows, strict=True):
        if "error" in row:
            failed += 1
            complain(f"line {at}: {row['error']['message']}")
        elif not as_json:
            print(f"job {row['job']['id']}" + ("" if row["status"] == 201 else " (there already)"))
    return FAILURE_STATUS if failed else 0


def _lines(path: str) -> list[str]:
    try:
        if path == "-":
            return sys.stdin.read().splitlines()
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes 5 ms to load
            return file.read().splitlines()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is no UTF-8 text") from error


def _job(at: int, line: str, clean: Clean) -> tuple[int, dict[str, Any], str | None]:
    """The line's number, the specification and the key."""
    told = 'a line must be a JSON object of a job\'s fields, such as {"executable": "/shared/x"}'
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"line {at}: {told}: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"line {at}: {told}")
    key = document.pop("key", None)
    try:
        return at, clean(document, key), key
    except InvalidRequest as error:
        raise InvalidRequest(f"line {at}: {error.message}") from error

"""``kcms balance``."""

from __future__ import annotations

import json
from typing import Any

from kcms.cli import tables
from kcms.cli.options import Parser, client, client_options
from kcms.client import ClientError


def balance(words: list[str]) -> int:
    parser = Parser(
        "balance",
        "Show whether running jobs are moved from crowded nodes to idle ones, how the nodes stand, "
        "what was decided last, and why nothing moves.",
    )
    client_options(parser, None)
    options = parser.parse_args(words)
    try:
        told = client(options).balance()
    except ClientError as error:
        raise _explained(error) from error
    print(json.dumps(told, indent=2) if options.json else in_words(told))
    return 0


def _explained(error: ClientError) -> ClientError:
    """An older release knows no such call, and says only that."""
    if (error.status, error.message) == (404, "Not Found"):
        text = (
            "this cluster's manager, or this host's gateway, is of a release that does not balance"
        )
        return ClientError("unsupported", text, error.status)
    return error


def in_words(told: dict[str, Any]) -> str:
    if not told["on"]:
        return str(tables.printable(told["why"]))
    parts = [_marks(told["marks"]), _nodes(told["nodes"])]
    if told["why"]:
        parts.append(f"nothing moves now: {tables.printable(told['why'])}")
    if told["staying"]:
        parts.append(_staying(told["staying"]))
    if told["decisions"]:
        parts.append(_decisions(told["decisions"]))
    return "\n\n".join(parts)


def _marks(marks: dict[str, Any]) -> str:
    what = "wanted by jobs" if marks["jobs_only"] else "wanted"
    return (
        f"balancing is on: a node gives above {marks['high']:g} CPUs {what} for each that it has, "
        f"and takes below {marks['low']:g}, after {marks['hold']:g} s; a move must gain "
        f"{marks['factor']:g} times what it costs; a job that moved stays for {marks['pause']:g} s "
        "at least"
    )


def _nodes(rows: list[dict[str, Any]]) -> str:
    header = ("NODE", "ROLE", "CPUS", "PRESSURE", "ABOVE", "BELOW")
    shown = [
        (
            row["name"],
            row["role"],
            row["cpus"],
            "" if row["pressure"] is None else f"{row['pressure']:.2f}",
            _seconds(row["above"]),
            _seconds(row["below"]),
        )
        for row in rows
    ]
    return tables.table(header, shown, right="CPUS PRESSURE ABOVE BELOW")


def _seconds(value: float) -> str:
    return tables.duration(value) if value else ""


def _staying(rows: list[dict[str, Any]]) -> str:
    shown = [(f"{row['job']}.{row['task']}", row["user"], row["message"]) for row in rows]
    return tables.table(("TASK", "USER", "STAYS AS"), shown)


def _decisions(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        told = row["message"]
        if row["job"] is not None:
            told += f": {row['outcome'] or 'under way'}"
        lines.append(f"{tables.moment(row['time'])}  {tables.printable(told)}")
    return "\n".join(lines)

"""What ``kcms drain NODE --migrate`` says of what leaves the node."""

from __future__ import annotations

from typing import Any

from kcms.cli import complain, tables
from kcms.client import Client

Row = dict[str, Any]


def name_of(row: Row) -> str:
    """Of a task as commands take it."""
    return str(row["job"]) if row["size"] == 1 else f"{row['job']}.{row['task']}"


def table(rows: list[Row]) -> str:
    header = ("TASK", "USER", "STATE", "TARGET", "WHY")
    shown = [
        (name_of(row), row["user"], row["state"], row["target"], row["message"]) for row in rows
    ]
    return tables.table(header, shown)


def wait(caller: Client, node: str, quiet: bool) -> list[Row]:
    """What stays, once nothing can leave any more; what happens meanwhile is said as it does."""
    told: dict[str, Row] = {}
    rows: list[Row] = []
    for rows in caller.follow_leaving(node):
        there = {name_of(row): row for row in rows}
        for name in [] if quiet else told.keys() - there.keys():
            print(f"job {name} of {told[name]['user']}: gone from {node}", flush=True)
        for name, row in there.items():
            if not quiet and _gist(told.get(name)) != _gist(row):
                print(f"job {name} of {row['user']}: {row['state']}: {row['message']}", flush=True)
        told = there
    return rows


def complain_of(node: str, rows: list[Row]) -> None:
    for row in rows:
        complain(f"job {name_of(row)} of {row['user']} stays on {node}: {row['message']}")


def _gist(row: Row | None) -> tuple[str, str] | None:
    return None if row is None else (row["state"], row["message"])

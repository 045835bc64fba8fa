"""``kcms ps``: the processes of all of a cluster's jobs, as if it were one host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from kcms.cli import complain, tables
from kcms.cli.options import Parser, client, client_options, name, whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

    Cell = Callable[[dict[str, Any], float], object]

OVER = "X"
"""The letter of /proc for what has ended."""


def ps(words: list[str]) -> int:
    parser = Parser(
        "ps",
        "List the processes of jobs on every node: of your own; for the grid's root, of all.  "
        "kcms signal and kcms kill take the id of each.  The state is a letter of ps(1); X has "
        "ended.  %CPU is of one CPU, over the life of the process.",
    )
    parser.add_argument("--tree", action="store_true", help="below each process those it began")
    columns = f"these, of {', '.join(COLUMNS)}"
    parser.add_argument("-o", "--columns", metavar="NAME,...", help=columns)
    parser.add_argument("--all", action="store_true", help="those that ended a while ago, too")
    parser.add_argument("--node", metavar="NAME", type=name, help="only those on this node")
    parser.add_argument("--job", metavar="ID", type=whole_number, help="only those of this job")
    client_options(parser, "only those of this user's jobs")
    options = parser.parse_args(words)
    chosen = _columns(parser, options)
    told, left_out = client(options).processes_told(options.user, options.node, options.job)
    found = [each for each in told if options.all or each["state"] == "R"]
    if options.json:
        print(json.dumps({"processes": found, "left_out": left_out}, indent=2))
    else:
        print(process_table(found, chosen, options.tree, time.time()))
    if left_out:
        complain(f"{left_out} more are not listed; --user, --node and --job make the list shorter")
    return 0


def processes(words: list[str]) -> int:
    """As the command was called first."""
    return ps(["--all", *words])


def _columns(parser: Parser, options: Any) -> list[str]:
    given, default = options.columns, [*DEFAULT, *(["ended"] if options.all else []), "command"]
    chosen = default if given is None else [each.strip().lower() for each in given.split(",")]
    for each in chosen:
        if each not in COLUMNS:
            parser.error(f"there is no column {each!r}; there are {', '.join(COLUMNS)}")
    if options.json and (options.tree or given is not None):
        parser.error("--json prints all there is, so there is no --tree and no --columns with it")
    if options.tree and not {"name", "command"} & set(chosen):
        parser.error("--tree is drawn before the name or the command: have one of these columns")
    return chosen


def process_table(
    found: list[dict[str, Any]], columns: Sequence[str], as_tree: bool, now: float
) -> str:
    """The processes in lines; as a tree, or by job."""
    ordered = sorted(found, key=_place)
    rows = tree(ordered) if as_tree else [("", each) for each in ordered]
    drawn = "command" if "command" in columns else "name"
    lines = [
        [f"{branch if each == drawn else ''}{_cell(each, row, now)}" for each in columns]
        for branch, row in rows
    ]
    header = [COLUMNS[each][0] for each in columns]
    return tables.table(header, lines, right=" ".join(FIGURES))


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["job"], row.get("task") or 0, row["node"], not row.get("root"), row["pid"]


def tree(found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each with what is drawn before it: parents before their children, what ended at the end."""
    alive = [each for each in found if each["state"] == "R"]
    there = {(each["node"], each["pid"]) for each in alive}
    children: dict[tuple[str, int], list[dict[str, Any]]] = {}
    tops = []
    for each in alive:
        parent = (each["node"], each.get("ppid") or 0)
        if parent in there and parent[1] != each["pid"]:
            children.setdefault(parent, []).append(each)
        else:
            tops.append(each)
    drawn: list[tuple[str, dict[str, Any]]] = []
    left = [(0, each) for each in reversed(tops)]
    while left:
        depth, row = left.pop()
        drawn.append(("   " * (depth - 1) + " \\_ " if depth else "", row))
        below = children.pop((row["node"], row["pid"]), ())
        left += [(depth + 1, each) for each in reversed(below)]
    # What is in no tree says that it is its own ancestor: pids that were read at several moments.
    odd = [each for rows in children.values() for each in rows]
    return [*drawn, *(("", each) for each in [*odd, *(e for e in found if e["state"] != "R")])]


def _cell(column: str, row: dict[str, Any], now: float) -> object:
    value = COLUMNS[column][1](row, now)
    return tables.ABSENT if value is None or value == "" else tables.printable(value)


def _said(member: str) -> Cell:
    return lambda row, now: row.get(member)


def _state(row: dict[str, Any], now: float) -> object:
    return OVER if row["state"] != "R" else row.get("status")


def _ended(row: dict[str, Any], now: float) -> object:
    return None if row["ended"] is None else f"{tables.duration(now - row['ended'])} ago"


def _command(row: dict[str, Any], now: float) -> object:
    """In brackets the name of one that has no arguments, as ps(1) has it."""
    return row.get("command") or f"[{row['name']}]"


def _size(row: dict[str, Any], now: float) -> object:
    """Three figures and K, M, G: powers of 1024 bytes."""
    value = row.get("rss_kib")
    if value is None:
        return None
    for unit in "KMG":
        if value < 1000:
            return f"{value:.1f}{unit}" if unit != "K" and value < 10 else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}T"


COLUMNS: dict[str, tuple[str, Cell]] = {
    "id": ("ID", _said("id")),
    "job": ("JOB", _said("job")),
    "task": ("TASK", _said("task")),
    "node": ("NODE", _said("node")),
    "pid": ("PID", _said("pid")),
    "ppid": ("PPID", _said("ppid")),
    "user": ("USER", _said("user")),
    "state": ("STATE", _state),
    "cpu": ("%CPU", _said("cpu_percent")),
    "time": ("CPUTIME", lambda row, now: tables.duration(row.get("cpu_seconds"))),
    "rss": ("RSS", _size),
    "threads": ("THREADS", _said("threads")),
    "start": ("START", lambda row, now: tables.moment(row.get("start_time"))),
    "ended": ("ENDED", _ended),
    "name": ("NAME", _said("name")),
    "command": ("COMMAND", _command),
}
DEFAULT = ("id", "user", "state", "cpu", "time", "rss", "start")
FIGURES = ("JOB", "TASK", "PID", "PPID", "%CPU", "CPUTIME", "RSS", "THREADS")

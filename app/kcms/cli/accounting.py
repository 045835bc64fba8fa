"""``kcms accounting``: what jobs took, summed."""

from __future__ import annotations

import argparse
import json
import time

from kcms.cli import tables
from kcms.cli.options import Parser, client, client_options
from kcms.client import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

BY = ("day", "user", "state")
LARGEST = "max_rss_kib"  # of which the largest counts, where all others are summed
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def accounting(words: list[str]) -> int:
    parser = Parser(
        "accounting",
        "Sum what jobs took that ended in a period: your own; for the grid's root, everybody's.  "
        "CPU is the time that processors worked for them, CORES the time that they had them; "
        "MEMORY is the most that one task had, SAVED the size of checkpoints that were made.",
    )
    times = "as 2030-12-24, 2030-12-24T18:00 (of this host's time zone), or 7d for so long ago"
    parser.add_argument(
        "--since", metavar="TIME", type=moment, help=f"{times}; 30 days before its end by default"
    )
    parser.add_argument("--until", metavar="TIME", type=moment, help="the same; now by default")
    parser.add_argument(
        "--by",
        metavar="WORD,...",
        type=by,
        default=("user",),
        help="a row for each of these: day (UTC), user, state; user by default",
    )
    client_options(parser, "only this user's jobs")
    options = parser.parse_args(words)
    try:
        told = client(options).accounting(options.since, options.until, options.user)
    except ClientError as error:
        raise _explained(error) from error
    if told["more"]:
        raise ClientError("too_many", "there are too many days and users in that: name a --since")
    told["rows"] = folded(told["rows"], options.by)
    print(json.dumps(told, indent=2) if options.json else account_table(told, options.by))
    return 0


def _explained(error: ClientError) -> ClientError:
    """An older release knows no such call, and says only that."""
    if (error.status, error.message) == (404, "Not Found"):
        text = "this cluster's manager, or this host's gateway, is of a release without accounting"
        return ClientError("unsupported", text, error.status)
    return error


def moment(text: str) -> float:
    """Seconds since the epoch."""
    if text[:-1].isascii() and text[:-1].isdigit() and text[-1] in UNITS and len(text) < 7:
        return time.time() - int(text[:-1]) * UNITS[text[-1]]
    from datetime import datetime  # 2 ms, so only where it is needed

    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        told = "must be a time such as 2030-12-24, 2030-12-24T18:00, or 7d for 7 days ago"
        raise argparse.ArgumentTypeError(f"{told}, not {text!r}") from None


def by(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(each.strip() for each in text.split(",")))
    for each in words:
        if each not in BY:
            raise argparse.ArgumentTypeError(f"there is no {each!r}; there are {', '.join(BY)}")
    return words


def folded(rows: list[dict[str, Any]], words: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row for each combination of what ``words`` name, in their order."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        into = found.setdefault(tuple(row[each] for each in words), {})
        for name, value in row.items():
            if name in words:
                into[name] = value
            elif name == LARGEST:
                into[name] = max(into.get(name, 0), value)
            elif name not in BY:
                into[name] = into.get(name, 0) + value
    return [found[each] for each in sorted(found)]


def account_table(told: dict[str, Any], words: tuple[str, ...]) -> str:
    figures = ("JOBS", "TASKS", "CPU", "CORES", "MEMORY", "READ", "WRITTEN", "SAVED")
    rows = [[*(row[each] for each in words), *_shown(row)] for row in told["rows"]]
    if len(rows) > 1:
        (total,) = folded(told["rows"], ())
        rows.append(["total", *[""] * (len(words) - 1), *_shown(total)])
    period = f"ended from {tables.moment(told['since'])} to {tables.moment(told['until'])}"
    header = [*(each.upper() for each in words), *figures]
    return f"{period}\n{tables.table(header, rows, right=' '.join(figures))}"


def _shown(row: dict[str, Any]) -> list[str]:
    return [
        str(row["jobs"]),
        str(row["tasks"]),
        tables.duration(row["cpu_seconds"]),
        tables.duration(row["core_seconds"]),
        tables.size(row[LARGEST] * 1024),
        tables.size(row["read_bytes"]),
        tables.size(row["write_bytes"]),
        tables.size(row.get("checkpoint_bytes", 0)),  # which an older release does not tell
    ]

"""What jobs that are over took, summed by day, user and state: the question and its SQL.

A job counts on the day (UTC) on which it ended.  A task that began counts with what its node
recorded; one of which there is no record of the end only with the time between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kcms.errors import InvalidRequest
from kcms.jobs.model import USAGE

PERIOD = 30 * 86400.0
"""Seconds before its end at which a period begins by default."""

MOST_ROWS = 10_000
LATEST = 253402300799.0
"""The end of the year 9999, in seconds since the epoch."""

SAVED = {
    "checkpoints": "count",
    "checkpoint_bytes": "size_sum",
    "checkpoint_seconds": "frozen",
}
"""Images that were made, what they had together, and for how long tasks stood still for them: each
with its place in the record of a task's checkpoints."""

FIGURES = ("jobs", "tasks", "core_seconds", *USAGE, *SAVED)
COLUMNS = ("day", "user", "state", *FIGURES)

_WHOLE = frozenset(
    {"jobs", "tasks", "max_rss_kib", "read_bytes", "write_bytes", "checkpoints", "checkpoint_bytes"}
)
_TOOK = ", ".join(
    f"{'max' if name == 'max_rss_kib' else 'total'}(json_extract(t.exit, '$.usage.{name}'))"
    for name in USAGE
)
_KEPT = ", ".join(f"total(json_extract(t.saved, '$.{place}'))" for place in SAVED.values())
SQL = f"""
SELECT strftime('%Y-%m-%d', j.end_time, 'unixepoch') AS day, j.user, j.state,
  count(DISTINCT j.id), count(t.job),
  total(max(coalesce(json_extract(t.exit, '$.time'), j.end_time) - t.start_time, 0)
    * coalesce(json_extract(j.spec, '$.cpus_per_task'), 1)),
  {_TOOK}, {_KEPT}
FROM jobs AS j LEFT JOIN tasks AS t ON t.job = j.id AND t.start_time IS NOT NULL
WHERE j.end_time >= :since AND j.end_time < :until AND (:user IS NULL OR j.user = :user)
GROUP BY day, j.user, j.state ORDER BY day, j.user, j.state LIMIT :most
"""  # noqa: S608 - of our own words alone


@dataclass(frozen=True)
class Question:
    """The jobs of ``user`` (None: everybody's) that ended from ``since`` on and before ``until``,
    in seconds since the epoch."""

    since: float
    until: float
    user: str | None = None

    @classmethod
    def of(cls, query: dict[str, str], user: str | None, now: float) -> Question:
        """:raises InvalidRequest: these are no times, or end before they begin"""
        until = _moment(query, "until", now)
        since = _moment(query, "since", max(until - PERIOD, 0.0))
        if since > until:
            raise InvalidRequest("since must not be after until")
        return cls(since, until, user)


def _moment(query: dict[str, str], name: str, default: float) -> float:
    text = query.get(name) or ""
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 <= value <= LATEST:
        raise InvalidRequest(f"{name} must be seconds since the epoch, not {text!r:.40}")
    return value


def documents(rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The rows that :data:`SQL` gives, as API version 1 shows them."""
    return [
        {
            name: int(value or 0) if name in _WHOLE else value
            for name, value in zip(COLUMNS, row, strict=True)
        }
        for row in rows
    ]

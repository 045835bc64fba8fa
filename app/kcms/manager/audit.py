"""Reads a whole job store and tells what is wrong with it: ``kcms admin check``.

Everything is read over one read-only connection, as of one commit, while a manager may go on to
write.  Nothing is changed, neither the store nor what its last writer left beside it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from kcms.errors import ConfigError, ProtocolError
from kcms.manager import litter_rows, rows, schema, soundness
from kcms.manager.backup import STORE
from kcms.manager.soundness import RESTORE, Finding

LOW_DISK = 64 << 20
"""Bytes free below which a change may soon be refused."""

LONG_WAL = 256 << 20
"""Bytes of the write-ahead log above which something keeps it from being taken in."""

MOST_DAMAGE = 20
"""Sentences of SQLite about a damaged file, at the most."""

_READ_ERRORS = (ValueError, KeyError, TypeError, AttributeError, ProtocolError)
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def audit(directory: str, cluster: str) -> dict[str, Any]:
    """What there is in the store below ``directory``, and under ``findings`` what is wrong.

    :raises ConfigError: it cannot be checked: a newer release's, locked, or not to be read
    """
    path = Path(directory) / STORE
    found: dict[str, Any] = {"cluster": cluster, "store": str(path), **_disk(Path(directory))}
    findings = list(_of_files(Path(directory), found))
    try:
        with closing(schema.reading(str(path))) as store:
            found["schema"] = schema.require_known(store, str(path))
            if found["schema"] == schema.VERSION:
                findings += _of_store(store, found)
            else:
                with closing(_brought_up(store, str(path))) as copy:
                    findings += _of_store(copy, found)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") not in _DAMAGED:
            raise ConfigError(f"the job store {path} cannot be read: {error}") from error
        findings.append(Finding("the store", f"it is damaged: {error}", RESTORE))
    found["findings"] = [vars(each) for each in findings]
    return found


def _disk(directory: Path) -> dict[str, Any]:
    """Sizes in bytes."""
    room = os.statvfs(directory)
    wal = directory / f"{STORE}-wal"
    return {
        "bytes": (directory / STORE).stat().st_size,
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "free_bytes": room.f_bavail * room.f_frsize,
    }


def _of_files(directory: Path, found: dict[str, Any]) -> Iterator[Finding]:
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        told = f"{directory} is open to others than the manager: jobs and passwords may be read"
        yield Finding("the store", told, f"chmod go= {directory}")
    if found["free_bytes"] < LOW_DISK:
        told = f"{found['free_bytes'] >> 20} MiB are free: changes will be refused when it is full"
        yield Finding("the disk", told, "make room on it")
    if found["wal_bytes"] > LONG_WAL:
        told = f"the write-ahead log has {found['wal_bytes'] >> 20} MiB: reading it takes long"
        yield Finding("the store", told, "restart the manager, which takes it in")


def _of_store(store: sqlite3.Connection, found: dict[str, Any]) -> Iterator[Finding]:
    """As of one commit."""
    store.execute("BEGIN")
    damage = [row[0] for row in store.execute(f"PRAGMA integrity_check({MOST_DAMAGE})")]
    if damage != ["ok"]:
        for each in damage:
            yield Finding("the store", f"it is damaged: {' '.join(each.split())}", RESTORE)
    for table, row, parent, _ in store.execute("PRAGMA foreign_key_check"):
        told = f"a row of {table} ({row}) is of a row of {parent} that is not there"
        yield Finding("the store", told, RESTORE)
    yield from _of_rows(store, found)
    store.execute("COMMIT")


def _brought_up(store: sqlite3.Connection, path: str) -> sqlite3.Connection:
    """A copy in memory, of a store of an older release, as this one's manager will make it."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    store.backup(copy)
    schema.bring_up_to_date(copy, path)
    return copy


def _of_rows(store: sqlite3.Connection, found: dict[str, Any]) -> Iterator[Finding]:
    meta = dict(store.execute("SELECT key, value FROM meta"))
    highest = int(store.execute("SELECT max(id) FROM jobs").fetchone()[0] or 0)
    yield from soundness.of_meta(meta, found["cluster"])
    yield from _of_left_out(store, meta, highest, found)
    first, last, count = store.execute("SELECT min(seq), max(seq), count(*) FROM events").fetchone()
    given = store.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    yield from soundness.of_events(first or 0, last or 0, count, given[0] if given else 0)
    yield from _of_strays(store)
    yield from _of_drained(store)
    yield from soundness.of_losses(meta.get("losses"))
    yield from _of_litter(store, highest)
    found.update(jobs=0, open=0, events=count)
    yield from _of_jobs(store, found)


def _of_left_out(
    store: sqlite3.Connection, meta: dict[str, Any], highest: int, found: dict[str, Any]
) -> Iterator[Finding]:
    left = meta.get("last_job", 0)
    found["last_job"] = max(highest, left) if type(left) is int else highest
    found["left_out"] = found["last_job"] - highest
    try:
        unsure = json.loads(meta.get("unsure") or "[]")
    except _READ_ERRORS:
        unsure = meta["unsure"]
    named = {each[0] for each in unsure if each} if isinstance(unsure, list) else set()
    there = {n for n in named if store.execute("SELECT 1 FROM jobs WHERE id = ?", (n,)).fetchone()}
    found["unsure"] = len(unsure) if isinstance(unsure, list) else 1
    yield from soundness.of_unsure(unsure, frozenset(there))


def _of_strays(store: sqlite3.Connection) -> Iterator[Finding]:
    """Events of jobs that are not there: their numbers could be given to others."""
    asked = "SELECT DISTINCT job FROM events WHERE job != 0 AND job NOT IN (SELECT id FROM jobs)"
    for (number,) in store.execute(asked):
        told = "something is told of it, and there is no such job: its record is lost"
        yield Finding(f"job {number}", told, RESTORE)


def _of_drained(store: sqlite3.Connection) -> Iterator[Finding]:
    for name, reason, by, when in store.execute("SELECT node, reason, by, time FROM drained"):
        if not (name and isinstance(reason, str) and by and isinstance(when, float)):
            todo = f"kcms resume {name}, and drain it again"
            yield Finding(f"node {name}", "why it is drained cannot be read", todo)


def _of_litter(store: sqlite3.Connection, highest: int) -> Iterator[Finding]:
    try:
        for each in litter_rows.read(store).values():
            yield from soundness.of_litter(each, highest)
    except _READ_ERRORS as error:
        told = f"the images that are to be removed cannot be read: {error}"
        yield Finding("the store", told, RESTORE)


def _of_jobs(store: sqlite3.Connection, found: dict[str, Any]) -> Iterator[Finding]:
    """Job by job, so that a large store needs little memory."""
    asked = f"SELECT {rows.TASK_COLUMNS} FROM tasks ORDER BY job"  # noqa: S608 - our own words
    tasks = _ByJob(store.execute(asked))
    events = store.execute(
        "SELECT job, max(seq), document FROM events WHERE job != 0 GROUP BY job ORDER BY job"
    )
    last = _ByJob(events)
    asked = f"SELECT {rows.JOB_COLUMNS}, priority FROM jobs ORDER BY id"  # noqa: S608 - our own words
    for *row, priority in store.execute(asked):
        found["jobs"] += 1
        try:
            yield from _of_job(tuple(row), priority, tasks.of(row[0]), last.of(row[0]), found)
        except _READ_ERRORS as error:
            told = f"its record cannot be read: {type(error).__name__}: {error}"
            yield Finding(f"job {row[0]}", told, RESTORE)


def _of_job(
    row: tuple[Any, ...],
    priority: int,
    task_rows: list[tuple[Any, ...]],
    events: list[tuple[Any, ...]],
    found: dict[str, Any],
) -> Iterator[Finding]:
    tasks = [rows.task(each[1:]) for each in task_rows]
    job = rows.job(row, found["cluster"], tuple(tasks))
    found["open"] += not job.state.final
    told = json.loads(events[0][2]).get("state", job.state.value) if events else None
    yield from soundness.of_job(job, priority, told)
    for task in tasks:
        yield from soundness.of_exit(job.id, task)


class _ByJob:
    """Rows in the order of their first column, handed out job by job."""

    def __init__(self, found: Iterator[tuple[Any, ...]]) -> None:
        self._groups = groupby(found, key=lambda each: each[0])
        self._next: tuple[int, Any] | None = next(self._groups, None)

    def of(self, number: int) -> list[tuple[Any, ...]]:
        """The rows of a job; the numbers must be asked for in their order."""
        while self._next is not None and self._next[0] < number:
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != number:
            return []
        return list(self._next[1])

"""The job store: one SQLite file, and the only module that knows it.

A change is durable when :meth:`Store.commit` returns (WAL, synchronous=FULL).  Every event of a
commit carries the next sequence number, which a standby can follow.  Columns hold what is searched
by; the specification and the record of an end are JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kcms.errors import ConfigError, Unavailable
from kcms.jobs.freezing import Past
from kcms.jobs.intervals import Losses
from kcms.jobs.listed import ALL, LISTED_TASKS, REST, RUNS, Listed
from kcms.jobs.model import Job, Task
from kcms.jobs.queue import Followed
from kcms.jobs.spec import TASKS_LIMIT
from kcms.jobs.states import State
from kcms.manager import accounting, litter_rows, rows, schema, signal_rows
from kcms.manager.litter_rows import Litter, LitterKey
from kcms.manager.rows import Drain, Event
from kcms.manager.signal_rows import Given, TaskKey

LISTING_BYTES = 8 << 20
"""Of the rows of one listing: 10,000 specifications of 64 KiB would be all of the memory."""

PAST_JOBS = 10_000
"""Of the newest jobs it is read what their moves took."""

_PLACES = "CASE {} ELSE 0 END".format(
    " ".join(
        f"WHEN state = '{state.value}' THEN {place}"
        for place, states in ((1, RUNS), (2, REST))
        for state in sorted(states)
    )
)
"""In which order tasks are told of, as Listed.of has it."""

_ACTIVE = tuple(state.value for state in State if not state.final)


@dataclass(frozen=True)
class Query:
    """Which jobs a listing asks for; None is any.  The newest ``limit`` are returned, or as many as
    :data:`LISTING_BYTES` holds.

    ``before`` asks for jobs with lower numbers only: the first of one page gives the next page.
    ``name`` is a pattern with the marks ``*``, ``?`` and ``[…]`` of glob(7).
    """

    user: str | None = None
    states: tuple[str, ...] | None = None
    key: str | None = None
    limit: int = 1000
    before: int | None = None
    name: str | None = None


class Reader:
    """What is committed, over a connection of its own; for one thread at a time."""

    def __init__(self, path: str, cluster: str) -> None:
        self.path = path
        self.cluster = cluster
        with self._errors():
            self._reader = self._connect()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(
                f"the manager cannot use its job store {self.path}: {error}; nothing was changed"
            ) from error

    def sequence(self) -> int:
        """The sequence number of the newest event; 0 when there was none."""
        with self._errors():
            row = self._reader.execute("SELECT max(seq) FROM events").fetchone()
        return int(row[0] or 0)

    def last_job(self) -> int:
        """The highest job id ever given or left out; 0 when there was none."""
        with self._errors():
            given = self._reader.execute("SELECT max(id) FROM jobs").fetchone()[0]
        return max(int(given or 0), int(self._meta("last_job") or 0))

    def unsure(self) -> frozenset[tuple[int, int, int]]:
        """Job, task and epoch of what had begun when the copy was made that this store was.

        Whether their nodes still have them is theirs to say: they are not started on our word.
        """
        return frozenset(
            (row[0], row[1], row[2]) for row in json.loads(self._meta("unsure") or "[]")
        )

    def _meta(self, key: str) -> Any:
        with self._errors():
            row = self._reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def missing(self, numbers: Iterable[int]) -> frozenset[int]:
        """Those of the numbers that no job has."""
        with self._errors():
            return frozenset(
                each
                for each in numbers
                if not self._reader.execute("SELECT 1 FROM jobs WHERE id = ?", (each,)).fetchone()
            )

    def followed(self, numbers: Iterable[int]) -> dict[int, Followed]:
        """What is to be known of the jobs of these numbers that others follow."""
        ask = "SELECT state, start_time FROM jobs WHERE id = ?"
        found = {}
        with self._errors():
            for each in numbers:
                row = self._reader.execute(ask, (each,)).fetchone()
                if row is not None:
                    found[each] = Followed(State(row[0]), row[1] is not None)
        return found

    def active(self) -> list[Job]:
        """Every job that is not over, oldest first."""
        marks = ",".join("?" * len(_ACTIVE))
        return self._jobs(f"WHERE state IN ({marks}) ORDER BY id", _ACTIVE)

    def job(self, number: int, listed: Listed = ALL) -> Job | None:
        """A job with the tasks that ``listed`` asks for; other than all of them, all counted."""
        if listed.limit is None:
            found = self._jobs("WHERE id = ?", (number,))
            return found[0] if found else None
        with self._errors(), self._snapshot():
            this = "FROM jobs WHERE id = ?"
            row = self._reader.execute(f"SELECT {rows.JOB_COLUMNS} {this}", (number,)).fetchone()
            if row is None:
                return None
            tasks = self._listed_tasks(number, listed.limit, listed.task)
            counted = self._counts("FROM tasks WHERE job = ?", (number,)).get(number, {})
        return replace(rows.job(row, self.cluster, tasks), counted=counted)

    def _listed_tasks(self, number: int, limit: int, task: int | None) -> tuple[Task, ...]:
        of_it = "FROM tasks WHERE job = ?"
        these = f"SELECT {rows.TASK_COLUMNS} {of_it}"
        found = list(self._reader.execute(f"{these} AND task = ?", (number, task)))
        if limit:
            ask = f"{these} ORDER BY {_PLACES}, task LIMIT ?"
            found += self._reader.execute(ask, (number, limit))
        each = {row[1]: rows.task(row[1:]) for row in found}
        return tuple(each[index] for index in sorted(each))

    def of_key(self, user: str, key: str) -> int | None:
        """The number of the user's job of that key."""
        ask = "SELECT id FROM jobs WHERE user = ? AND key = ?"
        with self._errors():
            row = self._reader.execute(ask, (user, key)).fetchone()
        return None if row is None else int(row[0])

    def listing(self, query: Query) -> list[Job]:
        """The newest jobs that ``query`` asks for, newest last, with their first tasks only, see
        :data:`LISTED_TASKS`, and all of them counted."""
        terms: list[str] = ["1"]
        values: list[Any] = []
        if query.user is not None:
            terms.append("user = ?")
            values.append(query.user)
        if query.key is not None:
            terms.append("key = ?")
            values.append(query.key)
        if query.states is not None:
            terms.append(f"state IN ({','.join('?' * len(query.states))})")
            values.extend(query.states)
        if query.name is not None:
            terms.append("json_extract(spec, '$.name') GLOB ?")
            values.append(query.name)
        if query.before is not None:
            terms.append("id < ?")
            values.append(query.before)
        where = f"WHERE {' AND '.join(terms)} ORDER BY id DESC LIMIT ?"
        return self._jobs(where, (*values, query.limit), LISTING_BYTES, LISTED_TASKS)[::-1]

    def _jobs(
        self,
        where: str,
        values: tuple[Any, ...],
        most_bytes: float = float("inf"),
        most_tasks: int | None = None,
    ) -> list[Job]:
        """The first jobs that have ``most_bytes`` together, one at least, with the tasks whose
        index is below ``most_tasks``; then the others are counted.

        ``where`` holds words of this module only; what callers sent is in ``values``.
        """
        chosen = f"FROM jobs {where}"
        parts: dict[int, list[Task]] = {}
        with self._errors(), self._snapshot():
            cursor = self._reader.execute(f"SELECT {rows.JOB_COLUMNS} {chosen}", values)
            found = list(_within(cursor, most_bytes))
            of_them = f"FROM tasks WHERE job IN (SELECT id {chosen})"
            tasks = self._reader.execute(
                f"SELECT {rows.TASK_COLUMNS} {of_them} AND task < ? ORDER BY job, task",
                (*values, TASKS_LIMIT if most_tasks is None else most_tasks),
            )
            for row in tasks:
                parts.setdefault(row[0], []).append(rows.task(row[1:]))
            counts = {} if most_tasks is None else self._counts(of_them, values)
        jobs = (rows.job(row, self.cluster, tuple(parts.get(row[0], ()))) for row in found)
        return [replace(job, counted=counts.get(job.id)) for job in jobs]

    def _counts(self, of_them: str, values: tuple[Any, ...]) -> dict[int, dict[str, int]]:
        """How many tasks of each job are in each state."""
        counts: dict[int, dict[str, int]] = {}
        chosen = f"SELECT job, state, count(*) {of_them} GROUP BY job, state"
        for job, state, count in self._reader.execute(chosen, values):
            counts.setdefault(job, {})[state] = count
        return counts

    def accounting(self, asked: accounting.Question) -> list[dict[str, Any]]:
        """What jobs that are over took, at the most :data:`accounting.MOST_ROWS` and one row."""
        values = {**asdict(asked), "most": accounting.MOST_ROWS + 1}
        with self._errors():
            return accounting.documents(self._reader.execute(accounting.SQL, values))

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Jobs and their tasks as of one commit."""
        self._reader.execute("BEGIN")
        try:
            yield
        finally:
            self._reader.execute("COMMIT")

    def drained(self) -> dict[str, Drain]:
        """The nodes that are out of use."""
        with self._errors():
            found = self._reader.execute(
                "SELECT node, reason, by, time, migrate FROM drained"
            ).fetchall()
        return {
            name: Drain(reason, by, when, bool(migrate))
            for name, reason, by, when, migrate in found
        }

    def past_moves(self) -> list[Past]:
        """What the last moves of the newest jobs took, oldest first."""
        ask = "SELECT migration FROM jobs WHERE id > ? AND migration IS NOT NULL ORDER BY id"
        with self._errors():
            found = self._reader.execute(ask, (self.last_job() - PAST_JOBS,)).fetchall()
        moves = (rows.migration(json.loads(text)) for (text,) in found)
        told = sorted(moves, key=lambda each: each.end_time or 0.0)
        return [past for each in told if (past := Past.of(each)) is not None]

    def signals(self) -> dict[TaskKey, tuple[Given, ...]]:
        """The signals that tasks were given."""
        with self._errors():
            return signal_rows.read(self._reader)

    def litter(self) -> dict[LitterKey, Litter]:
        """The images that are to be removed.  :raises Unavailable: the store cannot be read"""
        with self._errors():
            return litter_rows.read(self._reader)

    def losses(self) -> Losses:
        """What was seen of losses of nodes.  :raises Unavailable: the store cannot be read"""
        return Losses(**json.loads(self._meta("losses") or "{}"))

    def close(self) -> None:
        self._reader.close()


def _within(found: Iterable[tuple[Any, ...]], most_bytes: float) -> Iterator[tuple[Any, ...]]:
    """The first rows whose texts have ``most_bytes`` together, and one at least."""
    left = most_bytes
    for at, row in enumerate(found):
        left -= sum(len(each) for each in row if isinstance(each, str))
        if left < 0 and at:
            return
        yield row


class Store(Reader):
    """The store of one cluster below ``directory``, for one process.

    Commits and reads have a connection each: a read sees what is committed, while another thread
    commits.  ``id`` names this store among all that ever were, so that the numbers of its jobs are
    not taken for those of another.
    """

    id: str

    def __init__(self, directory: str, cluster: str) -> None:
        self.path = str(Path(directory) / "jobs.sqlite")
        self.cluster = cluster
        with self._errors():
            schema.require_ours(self.path, cluster)
        self._lock = _only_one(Path(directory))
        with self._errors():
            self._database = self._connect()
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        super().__init__(self.path, cluster)

    def _migrate(self) -> None:
        schema.bring_up_to_date(self._database, self.path)
        row = self._database.execute("SELECT value FROM meta WHERE key = 'cluster'").fetchone()
        if row is None:
            self._database.execute("INSERT INTO meta VALUES ('cluster', ?)", (self.cluster,))
        self._database.execute(
            "INSERT OR IGNORE INTO meta VALUES ('store', ?)", (secrets.token_hex(4),)
        )
        row = self._database.execute("SELECT value FROM meta WHERE key = 'store'").fetchone()
        self.id = str(row[0])

    def commit(
        self,
        jobs: Iterable[Job],
        events: Iterable[Event],
        drains: Mapping[str, Drain | None] | None = None,
        tasks: Mapping[int, Iterable[Task]] | None = None,
        signals: Mapping[TaskKey, tuple[Given, ...]] | None = None,
        litter: Mapping[LitterKey, Litter | None] | None = None,
        losses: Losses | None = None,
    ) -> int:
        """Make jobs, events, changes of nodes' use (None: in use again) and the signals of tasks
        durable, all or nothing; the sequence number reached.

        :param tasks: those of each job that changed; without it all are written
        :param litter: images that are to be removed; None: one is gone
        :param losses: of nodes so far, when that is to be put on record
        :raises Unavailable: a full disk or another error of the store
        """
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for job in jobs:
                    self._write(job, job.tasks if tasks is None else tasks.get(job.id, ()))
                for name, drain in (drains or {}).items():
                    self._write_drain(name, drain)
                signal_rows.write(self._database, signals or {})
                litter_rows.write(self._database, litter or {})
                if losses is not None:
                    row = ("losses", json.dumps(asdict(losses)))
                    self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)
                self._database.executemany(
                    "INSERT INTO events (time, job, kind, document) VALUES (?, ?, ?, ?)",
                    [(e.time, e.job, e.kind, json.dumps(e.document)) for e in events],
                )
                reached = self._database.execute("SELECT max(seq) FROM events").fetchone()[0]
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            return int(reached or 0)

    def note_restore(self, last_job: int, unsure: Iterable[tuple[int, int, int]]) -> None:
        """Give no number up to ``last_job`` again; for the rest see :meth:`unsure`.

        :raises Unavailable: a full disk or another error of the store
        """
        kept = [("last_job", last_job), ("unsure", json.dumps(sorted(unsure)))]
        with self._errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", kept)

    def _write(self, job: Job, changed: Iterable[Task]) -> None:
        if self._database.execute(rows.PUT_JOB, rows.of_job(job)).rowcount != 1:
            raise sqlite3.IntegrityError(f"the number {job.id} is that of another job")
        tasks = [rows.of_task(job.id, task) for task in changed]
        self._database.executemany(rows.PUT_TASK, tasks)

    def _write_drain(self, name: str, drain: Drain | None) -> None:
        self._database.execute("DELETE FROM drained WHERE node = ?", (name,))
        if drain is not None:
            row = (name, drain.reason, drain.by, drain.time, int(drain.migrate))
            self._database.execute("INSERT INTO drained VALUES (?, ?, ?, ?, ?)", row)

    def close(self) -> None:
        super().close()
        self._database.close()
        os.close(self._lock)


def _only_one(directory: Path) -> int:
    """The lock that keeps a second manager from the same store, held by a descriptor."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"another manager uses {directory}; stop that one first") from error
    except OSError as error:
        raise ConfigError(f"cannot use {directory}: {error.strerror}") from error
    return descriptor

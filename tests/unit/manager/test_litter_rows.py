"""Images that are to be removed, in the job store and in one that an earlier release made."""

from __future__ import annotations

import sqlite3

from kcms.jobs.checkpoint import Image
from kcms.jobs.checkpointing import Kept, Saved
from kcms.jobs.model import Task
from kcms.jobs.states import State
from kcms.manager import litter_rows, rows, schema
from kcms.manager.litter_rows import Litter

LITTER = Litter(7, 3, 0, 2, ("/shared/x", "/shared/y"), 5.0, "alice", 2001, 2002)


def older() -> sqlite3.Connection:
    """A store of schema 4 with a job and a task in it."""
    database = sqlite3.connect(":memory:")
    for step in schema.STEPS[:4]:
        database.executescript(step)
    for table, there in (
        ("jobs", {"id": 7, "user": "alice", "uid": 2001, "gid": 2002}),
        ("tasks", {"job": 7, "task": 0, "epoch": 2, "state": "RUNNING", "node": "a"}),
    ):
        row = []
        for _, name, kind, needed, default, _ in database.execute(f"PRAGMA table_info({table})"):
            spare = (0 if kind in ("INTEGER", "REAL") else "{}") if needed else None
            row.append(there.get(name, spare if default is None else default))
        database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    return database


def test_an_older_store_gets_the_table_and_tasks_without_checkpoints() -> None:
    database = older()
    database.executescript(schema.STEPS[4])
    assert litter_rows.read(database) == {}
    assert database.execute("SELECT saved FROM tasks").fetchall() == [(None,)]
    litter_rows.write(database, {LITTER.key: LITTER})
    assert litter_rows.read(database) == {LITTER.key: LITTER}
    litter_rows.write(database, {LITTER.key: None})
    assert litter_rows.read(database) == {}


def test_the_record_of_a_task_keeps_its_checkpoints() -> None:
    kept = Kept(Image(2, "/shared/x", 1, "ab", 3.0), 1, "a", "x86_64", "4.1", not_on=("b",))
    saved = Saved((kept,), last=4, failure="no").asked(5, "alice", 9.0)
    task = Task(0, 2, "a", State.RUNNING, saved=saved)
    assert rows.task(rows.of_task(7, task)[1:]) == task

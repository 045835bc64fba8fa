"""The tables of the job store, and how an older store becomes one of this release."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kcms.errors import ConfigError

VERSION = 5

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL, priority INTEGER NOT NULL,
  submit_host TEXT NOT NULL, submit_time REAL NOT NULL, start_time REAL, end_time REAL,
  key TEXT, killed_by TEXT, spec TEXT NOT NULL, UNIQUE (user, key)
);
CREATE INDEX jobs_state ON jobs (state);
CREATE TABLE tasks (
  job INTEGER NOT NULL REFERENCES jobs (id), task INTEGER NOT NULL, epoch INTEGER NOT NULL,
  node TEXT NOT NULL, state TEXT NOT NULL, start_time REAL, message TEXT NOT NULL, exit TEXT,
  PRIMARY KEY (job, task)
) WITHOUT ROWID;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, job INTEGER NOT NULL,
  kind TEXT NOT NULL, document TEXT NOT NULL
);
"""
_SECOND = """
ALTER TABLE jobs ADD COLUMN migration TEXT;
CREATE TABLE drained (
  node TEXT PRIMARY KEY, reason TEXT NOT NULL, by TEXT NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
"""
_THIRD = """
ALTER TABLE jobs ADD COLUMN held_by TEXT;
"""
_FOURTH = """
ALTER TABLE jobs ADD COLUMN fate TEXT;
ALTER TABLE tasks ADD COLUMN first INTEGER;
ALTER TABLE tasks ADD COLUMN killed_by TEXT;
ALTER TABLE tasks ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN lease REAL NOT NULL DEFAULT 0;
CREATE TABLE signals (
  job INTEGER NOT NULL REFERENCES jobs (id), task INTEGER NOT NULL, epoch INTEGER NOT NULL,
  number INTEGER NOT NULL, name TEXT NOT NULL, pid INTEGER, birth INTEGER, grace REAL,
  rank INTEGER, key TEXT NOT NULL, done INTEGER NOT NULL,
  PRIMARY KEY (job, task, epoch, number)
) WITHOUT ROWID;
CREATE INDEX jobs_end ON jobs (end_time) WHERE end_time IS NOT NULL;
"""
_FIFTH = """
ALTER TABLE drained ADD COLUMN migrate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN saved TEXT;
CREATE TABLE litter (
  job INTEGER NOT NULL REFERENCES jobs (id), number INTEGER NOT NULL, task INTEGER NOT NULL,
  epoch INTEGER NOT NULL, paths TEXT NOT NULL, time REAL NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""
STEPS = (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH)
"""What makes each version of the one before it; the first of an empty file."""


def reading(path: str) -> sqlite3.Connection:
    """A connection to a store that changes nothing: not the store, nor what its last writer left
    beside it.  :raises sqlite3.Error: no store can be read there"""
    return sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
    )


def require_known(database: sqlite3.Connection, path: str) -> int:
    """The version of a store's tables.  :raises ConfigError: it is that of a newer release"""
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise ConfigError(
            f"the job store {path} has schema {version}, newer than this release's "
            f"{VERSION}: use the newer release"
        )
    return version


def require_ours(path: str, cluster: str) -> None:
    """Whether a store, if there is one, may be opened here; it is left as it is.

    :raises ConfigError: it is that of a newer release or of another cluster
    """
    if not Path(path).exists():
        return
    with closing(reading(path)) as database:
        if require_known(database, path) == 0:
            return
        row = database.execute("SELECT value FROM meta WHERE key = 'cluster'").fetchone()
    if row is not None and row[0] != cluster:
        raise ConfigError(f"the job store {path} is that of cluster {row[0]!r}, not {cluster!r}")


def bring_up_to_date(database: sqlite3.Connection, path: str) -> None:
    """Give a store, new or of an older release, the tables of this one, all or nothing.

    :raises ConfigError: it is that of a newer release
    """
    version = require_known(database, path)
    if version == VERSION:
        return
    try:
        database.executescript(
            f"BEGIN IMMEDIATE; {''.join(STEPS[version:])} PRAGMA user_version = {VERSION}; COMMIT;"
        )
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise

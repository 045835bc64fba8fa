"""Copies of a job store: made while its manager works, and made ready to be put in its place.

What a copy has open may have gone on since.  :func:`settled` says what becomes of it, so that
nothing runs twice: a task that its node began is settled by what the node reports, which still has
the task or has forgotten it as over; whatever had not begun may have begun and ended since.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from kcms.errors import ConfigError, KcmsError
from kcms.jobs.model import Fate, Job, Task
from kcms.jobs.states import State
from kcms.manager import saves
from kcms.manager.memory import key_of, under_way
from kcms.manager.rows import Event
from kcms.manager.store import Store

STORE = "jobs.sqlite"
PASSWORDS = "passwords.json"
GAP = 1000
"""Numbers left out after a restore, so that no new job writes into files of a forgotten one."""

_WORK = ".copy-"


class Settled(NamedTuple):
    """What a restored store has: open jobs that were given up, open jobs kept, its last number."""

    given_up: int
    kept: int
    last_job: int


def owner_of(directory: str) -> tuple[int, int]:
    """User and group that the store below ``directory`` belongs to.

    :raises ConfigError: there is no store
    """
    try:
        found = (Path(directory) / STORE).lstat()
    except OSError as error:
        raise ConfigError(f"there is no job store in {directory}: {error.strerror}") from error
    return found.st_uid, found.st_gid


def as_owner(owner: tuple[int, int], work: Callable[[], None]) -> None:
    """Do ``work`` in a child that, begun by root, has the rights of ``owner`` alone.

    A store is its manager's: root follows no link there, and reads no file that SQLite would trust.

    :raises ConfigError: the work failed, with its one sentence
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(told)
            status = _in_child(owner, work, tell)
        finally:  # whatever happened: what is above this is the parent's
            os._exit(status)
    os.close(tell)
    with os.fdopen(told, "rb") as stream:
        said = stream.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if status != 0:
        how = os.waitstatus_to_exitcode(status)
        raise ConfigError(
            said or f"the copy ended with {f'status {how}' if how > 0 else _by(-how)}"
        )


def _by(number: int) -> str:
    return f"signal {number}, {signal.strsignal(number) or 'unknown'}"


def _in_child(owner: tuple[int, int], work: Callable[[], None], tell: int) -> int:
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(owner[1])
            os.setuid(owner[0])
        os.umask(0o077)
        work()
    except OSError as error:
        os.write(tell, f"{error.filename or 'the copy'}: {error.strerror or error}".encode())
    except sqlite3.Error as error:
        os.write(tell, f"the job store cannot be copied: {error}".encode())
    except KcmsError as error:
        os.write(tell, str(error).encode()[:4000])
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        said = f"the job store cannot be read: {type(error).__name__}: {error}"
        os.write(tell, said.encode()[:4000])
    else:
        return 0
    return 1


def copy(directory: str, store: int, passwords: int) -> None:
    """Write the store and its passwords below ``directory`` to two open descriptors.

    The store is as of one commit: SQLite's backup reads one snapshot, which holds up no writer.
    Passwords are replaced as a whole, so that one reading is one state; without any, nothing is
    written.

    :raises ConfigError: the copy does not pass its check  :raises OSError, sqlite3.Error: no copy
    """
    for left in Path(directory).glob(f"{_WORK}*"):
        shutil.rmtree(left, ignore_errors=True)  # of one that was broken off
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=directory) as work:
        there = str(Path(work) / STORE)
        _snapshot(str(Path(directory) / STORE), there)
        _pour(there, store)
    try:
        _pour(str(Path(directory) / PASSWORDS), passwords)
    except FileNotFoundError:
        return


def _snapshot(source: str, target: str) -> None:
    read = f"file:{source}?mode=rw"  # WAL needs its shared memory; nothing is written
    with closing(sqlite3.connect(read, uri=True)) as store, closing(sqlite3.connect(target)) as to:
        store.execute("PRAGMA query_only = ON")
        store.backup(to, pages=-1)
        to.execute("PRAGMA journal_mode = DELETE")
        found = to.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise ConfigError(f"the job store {source} is damaged: {found}")


def _pour(path: str, descriptor: int) -> None:
    with Path(path).open("rb") as source, os.fdopen(descriptor, "wb", closefd=False) as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(descriptor)


def settle(directory: str, cluster: str, taken: float, keep: bool, gap: int = GAP) -> Settled:
    """Make the copy below ``directory``, taken at ``taken`` (epoch seconds), ready to be a store.

    :param keep: nothing went on since, as the manager was stopped for good
    :raises ConfigError: another process uses it, or it is another cluster's or a newer release's
    """
    store = Store(directory, cluster)
    try:
        now = time.time()
        active = store.active()
        changed = [] if keep else list(settled(active, taken, now))
        over = {job.id for job in changed if job.state.final}
        emptied = [saves.emptied(job, now) for job in changed if job.id in over]
        changed = [job for job in changed if job.id not in over] + [job for job, _ in emptied]
        litter = {row.key: row for _, rows in emptied for row in rows}
        unsure = () if keep else _begun(job for job in active if job.id not in over)
        events = [
            Event(now, job.id, "restore", {"state": job.state.value, "copy": taken})
            for job in changed
        ]
        signals = dict.fromkeys(store.signals(), ())
        store.commit(changed, events, signals=signals, litter=litter)
        store.note_restore(store.last_job() + gap, unsure)
        return Settled(len(over), len(active) - len(over), store.last_job())
    finally:
        store.close()


def _begun(jobs: Iterable[Job]) -> Iterator[tuple[int, int, int]]:
    for job in jobs:
        for task in job.open_tasks:
            yield key_of(job, task)


def settled(active: Iterable[Job], taken: float, now: float) -> Iterator[Job]:
    """The jobs of a copy that become something else by having been away since ``taken``.  Pure."""
    reason = f"restored from a backup of {_utc(taken)}: may have run since"
    for job in active:
        moving = under_way(job)
        after = job
        if moving is not None:
            after = replace(job, migration=moving.ended("failed", reason, now))
        if job.size > 1 and any(task.start_time is not None for task in job.open_tasks):
            after = _partly_given_up(after, reason)
        elif not job.open_tasks or any(task.start_time is None for task in job.open_tasks):
            after = _given_up(after, reason, now)
        if after is not job:
            yield after


def _partly_given_up(job: Job, reason: str) -> Job:
    """A job of which some tasks had begun: the others may have, and begin no more."""
    late = [task for task in job.open_tasks if task.start_time is None]
    late += [job.task(each) or Task(each, 0, "", State.PENDING) for each in job.unplaced()]
    if not late:
        return job
    over = (replace(task, state=State.NODE_FAIL, message=reason) for task in late)
    after = replace(job, tasks=job.with_tasks(*over))
    if job.job_class != "parallel" or job.ending:
        return after
    return replace(after, fate=Fate(State.NODE_FAIL, reason), reason=reason)


def _given_up(job: Job, reason: str, now: float) -> Job:
    tasks = tuple(
        task if task.state.final else replace(task, state=State.NODE_FAIL, message=reason)
        for task in job.tasks
    )
    placed = job.moved(State.RUNNING) if job.state is State.PENDING else job  # as it may have been
    return placed.moved(State.NODE_FAIL, reason=reason, tasks=tasks, end_time=now)


def _utc(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))

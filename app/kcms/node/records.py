"""The records of tasks on disk: one directory a task, each file whole or absent.

``JOB.TASK.EPOCH-STORE/`` below the state directory's ``tasks`` (root's, 0700) holds

=============  ======  ====================================================================
wanted.json    daemon  ``wanted`` (WantedTask), ``account`` (home, shell, groups), cluster, node,
                       ``runtime`` (see lease.py), ``restore`` (see restoring.py) of a task that
                       comes from an image, with its ``note``, ``session`` (directory of the
                       socket, user of the gateway) of an interactive one, ``gateway`` (its
                       socket) of a staged one
started        init    boot_id, time, boottime, cgroup, release; or the daemon, with
                       ``refused``, so that the program never starts; made once, by link(2)
refused        both    message, time, cause
end.RANK       init    Exit of one task of a parallel job that is over
kill           daemon  boot_id, deadline, killed_at (CLOCK_BOOTTIME), cause, processes
signals        daemon  Signalled: written before a signal is sent, so that none is sent twice
restored       init    the tree of such a task is there, and frozen
exit           init    Exit, ``stopped``, and boottime
logue, …       both    the site's prologue and epilogue, see logue.py
disowned       daemon  time at which the task's own job store wanted another job of this name
=============  ======  ====================================================================

A directory appears under its name only when its first files are on the disk, and loses the name
before it is removed, so that no half-made one is ever read.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs.model import Exit, WantedTask
from kcms.jobs.signals import Signalled
from kcms.jobs.spec import is_interactive
from kcms.node import durable, logues
from kcms.node.account import Account
from kcms.node.core import Kill, Record, Started, TaskId
from kcms.node.poke import POKE

END = "end."
_EXIT_FIELDS = frozenset(each.name for each in fields(Exit))
_NAMES = ("exit", "refused", "kill", "started", "restored", "disowned", "signals", "wanted.json")


class Records:
    """The directory of task records.  Every method raises OSError when the disk does.

    ``session`` is where people are attached to interactive tasks, see :mod:`kcms.node.session`.
    """

    def __init__(
        self, state_directory: str | Path, cluster: str, node: str, runtime: str = ""
    ) -> None:
        self.directory = Path(state_directory) / "tasks"
        self.poke = Path(state_directory) / POKE
        self.cluster = cluster
        self.node = node
        self.runtime = runtime
        self.session: dict[str, str] = {}
        self.gateway = ""

    def open(self) -> None:
        """Make the directory, and clear away what a killed daemon left half made or removed."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.poke.is_fifo():
            self.poke.unlink(missing_ok=True)
            os.mkfifo(self.poke, 0o600)
        self.directory.chmod(0o700)
        for each in self.directory.iterdir():
            if each.name.startswith("."):
                shutil.rmtree(each)
        durable.sync_directory(str(self.directory))

    def path(self, task: TaskId) -> Path:
        return self.directory / str(task)

    def prepare(
        self,
        wanted: WantedTask,
        account: Account | None,
        refusal: str | None,
        time: float,
        restore: dict[str, Any] | None = None,
        logue: dict[str, Any] | None = None,
        cause: str = "",
    ) -> None:
        """Make the record of a task that is about to start or, with ``refusal``, never will.

        :param restore: what its init needs to restore it from an image, instead of starting it
        :param cause: of the refusal, for its manager
        :param logue: the site's prologue and epilogue of it, see :func:`logues.plan`
        """
        task = TaskId.of(wanted)
        new = self.directory / f".{task}.new"
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        try:
            self._fill(str(new), wanted, account, restore)
            if refusal is not None:
                refused = {"refused": refusal, "time": time, "cause": cause}
                durable.create(str(new), "started", refused)
            if logue is not None and refusal is None:
                durable.create(str(new), "logue", logue)
            new.rename(self.path(task))
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        durable.sync_directory(str(self.directory))

    def _fill(
        self,
        new: str,
        wanted: WantedTask,
        account: Account | None,
        restore: dict[str, Any] | None,
    ) -> None:
        plan = {
            "wanted": wanted.document(),
            "account": account.document() if account else None,
            "cluster": self.cluster,
            "node": self.node,
            "runtime": self.runtime,
        }
        if restore is not None:
            plan["restore"] = restore
        if is_interactive(wanted.spec):
            plan["session"] = self.session
        if wanted.spec.get("staged"):
            plan["gateway"] = self.gateway
        durable.create(new, "wanted.json", plan)

    def refuse(self, task: TaskId, message: str, time: float) -> bool:
        """See to it that the task never starts; False when it has."""
        try:
            durable.create(str(self.path(task)), "started", {"refused": message, "time": time})
        except FileExistsError:
            return False
        return True

    def may_start(self, task: TaskId) -> bool:
        """Whether there is a record, and nobody has claimed the task."""
        path = self.path(task)
        return (path / "wanted.json").exists() and not (path / "started").exists()

    def is_restoring(self, task: TaskId) -> bool:
        """Whether the task's tree comes from an image, and is not there yet."""
        return read_record(self.path(task)).restoring

    def kill_of(self, task: TaskId) -> Kill | None:
        return _kill(durable.read(str(self.path(task)), "kill"))

    def write_kill(self, task: TaskId, kill: Kill, processes: int) -> None:
        """Record a kill; ``processes`` were alive when SIGKILL was decided, 0 before that."""
        document = {
            "boot_id": kill.boot_id,
            "deadline": kill.deadline,
            "killed_at": kill.killed_at,
            "cause": kill.cause,
            "processes": processes,
        }
        durable.replace(str(self.path(task)), "kill", document)

    def write_signals(self, task: TaskId, signalled: Signalled) -> None:
        durable.replace(str(self.path(task)), "signals", signalled.document())

    def disown(self, task: TaskId, time: float) -> None:
        durable.replace(str(self.path(task)), "disowned", {"time": time})

    def forget(self, task: TaskId) -> None:
        gone = self.directory / f".{task}.gone"
        try:
            self.path(task).rename(gone)
        except FileNotFoundError:
            return
        durable.sync_directory(str(self.directory))
        shutil.rmtree(gone)

    def tasks(self) -> list[TaskId]:
        found = (TaskId.parse(each.name) for each in self.directory.iterdir())
        return sorted(each for each in found if each is not None)

    def load(self) -> dict[TaskId, Record]:
        """Every record there is."""
        return {each: read_record(self.path(each)) for each in self.tasks()}

    def load_one(self, task: TaskId) -> Record | None:
        """The record of a task, None when there is none."""
        path = self.path(task)
        return read_record(path) if path.exists() else None

    def signature(self, task: TaskId) -> frozenset[str]:
        """The files of the record, which change its meaning when they come; cheap enough to look
        often."""
        try:
            return frozenset(each for each in _names(self.path(task)) if each[0] != ".")
        except FileNotFoundError:
            return frozenset()


def _names(path: Path) -> list[str]:
    return os.listdir(path)  # noqa: PTH208 - pathlib takes several times as long


def read_record(path: Path) -> Record:
    """One task's directory; one that cannot be understood says so in ``damaged``."""
    try:
        return _parse(path)
    except (OSError, ValueError, KeyError, TypeError, ProtocolError) as error:
        return Record(damaged=f"the node's record of it in {path} cannot be read: {error}")


def _parse(path: Path) -> Record:
    there = frozenset(_names(path))
    documents = {
        name: durable.read(str(path), name) if name in there else None
        for name in (*_NAMES, *logues.FILES)
    }
    plan, end = documents["wanted.json"], documents["exit"]
    if plan is None:
        raise ValueError("wanted.json is missing")
    restore = plan.get("restore") or {}
    return Record(
        wanted=WantedTask.parse(plan["wanted"]),
        started=_started(documents["started"]),
        exit=_exit(end),
        stopped=bool(end and end.get("stopped")),
        exited=(end or {}).get("boottime"),
        refused=_refused(documents["started"], documents["refused"]),
        refused_for=str((documents["refused"] or documents["started"] or {}).get("cause", "")),
        kill=_kill(documents["kill"]),
        disowned=documents["disowned"] is not None,
        restoring="restore" in plan and documents["restored"] is None,
        spent=float(restore.get("usage", {}).get("elapsed", 0.0)),
        ends=_ends(path) if plan["wanted"].get("ranks") else {},
        signalled=Signalled.parse(documents["signals"]),
        note=str(restore.get("note", "")),
        logues=logues.Logues.parse(documents),
    )


def _ends(path: Path) -> dict[int, Exit]:
    """How the ranks ended that are over."""
    found = {}
    for each in path.glob(f"{END}[0-9]*"):
        end = _exit(durable.read(str(path), each.name))
        if end is not None:
            found[int(each.name.removeprefix(END))] = end
    return found


def _started(document: dict[str, Any] | None) -> Started | None:
    if document is None or "refused" in document:
        return None
    return Started(document["boot_id"], document["time"], document.get("boottime"))


def _refused(started: dict[str, Any] | None, refused: dict[str, Any] | None) -> str | None:
    if refused is not None:
        return str(refused["message"])
    if started is not None and "refused" in started:
        return str(started["refused"])
    return None


def _exit(document: dict[str, Any] | None) -> Exit | None:
    if document is None:
        return None
    return Exit(**{name: value for name, value in document.items() if name in _EXIT_FIELDS})


def _kill(document: dict[str, Any] | None) -> Kill | None:
    if document is None:
        return None
    cause = str(document.get("cause", ""))
    return Kill(document["boot_id"], document["deadline"], document["killed_at"], cause)

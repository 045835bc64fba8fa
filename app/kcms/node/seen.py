"""A job as it was seen: its processes and what is around them, for the judgement."""

from __future__ import annotations

from dataclasses import dataclass, field

from kcms.node import sockets
from kcms.node.mounts import Where
from kcms.node.procfs import OpenFile, Proc

TIME_SPACES = ("time", "time_for_children")


@dataclass(frozen=True)
class Snapshot:
    """A job as it was seen.  ``init`` is the pid of its PID 1, ``namespaces`` that one's.

    ``outside`` has the processes outside the job that hold an end of its pipes and fifos.  ``ipc``
    are the System V objects that are, or may be, the job's, each as a sentence's beginning.
    """

    processes: tuple[Proc, ...]
    where: Where
    init: int = 0
    namespaces: dict[str, str] = field(default_factory=dict)
    inet: dict[int, sockets.Inet] = field(default_factory=dict)
    unix: dict[int, sockets.Unix] = field(default_factory=dict)
    outside: dict[str, tuple[int, str]] = field(default_factory=dict)
    ipc: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """The snapshot with whose it is, and what is looked up often."""

    snapshot: Snapshot
    uid: int
    gid: int
    pids: frozenset[int]
    sockets: frozenset[int]
    terminals: frozenset[int]
    spaces: dict[str, str]

    @classmethod
    def of(cls, snapshot: Snapshot, uid: int, gid: int) -> Job:
        files = [file for each in snapshot.processes for file in each.files]
        inodes = (inode(file.target) for file in files if file.target.startswith("socket:"))
        pids = frozenset(each.pid for each in snapshot.processes)
        return cls(
            snapshot, uid, gid, pids, frozenset(inodes), terminals(snapshot), spaces(snapshot)
        )  # fmt: skip

    @property
    def where(self) -> Where:
        return self.snapshot.where


def spaces(snapshot: Snapshot) -> dict[str, str]:
    """The namespaces that processes of the job are to have: its init's.

    A job that has moved before has a time namespace of its own, which carries its clocks on.
    """
    first = root(snapshot)
    own = next((each.namespaces for each in snapshot.processes if each.pid == first), {})
    clocks = {name: link for name, link in own.items() if name in TIME_SPACES}
    return {**snapshot.namespaces, **clocks}


def root(snapshot: Snapshot) -> int:
    """The pid of the job's first process: of those that hang on its init, the oldest.

    Equal births (10 ms are one) are told apart by the pid in the namespace, which the kernel gives
    in rising order; the first process of a task is made before anything of the user's runs.
    """
    tops = [each for each in snapshot.processes if each.parent == snapshot.init]
    return min(tops, key=lambda each: (each.birth, each.inside)).pid if tops else 0


def terminals(snapshot: Snapshot) -> frozenset[int]:
    """The numbers of the pseudo-terminals whose masters the job has."""
    files = (file for each in snapshot.processes for file in each.files)
    return frozenset(number for file in files if (number := master(file)) is not None)


def inode(target: str) -> int:
    digits = target[target.find("[") + 1 : -1]
    return int(digits) if digits.isdigit() else 0


def master(file: OpenFile) -> int | None:
    """The number of the pseudo-terminal that the file is the master of."""
    for each in file.notes:
        if each.startswith("tty-index:"):
            return int(each.split()[1])
    return None

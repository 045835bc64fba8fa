"""Whether a job on this node can be moved, and what its new node must have.

:func:`scan` looks at every process of the job, as root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH,
while the job runs or is frozen.  A running job may change after it, so that the frozen one is to be
looked at again before it is dumped.

What ``data`` of a job that can move holds:

    root          pid of the first process, in the namespace of the job
    processes     how many there are
    memory_kib    memory that the image carries, roughly
    files         rows of path, size, sha256: local files the target must have the same
    directories   local directories that the target must have
    groups        supplementary groups of its processes
    terminals     numbers of its pseudo-terminals
    place         directory on the shared directory where the owner can put the image
    processor     its architecture and instruction sets, which the target must have
    cwd           directories on shared ones where its processes stand
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kcms.node import cgroup, manifest, processor, procfs, procstat, refusals, room, sockets
from kcms.node.mounts import Where, parse_mountinfo
from kcms.node.owner import Ids, OwnerError, ask
from kcms.node.procfs import Budget, OpenFile, Proc, Stat, TooMuchError
from kcms.node.seen import Snapshot, root, terminals

SECONDS = 60.0
"""In which the processes must have been looked at."""

LOOKS = 2

DATA_LIMIT = 96 * 1024
"""Bytes of ``data`` as JSON; a node tells 120 KiB of all its moves together."""

ROOM = 1.1
ROOM_KIB = 64 * 1024
"""The image's room: memory times ROOM, and ROOM_KIB for its tables."""


class NoMoveError(Exception):
    """The sentence that refuses."""


@dataclass(frozen=True)
class Scan:
    ok: bool
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is asked: ``cgroup`` is the directory of the job's processes, ``image_directory`` a
    local one, where this node writes the image."""

    cgroup: str
    spec: dict[str, Any]
    shared_directories: Sequence[str]
    ids: Ids
    home: str
    image_directory: str


def scan(
    task_cgroup: str,
    spec: dict[str, Any],
    shared_directories: Sequence[str],
    ids: Ids,
    home: str,
    image_directory: str,
    digests: manifest.Digests | None = None,
) -> Scan:
    """Look at the job in ``task_cgroup``; a few milliseconds, and reading its libraries once."""
    question = Question(task_cgroup, spec, shared_directories, ids, home, image_directory)
    try:
        return Scan(True, "", _scan(question, digests or manifest.Digests()))
    except (NoMoveError, OwnerError, TooMuchError, manifest.FileError) as error:
        return Scan(False, procfs.plain(str(error), 1000))
    except (OSError, ValueError, KeyError) as error:
        return Scan(False, f"the job's processes cannot be looked at: {error!s:.500}")


def _scan(question: Question, digests: manifest.Digests) -> dict[str, Any]:
    if question.ids.uid == 0:
        raise NoMoveError("a job of root cannot be moved")
    if not question.shared_directories:
        raise NoMoveError("this node has no shared directory (setting shared_directories)")
    place, shared = find_place(question)
    snapshot = _good_snapshot(question, shared)
    memory = sum(each.memory_kib for each in snapshot.processes)
    check_room(memory, place["real"], place["free"])
    check_room(memory, question.image_directory, room.free_kib(question.image_directory))
    data = _data(snapshot, memory, place["real"], digests)
    if len(json.dumps(data)) > DATA_LIMIT:
        raise NoMoveError("the job uses too many files of this node alone to compare them all")
    return data


def _good_snapshot(question: Question, shared: Sequence[str]) -> Snapshot:
    """The processes, of which none holds what cannot move.

    A job that runs changes while it is looked at (a process ends before its child is seen), so
    what refuses it must be seen twice.

    :raises NoMoveError: it cannot move
    """
    reason = ""
    for _ in range(LOOKS):
        snapshot = _snapshot(question, shared)
        reason = refusals.first(snapshot, question.ids.uid, question.ids.gid)
        if not reason:
            return snapshot
    raise NoMoveError(reason)


def find_place(question: Question) -> tuple[dict[str, Any], list[str]]:
    """Where the image passes, and the real paths of the shared directories.

    :raises NoMoveError: there is no such place
    """
    base = question.spec.get("base_directory") or question.home
    places = list(dict.fromkeys([question.home, base]))
    told = ask(question.ids, {"shared": list(question.shared_directories), "places": places})
    shared = [each for each in told["shared"] if each != "/"]
    usable = [each for each in told["places"] if each["shared"]]
    for each in usable:
        if not each["problem"]:
            return each, shared
    if usable:
        raise NoMoveError(
            f"the image cannot pass through {usable[0]['path']}, as it {usable[0]['problem']}"
        )
    raise NoMoveError(
        f"neither the home {question.home} nor the base directory {base} lies on a shared "
        f"directory ({', '.join(question.shared_directories)}), where the image could pass"
    )


def needed_kib(memory_kib: int) -> int:
    return int(memory_kib * ROOM) + ROOM_KIB


def check_room(memory_kib: int, directory: str, free_kib: int) -> None:
    """:raises NoMoveError: the image does not fit there"""
    needed = needed_kib(memory_kib)
    if needed > free_kib:
        raise NoMoveError(
            f"the job's memory takes {needed >> 10} MiB as an image, and {directory} has "
            f"{free_kib >> 10} MiB free"
        )


# the snapshot ------------------------------------------------------------------------------------


def _snapshot(question: Question, shared: Sequence[str]) -> Snapshot:
    init = find_init(question.cgroup)
    where = Where(parse_mountinfo(procfs.read(f"{procfs.PROC}/{init}/mountinfo")), shared)
    pids = cgroup.pids(question.cgroup)
    if not pids:
        raise NoMoveError("the job has no process any more")
    if len(pids) > refusals.MOST_PROCESSES:
        raise NoMoveError(
            f"the job has {len(pids)} processes; {refusals.MOST_PROCESSES} is the "
            "most that can move"
        )
    reader = procfs.Reader(where.under_shared_name, Budget(SECONDS))
    found = tuple(each for pid in pids if (each := reader.process(pid)) is not None)
    processes = _asked_of_owner(question.ids, found)
    return Snapshot(
        processes=processes,
        where=where,
        init=init,
        namespaces=procfs.namespaces(init),
        outside=_outside(question.cgroup, processes, reader.budget),
        ipc=ipc_of(frozenset(pids), question.ids.uid),
        **_tables(init, processes),
    )


def find_init(task_cgroup: str) -> int:
    """The pid of the PID 1 of the job's namespace, from the cgroup beside the task's.

    :raises NoMoveError: there is none
    """
    for pid in cgroup.pids(task_cgroup.rpartition("/")[0] + "/init"):
        try:
            status = procfs.status_fields(procfs.read(f"{procfs.PROC}/{pid}/status"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if status["NSpid"][-1] == "1":
            return pid
    raise NoMoveError("the job has no init any more, so it is about to end")


def _asked_of_owner(ids: Ids, processes: Sequence[Proc]) -> tuple[Proc, ...]:
    """The processes with the stat of their files on shared directories."""
    rows = [
        (at, nth, [each.pid, file.number, file.target])
        for at, each in enumerate(processes)
        for nth, file in enumerate(each.files)
        if file.stat is None and file.target.startswith("/")
    ]
    if not rows:
        return tuple(processes)
    told = ask(ids, {"open": [row for _, _, row in rows]})["open"]
    made: list[list[OpenFile | None]] = [list(each.files) for each in processes]
    for (at, nth, _), row in zip(rows, told, strict=True):
        made[at][nth] = with_stat(processes[at].files[nth], row)
    hidden = {at for (at, _, _), row in zip(rows, told, strict=True) if row is None}
    return tuple(
        replace(each, files=tuple(file for file in files if file is not None))
        for at, (each, files) in enumerate(zip(processes, made, strict=True))
        if at not in hidden or _is_there(each)
    )


def _is_there(process: Proc) -> bool:
    """Whether it is alive still; a process that has just ended shows no file any more."""
    try:
        found = procstat.parse_stat(procfs.read(f"{procfs.PROC}/{process.pid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return False
    return found.birth == process.birth and found.state not in "ZX"


def with_stat(file: OpenFile, row: list[int] | None) -> OpenFile | None:
    """The file with what its owner saw; None when it is closed meanwhile."""
    if row is None:
        return file
    return replace(file, stat=Stat._make([*row[:6], bool(row[6])])) if row else None


def _tables(init: int, processes: Sequence[Proc]) -> dict[str, Any]:
    """The tables of sockets; nothing is read for a job that has none."""
    if not any(file.target.startswith("socket:") for each in processes for file in each.files):
        return {}
    return {
        "inet": sockets.inet_table(f"{procfs.PROC}/{init}/net"),
        "unix": sockets.unix_table(),
    }


def _outside(
    task_cgroup: str, processes: Sequence[Proc], budget: Budget
) -> dict[str, tuple[int, str]]:
    links = frozenset(
        file.target
        for each in processes
        for file in each.files
        if file.target.startswith("pipe:") or (file.stat and procfs.is_fifo(file.stat))
    )
    if not links:
        return {}

    def inside(pid: int) -> bool:
        return (cgroup.ROOT + cgroup.of_process(pid) + "/").startswith(task_cgroup + "/")

    return procfs.holders(links, inside, budget)


def ipc_of(pids: frozenset[int], uid: int, directory: str = "/proc/sysvipc") -> tuple[str, ...]:
    """The System V objects that are, or may be, the job's.

    Attached shared memory shows in the maps.  Of semaphores the kernel tells the user only.
    """
    tables: tuple[tuple[str, Callable[[dict[str, str]], bool], str], ...] = (
        ("shm", lambda row: int(row["cpid"]) in pids or int(row["lpid"]) in pids,
         "the job uses System V shared memory (ipcs -m: {shmid})"),
        ("msg", lambda row: int(row["lspid"]) in pids or int(row["lrpid"]) in pids,
         "the job uses a System V message queue (ipcs -q: {msqid})"),
        ("sem", lambda row: uid in (int(row["uid"]), int(row["cuid"])),
         "the job's owner has System V semaphores on this node, which may be the job's "
         "(ipcs -s: {semid}; ipcrm -s removes one that was left behind)"),
    )  # fmt: skip
    return tuple(
        sentence.format(**row)
        for name, is_theirs, sentence in tables
        for row in _rows(f"{directory}/{name}")
        if is_theirs(row)
    )


def _rows(path: str) -> list[dict[str, str]]:
    try:
        lines = procfs.read(path).decode("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []  # a kernel without System V IPC
    names = lines[0].split() if lines else []
    return [dict(zip(names, line.split(), strict=False)) for line in lines[1:]]


# what the target must have -----------------------------------------------------------------------


def _data(
    snapshot: Snapshot, memory_kib: int, place: str, digests: manifest.Digests
) -> dict[str, Any]:
    processes, where = snapshot.processes, snapshot.where
    first = root(snapshot)
    return {
        "root": next((each.inside for each in processes if each.pid == first), 0),
        "processes": len(processes),
        "memory_kib": memory_kib,
        "files": manifest.make(refusals.local_files(snapshot), digests),
        "directories": refusals.local_directories(snapshot),
        "groups": sorted({group for each in processes for group in each.groups}),
        "terminals": sorted(terminals(snapshot)),
        "place": place,
        "processor": processor.instructions(),
        "cwd": sorted({each.cwd for each in processes if where.is_shared(each.cwd)}),
    }

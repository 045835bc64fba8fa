"""What a job's processes hold that cannot move: pure judgement over a :class:`Snapshot`.

The facts were tried with criu 4.1 on Linux 6.18; what is not known to pass is refused, because
the alternative is a job that breaks on its new node.

    passes     regular files, directories and fifos on a shared directory; removed files up to
               1 MiB; system files that the target has too (read only); pipes, Unix socket pairs
               and pseudo-terminals that are wholly the job's; memfd, epoll, eventfd, timerfd,
               signalfd; pidfd of the job's; inotify on the shared directory; netlink; seccomp
    refused    everything else
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kcms.node import sockets
from kcms.node.mounts import Where, is_system
from kcms.node.procfs import DELETED, Mapping, OpenFile, Proc, Stat, plain

MOST_PROCESSES = 4096
GHOST_LIMIT = 1024 * 1024
"""Bytes of a removed file that the image carries (criu's --ghost-limit)."""

DEVICES = {
    "/dev/null": (1, 3), "/dev/zero": (1, 5), "/dev/full": (1, 7), "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
}  # fmt: skip
FIRM_DIRECTORIES = ("/", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - named, not used
"""Directories in which a removed file may have been: every node has them."""

_PASSING = frozenset({"[eventpoll]", "[eventfd]", "[signalfd]", "[timerfd]"})
_KINDS = {
    "[io_uring]": "an io_uring",
    "[perf_event]": "a performance counter (perf)",
    "[userfaultfd]": "a userfaultfd",
    "[fanotify]": "a fanotify watch",
    "bpf-map": "a BPF map",
    "bpf-prog": "a BPF program",
    "bpf_link": "a BPF link",
    "kvm-vm": "a virtual machine (KVM)",
    "kvm-vcpu": "a virtual machine (KVM)",
    "seccomp notify": "a seccomp listener",
    "[landlock-ruleset]": "a Landlock ruleset",
}


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

    @classmethod
    def of(cls, snapshot: Snapshot, uid: int, gid: int) -> Job:
        files = [file for each in snapshot.processes for file in each.files]
        inodes = (_inode(file.target) for file in files if file.target.startswith("socket:"))
        pids = frozenset(each.pid for each in snapshot.processes)
        return cls(snapshot, uid, gid, pids, frozenset(inodes), terminals(snapshot))

    @property
    def where(self) -> Where:
        return self.snapshot.where


def first(snapshot: Snapshot, uid: int, gid: int) -> str:
    """The first reason why the job cannot move, as a sentence; "" when it can."""
    job = Job.of(snapshot, uid, gid)
    return next(_reasons(job), "")


def _reasons(job: Job) -> Iterator[str]:
    if len(job.snapshot.processes) > MOST_PROCESSES:
        count = len(job.snapshot.processes)
        yield f"the job has {count} processes; {MOST_PROCESSES} is the most that can move"
    for process in job.snapshot.processes:
        thing = next(_of_process(job, process), "")
        if thing:
            yield f"{process} {thing}"
    for each in job.snapshot.ipc:
        yield f"{each}; System V shared memory, semaphores and queues cannot move"


def _of_process(job: Job, process: Proc) -> Iterator[str]:
    if process.state == "Z":
        yield "has a first thread that has ended while others run, which cannot move"
        return
    yield from _spaces(job, process)
    yield from _standing(job, process)
    yield from _directories(job, process)
    for file in process.files:
        yield from _file(job, file)
    for each in process.mappings:
        yield from _mapping(job, each)


def _standing(job: Job, process: Proc) -> Iterator[str]:
    """Who it is, and where in the tree."""
    if process.tracer:
        yield f"is traced by process {process.tracer} (a debugger or strace); end that first"
    if set(process.uids) - {job.uid} or set(process.gids) - {job.gid}:
        yield (
            f"runs with other ids than the job's owner, uid {_some(process.uids, job.uid)} gid "
            f"{_some(process.gids, job.gid)} (a setuid program, su or newgrp)"
        )
    if process.capabilities:
        yield "holds capabilities, which are not carried to another node"
    if process.confined:
        yield f"is confined by the security profile {plain(process.confined, 64)}"
    if process.parent not in job.pids and process.parent != job.snapshot.init:
        yield f"has the parent {process.parent}, which is outside the job"
    if process.parent == job.snapshot.init and not _is_root(job, process):
        yield (
            "no longer hangs on the job's first process, as the process that started it has "
            "ended (a double fork); only the first process's tree can move"
        )
    if process.session == 0:
        yield "belongs to a session whose leader is outside the job"


def _some(ids: tuple[int, ...], own: int) -> int:
    return next((each for each in ids if each != own), own)


def _is_root(job: Job, process: Proc) -> bool:
    return process.pid == root(job.snapshot)


def root(snapshot: Snapshot) -> int:
    """The pid of the job's first process: of those that hang on its init, the oldest.

    Equal births (10 ms are one) are told apart by the pid in the namespace, which the kernel gives
    in rising order; the first process of a task is made before anything of the user's runs.
    """
    tops = [each for each in snapshot.processes if each.parent == snapshot.init]
    return min(tops, key=lambda each: (each.birth, each.inside)).pid if tops else 0


_SPACES = {
    "user": "user", "mnt": "mount", "net": "network", "uts": "host name", "ipc": "IPC",
    "cgroup": "cgroup", "pid": "pid", "pid_for_children": "pid", "time": "time",
    "time_for_children": "time",
}  # fmt: skip


def _spaces(job: Job, process: Proc) -> Iterator[str]:
    for name, link in process.namespaces.items():
        if link != job.snapshot.namespaces.get(name):
            yield f"has a {_SPACES[name]} namespace of its own (a container, or unshare)"


def _directories(job: Job, process: Proc) -> Iterator[str]:
    if process.root != "/":
        yield f"has another root directory, {plain(process.root)} (chroot)"
    if process.cwd.endswith(DELETED):
        yield f"stands in a directory that was removed, {plain(process.cwd)}"
    elif not job.where.is_shared(process.cwd) and not _firm(process.cwd):
        yield (
            f"stands in {plain(process.cwd)}, a directory of this node alone; start it in one on "
            "a shared directory"
        )
    if process.exe:
        yield from _used(job, process.exe, "runs")


def _firm(path: str) -> bool:
    return path == "/" or is_system(path)


# open files --------------------------------------------------------------------------------------


def _file(job: Job, file: OpenFile) -> Iterator[str]:
    if file.locks:
        kind = file.locks[0].split()[1:2]
        yield f"holds a lock ({' '.join(kind).lower()}) on {plain(file.target)}"
    rule = _RULES.get(file.target.partition(":")[0])
    if rule is not None:
        yield from rule(job, file)
    elif not file.target.startswith("/"):
        yield f"has {plain(file.target)} open, of a kind that cannot move"
    elif not file.target.startswith("/memfd:"):
        yield from _named(job, file)


def _socket(job: Job, file: OpenFile) -> Iterator[str]:
    inode = _inode(file.target)
    if file.protocol in ("UNIX", "UNIX-STREAM") or inode in job.snapshot.unix:
        yield from _unix_socket(job, job.snapshot.unix.get(inode))
        return
    found = job.snapshot.inet.get(inode)
    if found is None:
        yield from _other_socket(file.protocol)
    elif found.state == sockets.LISTEN:
        yield f"listens on {found.protocol} {found.local}; network sockets cannot move"
    elif found.protocol == "TCP":
        yield f"has a TCP connection, {found.local} to {found.remote}; connections cannot move"
    else:
        yield f"has a {found.protocol} socket at {found.local}; network sockets cannot move"


def _other_socket(protocol: str) -> Iterator[str]:
    if protocol == "NETLINK":
        return
    kind = f"a {plain(protocol, 32)} socket" if protocol else "a socket"
    yield f"has {kind} open; network sockets cannot move"


def _unix_socket(job: Job, found: sockets.Unix | None) -> Iterator[str]:
    if found is None:
        yield "has a Unix socket of which the kernel tells nothing"
    elif found.state == sockets.LISTEN:
        yield f"listens on the Unix socket {plain(found.name) or 'without a name'}"
    elif found.name:
        yield f"has the Unix socket {plain(found.name)}, which others can reach"
    elif found.peer and found.peer not in job.sockets:
        other = job.snapshot.unix.get(found.peer)
        whose = plain(other.name) if other and other.name else "a process"
        yield f"is connected to {whose} outside the job by a Unix socket"


def _pipe(job: Job, file: OpenFile) -> Iterator[str]:
    holder = job.snapshot.outside.get(file.target)
    if holder is not None:
        yield _outsider("a pipe", holder)


def _outsider(what: str, holder: tuple[int, str]) -> str:
    return f"has {what} to process {holder[0]} ({plain(holder[1], 32)}), which is outside the job"


def _anonymous(job: Job, file: OpenFile) -> Iterator[str]:
    kind = file.target.removeprefix("anon_inode:")
    if kind in ("inotify", "[inotify]"):
        yield from _inotify(job, file)
    elif kind == "[pidfd]":
        yield from _pidfd(job, file)
    elif kind not in _PASSING:
        yield f"has {_KINDS.get(kind, plain(kind))} open, which cannot move"


def _inotify(job: Job, file: OpenFile) -> Iterator[str]:
    shared = job.where.shared_devices()
    for each in file.notes:
        device = _SDEV.search(each)
        if device and int(device.group(1), 16) not in shared:
            yield "watches a directory or file of this node alone (inotify)"
            return


_SDEV = re.compile(r"\bsdev:([0-9a-f]+)")


def _pidfd(job: Job, file: OpenFile) -> Iterator[str]:
    of = next((each.split()[1] for each in file.notes if each.startswith("Pid:")), "?")
    if not of.isdigit() or int(of) not in job.pids:
        yield "has a descriptor (pidfd) of a process that has ended or is outside the job"


def _namespace_handle(_: Job, file: OpenFile) -> Iterator[str]:
    yield f"has the namespace {plain(file.target)} open, which cannot move"


_RULES: dict[str, Callable[[Job, OpenFile], Iterator[str]]] = {
    "socket": _socket,
    "pipe": _pipe,
    "anon_inode": _anonymous,
    "pidfd": _pidfd,
    **dict.fromkeys(_SPACES, _namespace_handle),
}


def _inode(target: str) -> int:
    digits = target[target.find("[") + 1 : -1]
    return int(digits) if digits.isdigit() else 0


def _master(file: OpenFile) -> int | None:
    """The number of the pseudo-terminal that the file is the master of."""
    for each in file.notes:
        if each.startswith("tty-index:"):
            return int(each.split()[1])
    return None


def terminals(snapshot: Snapshot) -> frozenset[int]:
    """The numbers of the pseudo-terminals whose masters the job has."""
    files = (file for each in snapshot.processes for file in each.files)
    return frozenset(number for file in files if (number := _master(file)) is not None)


_TERMINAL = re.compile(r"/dev/pts/([0-9]+)(?: \(deleted\))?")


def _named(job: Job, file: OpenFile) -> Iterator[str]:
    """A file with a path."""
    path = plain(file.target)
    slave = _TERMINAL.fullmatch(file.target)
    if slave is not None:
        if int(slave.group(1)) not in job.terminals:
            yield f"uses the terminal {path}, which belongs to a process outside the job"
    elif _master(file) is not None:
        return
    elif file.stat is None:
        yield f"hides what {path} is, which it has open"
    elif not job.where.known(file.mount):
        yield f"has {path} open, which was handed to it from outside the job"
    elif job.where.is_shared(file.target, file.mount):
        yield from _shared_file(job, file, file.stat)
    else:
        yield from _local_file(file, file.stat)


def _shared_file(job: Job, file: OpenFile, found: Stat) -> Iterator[str]:
    path = plain(file.target)
    if stat.S_ISFIFO(found.mode):
        holder = job.snapshot.outside.get(file.target)
        if holder is not None:
            yield _outsider(f"the fifo {path}", holder)
    elif not stat.S_ISREG(found.mode) and not stat.S_ISDIR(found.mode):
        yield f"has {path} open, which is neither a file nor a directory nor a fifo"
    if _removed(file.target, found):
        yield from _removed_file(file.target, found)
    elif file.target.rpartition("/")[2].startswith(".nfs"):
        yield f"has {path} open, a file that was removed, and whose copy stays with this node"
    elif not found.here:
        yield f"has {path} open, and that path leads to another file now"


def _removed(path: str, found: Stat) -> bool:
    return found.nlink == 0 or (path.endswith(DELETED) and not found.here)


def _removed_file(path: str, found: Stat) -> Iterator[str]:
    if not stat.S_ISREG(found.mode):
        yield f"has {plain(path)} open, which was removed and is no regular file"
    elif found.nlink:
        yield f"has {plain(path)} open, whose name was removed while it has another"
    elif found.size > GHOST_LIMIT:
        yield (
            f"has a removed file of {found.size // 1024} KiB open, {plain(path)}; "
            f"{GHOST_LIMIT // 1024} KiB is the most that moves"
        )


def _local_file(file: OpenFile, found: Stat) -> Iterator[str]:
    path = plain(file.target)
    if file.target in DEVICES:
        if (found.rdev >> 8 & 0xFFF, found.rdev & 0xFF) != DEVICES[file.target]:
            yield f"has {path} open, which is not the device of that name"
    elif stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode):
        yield f"has the device {path} open, which cannot move"
    elif found.nlink == 0:
        yield from _removed_file(file.target, found)
        yield from _removed_from(file.target)
    elif file.writes:
        yield (
            f"has {path} open for writing, a file of this node alone; "
            "keep such files on a shared directory"
        )
    elif not is_system(file.target) and file.target != "/":
        yield f"has {path} open, which lies on this node alone; put it on a shared directory"
    elif not stat.S_ISREG(found.mode) and not stat.S_ISDIR(found.mode):
        yield f"has {path} open, which is neither a file nor a directory"


def _removed_from(path: str) -> Iterator[str]:
    parent = path.rpartition("/")[0] or "/"
    if parent not in FIRM_DIRECTORIES:
        yield (
            f"has the removed file {plain(path)} open, whose directory another node need not "
            "have; keep such files in /tmp or on a shared directory"
        )


# mapped files ------------------------------------------------------------------------------------

_SHARED_MEMORY = ("/dev/zero" + DELETED,)


def _mapping(job: Job, each: Mapping) -> Iterator[str]:
    path = plain(each.path)
    if each.path in _SHARED_MEMORY or each.path.startswith("/memfd:"):
        return
    if each.path.startswith("/SYSV"):
        yield "has System V shared memory attached, which cannot move"
    elif each.path.startswith("/anon_hugepage"):
        yield "uses huge pages, which cannot move"
    elif each.path.startswith("/[aio]"):
        yield "uses asynchronous input and output (libaio), which cannot move"
    elif not each.path.startswith("/"):
        yield f"has {path} mapped, of a kind that cannot move"
    elif each.path.endswith(DELETED) and not (each.stat and each.stat.nlink):
        yield from _removed_mapping(job, each)
    elif not job.where.is_shared(each.path) and each.shares_writes:
        yield f"shares memory through {path}, a file of this node alone"
    else:
        yield from _used(job, each.path, "has mapped")


def _removed_mapping(job: Job, each: Mapping) -> Iterator[str]:
    path = plain(each.path)
    if each.stat is None:
        kind = "on a shared directory " if job.where.under_shared_name(each.path) else ""
        yield f"has mapped {path}, a file {kind}that was replaced or removed since"
    elif each.stat.size > GHOST_LIMIT:
        yield f"has mapped {path}, which was replaced or removed since; start the job anew"
    else:
        yield from _removed_from(each.path)


def _used(job: Job, path: str, verb: str) -> Iterator[str]:
    """A program or library: it must be the same file on every node."""
    if path.endswith(DELETED):
        yield f"{verb} {plain(path)}, which was replaced or removed since"
    elif not job.where.is_shared(path) and not is_system(path):
        yield f"{verb} {plain(path)}, which lies on this node alone; put it on a shared directory"


def local_files(snapshot: Snapshot) -> list[str]:
    """Every file of this node alone that the job reads or runs, of one that may move."""
    found = set()
    for process in snapshot.processes:
        found.add(process.exe)
        found.update(each.path for each in process.mappings)
        found.update(
            file.target
            for file in process.files
            if file.stat is not None and stat.S_ISREG(file.stat.mode) and file.stat.nlink
        )
    where = snapshot.where
    return sorted(each for each in found if is_system(each) and not where.is_shared(each))


def local_directories(snapshot: Snapshot) -> list[str]:
    """Every directory of this node alone that the job stands in or has open."""
    found = {each.cwd for each in snapshot.processes}
    for process in snapshot.processes:
        found.update(
            file.target
            for file in process.files
            if file.stat is not None and stat.S_ISDIR(file.stat.mode)
        )
    where = snapshot.where
    return sorted(each for each in found if is_system(each) and not where.is_shared(each))

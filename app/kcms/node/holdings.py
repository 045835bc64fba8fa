"""What one open or mapped file of a job does to a move; see :mod:`kcms.node.refusals`.

Each rule gives the ends of sentences that begin with the process.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator

from kcms.node import sockets
from kcms.node.mounts import is_system
from kcms.node.procfs import DELETED, Mapping, OpenFile, Stat, plain
from kcms.node.seen import Job, inode, master

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

SPACES = {
    "user": "user", "mnt": "mount", "net": "network", "uts": "host name", "ipc": "IPC",
    "cgroup": "cgroup", "pid": "pid", "pid_for_children": "pid", "time": "time",
    "time_for_children": "time",
}  # fmt: skip


def of_file(job: Job, file: OpenFile) -> Iterator[str]:
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
    number = inode(file.target)
    if file.protocol in ("UNIX", "UNIX-STREAM") or number in job.snapshot.unix:
        yield from _unix_socket(job, job.snapshot.unix.get(number))
        return
    found = job.snapshot.inet.get(number)
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
    **dict.fromkeys(SPACES, _namespace_handle),
}


_TERMINAL = re.compile(r"/dev/pts/([0-9]+)(?: \(deleted\))?")


def _named(job: Job, file: OpenFile) -> Iterator[str]:
    """A file with a path."""
    path = plain(file.target)
    slave = _TERMINAL.fullmatch(file.target)
    if slave is not None:
        if int(slave.group(1)) not in job.terminals:
            yield f"uses the terminal {path}, which belongs to a process outside the job"
    elif master(file) is not None:
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


def of_mapping(job: Job, each: Mapping) -> Iterator[str]:
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
        yield from of_program(job, each.path, "has mapped")


def _removed_mapping(job: Job, each: Mapping) -> Iterator[str]:
    path = plain(each.path)
    if each.stat is None:
        kind = "on a shared directory " if job.where.under_shared_name(each.path) else ""
        yield f"has mapped {path}, a file {kind}that was replaced or removed since"
    elif each.stat.size > GHOST_LIMIT:
        yield f"has mapped {path}, which was replaced or removed since; start the job anew"
    else:
        yield from _removed_from(each.path)


def of_program(job: Job, path: str, verb: str) -> Iterator[str]:
    """A program or library: it must be the same file on every node."""
    if path.endswith(DELETED):
        yield f"{verb} {plain(path)}, which was replaced or removed since"
    elif not job.where.is_shared(path) and not is_system(path):
        yield f"{verb} {plain(path)}, which lies on this node alone; put it on a shared directory"

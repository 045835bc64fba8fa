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

import stat
from collections.abc import Iterator

from kcms.node.holdings import SPACES, of_file, of_mapping, of_program
from kcms.node.mounts import is_system
from kcms.node.procfs import DELETED, Mapping, Proc, plain
from kcms.node.seen import Job, Snapshot, root

MOST_PROCESSES = 4096


def first(snapshot: Snapshot, uid: int, gid: int) -> str:
    """The first reason why the job cannot move, as a sentence; "" when it can."""
    job = Job.of(snapshot, uid, gid)
    return next(_reasons(job), "")


def _reasons(job: Job) -> Iterator[str]:
    if len(job.snapshot.processes) > MOST_PROCESSES:
        count = len(job.snapshot.processes)
        yield f"the job has {count} processes; {MOST_PROCESSES} is the most that can move"
    passed: set[Mapping] = set()
    for process in job.snapshot.processes:
        thing = next(_of_process(job, process, passed), "")
        if thing:
            yield f"{process} {thing}"
    for each in job.snapshot.ipc:
        yield f"{each}; System V shared memory, semaphores and queues cannot move"


def _of_process(job: Job, process: Proc, passed: set[Mapping]) -> Iterator[str]:
    """``passed``: mappings that were judged before, as many processes map the same libraries."""
    if process.state == "Z":
        yield "has a first thread that has ended while others run, which cannot move"
        return
    yield from _spaces(job, process)
    yield from _standing(job, process)
    yield from _directories(job, process)
    for file in process.files:
        yield from of_file(job, file)
    for each in process.mappings:
        alike = Mapping(each.path, each.permissions, "", each.stat)
        if alike not in passed:
            yield from of_mapping(job, each)
            passed.add(alike)


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


def _spaces(job: Job, process: Proc) -> Iterator[str]:
    for name, link in process.namespaces.items():
        if link != job.spaces.get(name):
            yield f"has a {SPACES[name]} namespace of its own (a container, or unshare)"


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
        yield from of_program(job, process.exe, "runs")


def _firm(path: str) -> bool:
    return path == "/" or is_system(path)


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

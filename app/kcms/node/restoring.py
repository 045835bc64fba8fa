"""The restore of a moved job, in PID 1 of its new task: from a verified image to a frozen tree.

Loaded by a task's PID 1 when its plan has ``restore``: ``directory`` (the image, root's),
``criu``, ``root`` (the pid of the first process), ``processes`` and ``pids`` (every process, and
every number that is taken, as seen inside), and ``shared`` (the shared directories).  The tree ends
in cgroup ``task``, frozen, before one instruction of it ran, as a child of ours.  Only the node
daemon thaws it.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH118, PTH120, PTH123

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, NoReturn

from kcms.node import cgroup, criu, nolinks
from kcms.node.laps import Laps

LAST_PID = "/proc/sys/kernel/ns_last_pid"
MOST_PID = "/proc/sys/kernel/pid_max"
ROOM = 128
"""Numbers in a row that criu and its helpers may take."""

LOWEST = 300
"""Where the kernel goes on after its last number."""

FREEZE_SECONDS = 10.0
LOG_SHOWN = 16384


class RestoreError(Exception):
    """One sentence that says why the tree could not be restored."""


def restore(plan: dict[str, Any], task_cgroup: str) -> int:
    """The root process of the restored tree, which is frozen.

    :raises RestoreError: it could not be; whatever was made of it is in the cgroup, and frozen or
        about to be killed by the caller
    """
    laps = Laps("restore")
    try:
        root = _restore(plan["restore"], task_cgroup, laps)
        _verify_owner(plan, task_cgroup)
        _verify_files(plan, task_cgroup)
        laps.lap("verify")
        laps.tell()
        return root
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RestoreError(f"cannot restore: {error}") from error


def _restore(plan: dict[str, Any], task_cgroup: str, laps: Laps) -> int:
    _run(criu.check(plan["criu"]), None, quiet=True)
    laps.lap("check")
    _skip(free_pid(plan["pids"], _number(MOST_PID)))
    record = os.path.dirname(plan["directory"])  # files in memory may be closed to execution
    command = criu.restore(plan["criu"], plan["directory"], _action(record))
    nolinks.forbid(plan["shared"])
    status = _run(command, task_cgroup)
    nolinks.allow(plan["shared"])
    laps.lap("criu")
    if status != 0:
        log = os.path.join(plan["directory"], criu.RESTORE_LOG)
        sys.stderr.write(criu.tail(log, LOG_SHOWN))  # the journal, which is root's
        why = criu.reason(log) or f"it ended with status {status}"
        raise RestoreError(f"criu cannot restore the job here: {why}")
    _verify(plan, task_cgroup)
    return int(plan["root"])


def _action(directory: str) -> str:
    """The action script, where it may be executed: criu takes no interpreter, and the files of a
    release are not executable."""
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "hold.sh"), "rb") as file:
        script = file.read()
    path = os.path.join(directory, "hold.sh")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700)
    with open(descriptor, "wb") as file:
        file.write(script)
    return path


def free_pid(taken: list[int], most: int) -> int:
    """A number below which nothing matters, and after which ROOM numbers are not ``taken``.

    :raises RestoreError: there is none
    """
    known = sorted({LOWEST, *taken, most})
    rising = [max(known[:-1]), *known[:-1]]  # after the highest, else the first gap
    for number in rising:
        after = next((each for each in known if each > number), most)
        if after - number > ROOM:
            return number
    raise RestoreError("the job's processes leave no room for others among the process numbers")


def _number(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _skip(number: int) -> None:
    with open(LAST_PID, "w", encoding="ascii") as file:
        file.write(str(number))


def _run(command: list[str], task_cgroup: str | None, quiet: bool = False) -> int:
    """Run a program to its end; its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        _become(command, task_cgroup, quiet)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _become(command: list[str], task_cgroup: str | None, quiet: bool) -> NoReturn:
    try:
        if task_cgroup is not None:
            cgroup.enter(task_cgroup)
        os.umask(0o077)
        if quiet:
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        if task_cgroup is not None:
            variables["KCMS_UNIT"] = os.path.dirname(task_cgroup)
        os.execve(command[0], command, variables)  # noqa: S606
    finally:
        os._exit(127)


def _verify(plan: dict[str, Any], task_cgroup: str) -> None:
    """Whether everybody is there, frozen, and the root is a child of ours."""
    if not cgroup.await_frozen(task_cgroup, FREEZE_SECONDS, time.monotonic):
        raise RestoreError("the restored processes did not stay frozen")
    found, wanted = sorted(cgroup.pids(task_cgroup)), sorted(plan["processes"])
    if found != wanted:
        raise RestoreError(f"{len(found)} processes were restored instead of {len(wanted)}")
    with open(f"/proc/{plan['root']}/stat", encoding="ascii", errors="replace") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    if parent != os.getpid():
        raise RestoreError("the restored tree has another parent than the task's init")


def _verify_owner(plan: dict[str, Any], task_cgroup: str) -> None:
    """Whether every thread is the owner's and nobody else's, whatever the image says of it: part of
    what criu records is told by memory that other processes of the owner may write."""
    ids = plan["wanted"]["uid"], plan["wanted"]["gid"]
    for pid in cgroup.pids(task_cgroup):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/status", errors="replace") as file:
                if not is_owner(file.read(), *ids, plan["account"]["groups"]):
                    raise RestoreError(
                        "the image gives the job rights that its owner does not have"
                    )


def _verify_files(plan: dict[str, Any], task_cgroup: str) -> None:
    """Whether criu, as root, opened nothing that the owner could not."""
    from kcms.node import child, opened, owner

    wanted = plan["wanted"]
    ids = owner.Ids(wanted["uid"], wanted["gid"], tuple(plan["account"]["groups"]))
    try:
        path = opened.forbidden(cgroup.pids(task_cgroup), ids)
    except child.ChildError as error:
        raise RestoreError(str(error)) from error
    if path:
        shown = "".join(each if each.isprintable() else "?" for each in path)[:300]
        raise RestoreError(f"the job has {shown} open, which its owner cannot open here now")


def is_owner(status: str, uid: int, gid: int, groups: list[int]) -> bool:
    """Whether a status of /proc is of somebody with these ids, among these groups, and without
    capabilities."""
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return (
        {int(each) for each in rows["Uid"].split()} == {uid}
        and {int(each) for each in rows["Gid"].split()} == {gid}
        and {int(each) for each in rows["Groups"].split()} <= {gid, *groups}
        and not any(int(rows[each], 16) for each in ("CapPrm", "CapEff", "CapAmb"))
    )

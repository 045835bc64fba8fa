"""The site's prologue and epilogue of a task: run as root on the host, each in a time box.

Run as ``python3 -I -S -E logue.py prologue|epilogue DIRECTORY BOOT_ID`` by task_start.sh, outside
the task's namespaces, so that the site's programs see the host, and the task what they mounted.
The shell holds the task's lock, so that no two run at once.  Exit status 0: the program may begin;
1: it must not; 75: nothing was decided, try again.

Beside the task's record (records.py) these files are kept, so that whoever is killed when, the
program never begins without its prologue and no failure is lost:

========  ====================================================================================
logue     the plan: ``prologue`` and ``epilogue`` (paths, or empty), ``seconds`` of each box
prologue  ``boot_id`` and ``time`` when it began, ``ended`` once it came about
epilogue  the same, with ``until``, the boot time at which its box ends
unfit     ``message``: why this node is to get nothing new
========  ====================================================================================

One that a kill of this process cut off counts as failed; one that the end of the host cut off is
done again after the boot.  SIGWINCH, the unit's KillSignal, ends the box early and decides nothing.
"""

# pathlib would cost every task time and memory.
# ruff: noqa: PTH102, PTH112, PTH118, PTH120

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

from kcms.node import cgroup, durable

GO_ON, FORBIDDEN, TEMPORARY_FAILURE = 0, 1, 75
CAUSE = "prologue"  # as in kcms.jobs.model, which would cost every task time and memory
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_SIGNAL = signal.SIGWINCH
STOP_GRACE = 5.0
EMPTY_TIMEOUT = 10.0
_SIGNALS = frozenset({signal.SIGCHLD, STOP_SIGNAL})


class StoppedError(Exception):
    """The unit is being stopped, so that nothing follows from how the program ended."""


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main(which: str, directory: str, boot: str) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        logue = durable.read(directory, "logue")
        plan = durable.read(directory, "wanted.json")
        if logue is None or plan is None:
            return FORBIDDEN  # forgotten before systemd came to starting it
        task = Logues(directory, boot, logue, plan)
        return task.prologue() if which == "prologue" else task.epilogue()
    except StoppedError:
        return TEMPORARY_FAILURE
    except (OSError, ValueError, KeyError) as error:
        _complain(f"cannot run the {which} of {directory}: {error}")
        return TEMPORARY_FAILURE


def _complain(text: str) -> None:
    """To the node's journal, under kcms-task."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Logues:
    """Prologue and epilogue of one task.  ``run`` runs a program and says how it failed."""

    def __init__(
        self,
        directory: str,
        boot: str,
        logue: dict[str, Any],
        plan: dict[str, Any],
        run: Callable[[str, float, dict[str, str]], str] | None = None,
    ) -> None:
        self.directory = directory
        self.boot = boot
        self.logue = logue
        self.plan = plan
        self._run = run or run_boxed

    def prologue(self) -> int:
        """:raises OSError: nothing was begun; :raises StoppedError: the unit is being stopped"""
        before = self._begun("prologue")
        if before is not None and "ended" in before:
            return GO_ON
        if before is not None:
            return self._forbid("was cut off")
        if durable.read(self.directory, "started") is not None:
            return FORBIDDEN  # refused, or begun, before this
        durable.replace(self.directory, "prologue", self._mark())
        failure = self._program("prologue", {})
        if failure:
            return self._forbid(failure)
        self._persist(durable.replace, "prologue", {**self._mark(), "ended": time.time()})
        return GO_ON

    def epilogue(self) -> int:
        """Once, of what began in this boot.  :raises StoppedError: the unit is being stopped"""
        if self._begun("prologue") is None or self._begun("epilogue") is not None:
            return GO_ON
        mark = {**self._mark(), "until": boottime() + self.logue["seconds"]}
        self._persist(durable.replace, "epilogue", mark)
        failure = self._program("epilogue", ending(self.directory))
        if failure:
            self._note_unfit("epilogue", failure)
        self._persist(durable.replace, "epilogue", {**mark, "ended": time.time()})
        return GO_ON

    def _begun(self, which: str) -> dict[str, Any] | None:
        found = durable.read(self.directory, which)
        return found if found is not None and found["boot_id"] == self.boot else None

    def _mark(self) -> dict[str, Any]:
        return {"boot_id": self.boot, "time": time.time()}

    def _program(self, which: str, more: dict[str, str]) -> str:
        path = self.logue[which]
        if not path:
            return ""
        return self._run(path, self.logue["seconds"], {**environment(self.plan, which), **more})

    def _forbid(self, failure: str) -> int:
        """See to it that the program never begins, unless somebody decided that already."""
        message = self._note_unfit("prologue", failure)
        refusal = {"refused": message, "cause": CAUSE, "time": time.time()}
        self._persist(durable.create, "started", refusal)
        return FORBIDDEN

    def _note_unfit(self, which: str, failure: str) -> str:
        message = f"{which} of job {self.plan['wanted']['job']} {failure}"
        _complain(message)
        self._persist(durable.create, "unfit", {"message": message})
        return message

    def _persist(
        self, write: Callable[[str, str, object], None], name: str, document: dict[str, Any]
    ) -> None:
        """Write what must not be lost, however long the disk refuses it."""
        complained = False
        while True:
            try:
                write(self.directory, name, document)
                return
            except FileExistsError:
                return
            except OSError as error:
                if not complained:
                    _complain(f"cannot write {name} of {self.directory}: {error}")
                complained = True
                time.sleep(1.0)


def environment(plan: dict[str, Any], which: str) -> dict[str, str]:
    """Of the site's program; what a user chose in it is KCMS_BASE_DIRECTORY alone."""
    wanted, account = plan["wanted"], plan["account"]
    name = f"{wanted['job']}.{wanted['task']}.{wanted['epoch']}"
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "KCMS_LOGUE": which,
        "KCMS_JOB_ID": str(wanted["job"]),
        "KCMS_TASK_INDEX": str(wanted["task"]),
        "KCMS_TASK": f"{name}-{wanted['store']}" if wanted["store"] else name,
        "KCMS_USER": wanted["user"],
        "KCMS_UID": str(wanted["uid"]),
        "KCMS_GID": str(wanted["gid"]),
        "KCMS_HOME": account["home"],
        "KCMS_BASE_DIRECTORY": wanted["spec"]["base_directory"] or account["home"],
        "KCMS_CLUSTER": plan["cluster"],
        "KCMS_NODE": plan["node"],
    }


def ending(directory: str) -> dict[str, str]:
    """What an epilogue is told of the task's end, as far as this node knows it."""
    end = durable.read(directory, "exit")
    told = {"KCMS_STATE": _state(directory, end), "KCMS_EXIT_CODE": "", "KCMS_EXIT_SIGNAL": ""}
    for name, member in (("KCMS_EXIT_CODE", "code"), ("KCMS_EXIT_SIGNAL", "signal")):
        if end is not None and end[member] is not None:
            told[name] = str(end[member])
    return told


def _state(directory: str, end: dict[str, Any] | None) -> str:
    """A word of kcms.jobs.states."""
    started = durable.read(directory, "started") or {}
    kill = durable.read(directory, "kill")
    if started.get("cause") == CAUSE:
        return "PENDING"
    if "refused" in started:
        return "CANCELLED"  # by the daemon, after a kill
    if end is None:
        return "NODE_FAIL" if durable.read(directory, "refused") is None else "FAILED"
    if end.get("stopped"):
        return "NODE_FAIL"
    if kill is not None:
        return "TIMEOUT" if kill.get("cause") else "CANCELLED"
    return "COMPLETED" if end["code"] == 0 else "FAILED"


def untrusted(path: str, look: Callable[[str], os.stat_result] = os.lstat) -> str:
    """Why root does not run this file, as the end of a sentence; "" when it may.

    Nobody but root may be able to put another in its place.

    :raises OSError: it cannot be looked at
    """
    above = path
    while above != "/":
        found = look(above)
        if stat.S_ISLNK(found.st_mode):
            return f"was not run: {above} is a symbolic link"
        if found.st_uid != 0 or found.st_mode & 0o022:
            return f"was not run: others than root may write {above}"
        if above == path and not (stat.S_ISREG(found.st_mode) and found.st_mode & 0o100):
            return f"was not run: {path} is no executable file"
        above = os.path.dirname(above)
    return ""


def run_boxed(path: str, seconds: float, variables: dict[str, str]) -> str:
    """Run the program, and end what is left of it with it or when its time is over.

    Returns how it failed, as the end of a sentence.

    :raises StoppedError: the unit is being stopped
    """
    try:
        why = untrusted(path)
        if why:
            return why
        group = os.path.join(os.path.dirname(cgroup.ROOT + cgroup.of_process("self")), "logue")
        if not os.path.isdir(group):
            os.mkdir(group)
        child = _fork(path, variables, group)
    except OSError as error:
        return f"was not run: {error.strerror}: {error.filename or path}"
    status, stopped = _await(child, boottime() + seconds)
    left = _end_all(group)
    if stopped:
        raise StoppedError
    if status is None:
        return f"took longer than {seconds:g} s and was killed"
    if left:
        return "left processes that SIGKILL does not end"
    return _judge(status)


def _judge(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return ""
    said = f"ended by signal {-code}" if code < 0 else f"failed with exit status {code}"
    return f"{said}; the node's journal may say why"


def _fork(path: str, variables: dict[str, str], group: str) -> int:
    child = os.fork()
    if child == 0:
        _become(path, variables, group)
    return child


def _become(path: str, variables: dict[str, str], group: str) -> NoReturn:
    try:
        cgroup.enter(group)
        os.setsid()
        os.chdir("/")
        os.umask(0o022)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(path, [path], variables)  # noqa: S606
    except OSError as error:
        _complain(f"cannot run {path}: {error.strerror}")
    finally:
        os._exit(127)


def _await(child: int, until: float) -> tuple[int | None, bool]:
    """The status of the child, None when its time was over before; whether the unit is stopped."""
    stopped = False
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return status, stopped
        left = until - boottime()
        if left <= 0:
            return None, stopped
        got = signal.sigtimedwait(_SIGNALS, left)
        if got is not None and got.si_signo == STOP_SIGNAL and not stopped:
            stopped, until = True, min(until, boottime() + STOP_GRACE)


def _end_all(group: str) -> bool:
    """SIGKILL to all that is left; whether any of it is after that."""
    give_up = boottime() + EMPTY_TIMEOUT
    while cgroup.populated(group) and boottime() < give_up:
        cgroup.kill(group)
        time.sleep(0.01)
    return cgroup.populated(group)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3]))

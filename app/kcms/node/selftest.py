"""A program of its own: does criu on this kernel dump and restore a process?

``python3 -I -S -E selftest.py CRIU DIRECTORY UID``, run as root, writes ``{"trouble": "…"}`` (empty
when all is well).  It makes namespaces of its own as a task has them, starts a small process of
user UID in them, dumps and restores it, and asks the restored process what it still knows.
Nothing else on the host notices; DIRECTORY takes the image (under 1 MB) and is left for the
caller to remove.  Why not ``criu check``: it is wrong both ways.  In a container, where /proc/sys
is read-only, it says no to what works, and it does not try a restore at all.
"""

# pathlib would cost start-up time.
# ruff: noqa: PTH110, PTH118

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

if __name__ == "__main__":
    sys.path.append(os.path.realpath(__file__).rsplit("/", 3)[0])

from kcms.node import criu, nolinks

SECONDS = 20.0
"""For each of dump, restore and the process's last word."""

SECRET = 37
"""The exit status that only a process with its memory and signal handlers intact gives."""

_PR_SET_PDEATHSIG = 1


class TestFailed(Exception):
    """One sentence that says which step failed, and why."""


def main(path: str, directory: str, uid: int) -> int:
    try:
        if os.getpid() == 1:
            trouble = _inside(path, directory, uid)
        else:
            trouble = _enter(path, directory, uid)
    except TestFailed as error:
        trouble = str(error)
    except (OSError, subprocess.SubprocessError) as error:
        trouble = f"the test of criu could not be made: {error}"
    json.dump({"trouble": trouble}, sys.stdout)
    return 0


def _enter(path: str, directory: str, uid: int) -> str:
    """Start this program again as PID 1 of namespaces such as a task's."""
    command = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    again = [sys.executable, "-I", "-S", "-E", os.path.realpath(__file__)]
    done = subprocess.run(
        [*command, "--propagation", "slave", *again, path, directory, str(uid)],
        capture_output=True,
        check=False,
        timeout=4 * SECONDS,
    )
    try:
        return str(json.loads(done.stdout)["trouble"])
    except (ValueError, KeyError, TypeError):
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise TestFailed(
            f"the test of criu could not be made: {words[-1] if words else 'no answer'}"
        ) from None


def _inside(path: str, directory: str, uid: int) -> str:
    subprocess.run(criu.check(path), capture_output=True, check=False, timeout=SECONDS)
    nolinks.forbid([directory])  # as a restore does with the shared directories
    nolinks.allow([directory])
    child = _start_child(uid)
    _run([path, "dump", "-t", str(child)], directory, "dump", uid)
    _await_end(child, "the process that was dumped is still there")
    _run([path, "restore", "-d"], directory, "restore", 0)
    if not os.path.exists(f"/proc/{child}"):
        raise TestFailed("criu says that it restored a process, and there is none")
    os.kill(child, signal.SIGUSR1)
    status = _await_end(child, "the restored process does not run")
    if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) != SECRET:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status >> 8}"
        raise TestFailed(f"the restored process did not survive: it ended with {how}")
    return ""


def _start_child(uid: int) -> int:
    """A process that is ready to be dumped: a session of its own, another user, and no open file
    but /dev/null.  It is ready when it has closed its end of the pipe, too."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        _be_dumped(uid)
    os.close(done)
    os.read(ready, 1)
    os.close(ready)
    return child


def _be_dumped(uid: int) -> None:
    os.setsid()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.chdir("/")
    before = time.monotonic()

    def end(*_: object) -> None:
        os._exit(SECRET if time.monotonic() >= before else 1)

    signal.signal(signal.SIGUSR1, end)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    while True:
        time.sleep(0.05)  # not pause(): a signal just before it would be waited for in vain


def _run(command: list[str], directory: str, step: str, uid: int) -> None:
    log = f"{step}.log"
    try:
        done = subprocess.run(
            [*command, "--no-default-config", "-D", directory, "-o", log],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SECONDS,
            preexec_fn=_as_of(uid),  # this program has no threads
        )
    except subprocess.TimeoutExpired:
        raise TestFailed(f"criu {step} did not end within {SECONDS:g} s") from None
    if done.returncode != 0:
        reason = criu.reason(os.path.join(directory, log)) or f"exit status {done.returncode}"
        raise TestFailed(f"criu {step} fails on this kernel: {reason}")


def _as_of(uid: int) -> Callable[[], None]:
    """Root with the real ids of user ``uid``, as a move dumps with; see :mod:`kcms.node.criu`."""

    def change() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setresgid(uid, 0, 0)
        os.setresuid(uid, 0, 0)

    return change


def _await_end(child: int, complaint: str) -> int:
    """The child's wait status.  :raises TestFailed: it does not end"""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.005)
    raise TestFailed(complaint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

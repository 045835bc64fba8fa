"""PID 1 of a task's namespaces: starts the program as its user, reaps, records how it ended.

Run as ``python3 -I -S -E begin.py DIRECTORY BOOT_ID`` by task_start.sh, as root, in cgroup ``init``
of the task's unit; the program lives in the sibling cgroup ``task``.  Exit status 0: the task's
record says what became of it, or another init has it.  75: nothing was begun, try again.

SIGWINCH, the unit's KillSignal, means that the unit is being stopped (a shutdown, or by hand).
systemd sends it to every process in no order; only this one heeds it, so that the end of the
program cannot come before the word that it was not the program's own.  Then we send SIGTERM.
Signals are taken with sigwait, because the kernel drops what PID 1 of a namespace does not
handle, unless it is blocked.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH102, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import sys
import time

from kcms.node import cgroup, durable, lease, limits, poke, usage
from kcms.node.begun import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from kcms.node import session
else:
    import _signal as signal  # without enum, which takes 3 ms to load

RELEASE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TEMPORARY_FAILURE = 75
EXIT_SIZE = 4096
STOP_GRACE = 5.0
EMPTY_TIMEOUT = 60.0
STOP_SIGNAL = signal.SIGWINCH
HANGUP, STAGING, CHECKPOINT = "hangup", "staging", "checkpoint"
# as in kcms.jobs.model and kcms.jobs.checkpoint, which would cost every init time and memory
_SIGNALS = frozenset({signal.SIGCHLD, STOP_SIGNAL})


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _complain(text: str) -> None:
    """To the node's journal, under kcms-task."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(directory: str, boot: str) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        plan = durable.read(directory, "wanted.json")
        if plan is None:
            return 0  # forgotten before systemd came to starting it
        reserved = durable.Reserved(directory, EXIT_SIZE)
    except (OSError, ValueError) as error:
        _complain(f"cannot begin the task of {directory}: {error}")
        return TEMPORARY_FAILURE
    return _begin(directory, boot, plan, reserved)


def _begin(directory: str, boot: str, plan: dict[str, Any], reserved: durable.Reserved) -> int:
    """Claim the task; when it is ours, run it to its end and record that."""
    own, io = cgroup.ROOT + cgroup.of_process("self"), usage.io_of("self")
    claim = {
        "boot_id": boot,
        "time": time.time(),
        "boottime": boottime(),
        "cgroup": own,
        "release": RELEASE,
        "can_move": True,  # it never thaws what is frozen
        "io": io,
    }
    try:
        durable.create(directory, "started", claim)
    except FileExistsError:
        reserved.discard()
        return 0
    except OSError as error:
        reserved.discard()
        _complain(f"cannot begin the task of {directory}: {error}")
        return TEMPORARY_FAILURE
    task = _Task(directory, boot, plan, os.path.join(os.path.dirname(own), "task"), io)
    name, document = task.run()
    _commit(reserved, name, document)
    poke.poke(directory)
    return 0


def _commit(reserved: durable.Reserved, name: str, document: dict[str, Any]) -> None:
    """Write the last record, however long the disk refuses it."""
    complained = False
    while True:
        try:
            reserved.commit(name, document)
            return
        except OSError as error:
            if not complained:
                _complain(f"cannot write {name} of {reserved.directory}: {error}")
            complained = True
            time.sleep(1.0)


class _Task:
    """The programs of the unit and everything they start, from fork to the last process."""

    def __init__(
        self,
        directory: str,
        boot: str,
        plan: dict[str, Any],
        task_cgroup: str,
        io_at_first: tuple[int, int] | None,
    ) -> None:
        self.directory = directory
        self.plan = plan
        self.cgroup = task_cgroup
        wanted = plan["wanted"]
        self.ranks = list(wanted.get("ranks") or ())
        where = {each: os.path.join(task_cgroup, str(each)) for each in self.ranks}
        self.programs = [
            Program(plan, each, where.get(each, task_cgroup))
            for each in self.ranks or [wanted["task"]]
        ]
        self.stop_at: float | None = None  # boot time at which a stopped task is killed
        self.stopped = False
        before = plan.get("restore", {}).get("usage", {})
        self.usage = usage.Usage(task_cgroup, before, io_at_first)
        self.lease = lease.Lease(plan, boot)
        self.lease_over = ""
        self.killed = 0  # processes, when the end of a grace or a limit took them
        self.session: session.Session | None = None
        self.hung_up = ""

    def run(self) -> tuple[str, dict[str, Any]]:
        """Returns name and content of the record that tells the end."""
        message = self._restored() if "restore" in self.plan else self._started()
        killed, left = self._end_the_rest()
        document = self._exit_document(killed, left)
        self._tell_attached(message, document)
        if message:
            refused = {"message": message, "time": time.time()}
            if any(each.put_off for each in self.programs):
                refused["cause"] = STAGING
            elif self.plan["wanted"].get("image"):
                refused["cause"] = CHECKPOINT
            return "refused", refused
        return "exit", document

    def _started(self) -> str:
        """Run the programs to their end; why they could not be run."""
        self.lease_over = self.lease.expired(boottime())
        if self.lease_over:  # the site's prologue took long
            for each in self.programs:
                each.status = signal.SIGKILL
            return ""
        if self.plan["wanted"]["spec"].get("interactive"):
            from kcms.node import session

            try:
                self.session = session.Session(self.plan, os.path.basename(self.directory))  # noqa: PTH119
            except session.SessionError as error:
                return str(error)
        try:
            for each in self.programs:
                if self.ranks:
                    os.mkdir(each.cgroup)
                each.start(self.plan, self.session)
        except OSError as error:
            self._give_up(f"cannot begin the program: {error.strerror}")
        self._await_roots()
        return next(filter(None, [each.message for each in self.programs]), "")

    def _give_up(self, why: str) -> None:
        """A program cannot be begun, so those that were are not to run either."""
        for each in self.programs:
            if each.root < 0:
                each.cannot(why)
            else:
                os.kill(each.root, signal.SIGKILL)  # perhaps not in its cgroup yet
        cgroup.kill(self.cgroup)
        if self.session is not None and self.programs[0].root < 0:
            self.session.abandon()

    def _restored(self) -> str:
        """Restore the tree, frozen, and wait for the end of its root; why it could not be."""
        from kcms.node import restoring

        try:
            self.programs[0].root = restoring.restore(self.plan, self.cgroup)
            done = {"time": time.time(), **self.usage.restored()}
            durable.create(self.directory, "restored", done)
            poke.poke(self.directory)
        except (restoring.RestoreError, OSError) as error:
            cgroup.kill(self.cgroup)
            return str(error)
        self._await_roots()
        return ""

    def _await_roots(self) -> None:
        while self._runs():
            self._take_signal(None if self.stop_at is None else self.stop_at - boottime())
            self._look()
            if self.stop_at is not None and boottime() >= self.stop_at:
                self.killed = max(self.killed, len(cgroup.pids(self.cgroup)))
                cgroup.kill(self.cgroup)
            self._reap()
            self._record_ends()
            self._follow_session()

    def _follow_session(self) -> None:
        """When nobody is attached any more, that is the end, with a grace."""
        gone = self.session is not None and self.session.ended is not None
        if self.session is not None and gone and self._runs() and self.stop_at is None:
            self.hung_up = self.session.why()
            self._stop()

    def _runs(self) -> bool:
        return any(each.status is None for each in self.programs)

    def _stop(self) -> None:
        grace = 0.0 if cgroup.is_held(self.cgroup) else STOP_GRACE
        self.stop_at = boottime() + grace
        cgroup.terminate(self.cgroup)

    def _tell_attached(self, message: str, document: dict[str, Any]) -> None:
        """Tell whoever is attached how it ended, behind all the output, before anybody else."""
        if self.session is None:
            return
        from kcms.node import session

        why = message or document["detail"]
        record = self._kill_record()
        if record is not None and not why:
            why = record.get("cause") or "it was killed"
        how = {"code": document["code"], "signal": document["signal"], "why": why}
        self.session.finish({**how, "refused": bool(message)})

        def look() -> bool:
            self._take_signal(0.05)
            self._reap()
            return self.stop_at is not None or self._kill_record() is not None

        session.await_end(self.session, look)

    def _look(self) -> None:
        """Keep to limits and lease, and note how much memory it takes."""
        for each in self.programs:
            each.keep_limits()
        if any(each.limits for each in self.programs):
            running = (each for each in self.programs if each.status is None)
            self.usage.saw(sum(each.limits.seen_kib for each in running))
        else:
            self.usage.look()
        if not self.lease_over:
            self.lease_over = self.lease.expired(boottime())
        if self.lease_over:
            cgroup.kill(self.cgroup)

    def _interval(self) -> float | None:
        """Seconds until there is something to look at; None where there never is."""
        if any(each.limits for each in self.programs):
            return limits.INTERVAL
        pauses = (self.usage.pause(), lease.INTERVAL if self.lease else None)
        return min((each for each in pauses if each is not None), default=None)

    def _take_signal(self, seconds: float | None) -> None:
        """Wait for a signal, ``seconds`` at the most; the one to stop begins the grace."""
        interval = self._interval()
        if interval is not None:
            seconds = interval if seconds is None else min(interval, seconds)
        if seconds is None:
            got = signal.sigwaitinfo(_SIGNALS)
        else:
            maybe = signal.sigtimedwait(_SIGNALS, max(seconds, 0.02))
            if maybe is None:
                return
            got = maybe
        if got.si_signo == STOP_SIGNAL and self.stop_at is None:
            self.stopped = self._runs()
            self._stop()

    def _reap(self) -> None:
        roots = {each.root: each for each in self.programs if each.status is None}
        try:
            while True:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return
                io = usage.io_of(ended.si_pid) if self.ranks else None
                pid, status, waited = os.wait4(ended.si_pid, 0)
                if pid in roots:
                    roots[pid].over(status)
                    if self.ranks:
                        roots[pid].took = usage.of_rank(roots[pid].cgroup, waited, io)
                elif self.session is not None:
                    self.session.reaped(pid, status)
        except ChildProcessError:
            return

    def _record_ends(self) -> None:
        """Of a parallel job: a rank whose root is over takes what it left with it, and is told."""
        for each in self.programs if self.ranks else ():
            if each.status is None or each.recorded:
                continue
            each.recorded = True
            cgroup.kill(each.cgroup)
            if each.message:  # it could not be run, so the others are not to run either
                cgroup.kill(self.cgroup)
            try:
                durable.replace(self.directory, f"end.{each.task}", self._end_of(each))
            except OSError as error:  # then its end is that of the unit
                _complain(f"cannot write the end of task {each.task}: {error}")

    def _end_the_rest(self) -> tuple[int, int]:
        """Kill what outlived the root process; (how many were killed, how many are left)."""
        self._leave_grace()
        killed = max(self.killed, len(cgroup.pids(self.cgroup)))
        give_up = boottime() + EMPTY_TIMEOUT
        while cgroup.populated(self.cgroup) and boottime() < give_up:
            cgroup.kill(self.cgroup)
            self._take_signal(0.02)
            self._reap()
        self._reap()
        left = len(cgroup.pids(self.cgroup)) if cgroup.populated(self.cgroup) else 0
        by_daemon = (self._kill_record() or {}).get("processes", 0)
        return max(killed, by_daemon), left

    def _leave_grace(self) -> None:
        """While a kill is under way, leave every process the time that it was promised."""
        while cgroup.populated(self.cgroup):
            ends = [] if self.stop_at is None else [self.stop_at]
            record = self._kill_record()
            if record is not None:
                ends.append(record["deadline"])
            if not ends or boottime() >= min(ends):
                return
            self._take_signal(0.05)
            self._reap()

    def _kill_record(self) -> dict[str, Any] | None:
        try:
            return durable.read(self.directory, "kill")
        except (OSError, ValueError):
            return None

    def _exit_document(self, killed: int, left: int) -> dict[str, Any]:
        told = [each for each in self.programs if each.status] or self.programs
        return {
            **self._end_of(told[0]),
            "processes_killed": killed,
            "processes_left": left,
            "usage": self.usage.document(),
            "stopped": self.stopped,
            "boottime": boottime(),
        }

    def _end_of(self, one: Program) -> dict[str, Any]:
        status = one.status or 0
        signalled = os.WIFSIGNALED(status)
        cause = limits.CAUSE if one.exceeded else lease.CAUSE if self.lease_over else ""
        if self.hung_up and not cause:
            cause = HANGUP
        return {
            "code": None if signalled else os.WEXITSTATUS(status),
            "signal": os.WTERMSIG(status) if signalled else None,
            "time": time.time(),
            "usage": one.took,
            "cause": cause,
            "detail": one.exceeded or self.lease_over or self.hung_up,
        }

"""The dump of a job on its node: from its freeze to its image on the shared directory.

From :meth:`Dump.run` on, not one instruction of the job runs unless the dump fails: it is frozen by
its cgroup before it is looked at for the last time, held by criu while that freeze is lifted, and
frozen again before criu lets go.  Whoever thaws it afterwards undoes the move.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

from kcms.node import (
    cgroup,
    criu,
    durable,
    image,
    init,
    inmemory,
    manifest,
    movable,
    owner,
    standing,
    usage,
)
from kcms.node.carrier import NAME
from kcms.node.carry import Carrier, CarryError
from kcms.node.laps import Laps
from kcms.node.move_error import MoveError, plain
from kcms.node.move_plan import Outcome, Plan

FREEZE_SECONDS = 10.0
FREEZES = 20
FREEZE_AGAIN = 0.02
LOOKS = 5
LOOK_AGAIN = 0.05
CHECK_SECONDS = 30.0
QUESTIONS = 2
"""That a look asks of the job's owner."""

_NEEDED = ("files", "directories", "groups", "terminals", "cwd")
"""What a scan tells of the job that its new node must have."""


class Look:
    """Looks whether a job can be moved, and remembers what files hold."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.digests = manifest.Digests()

    def at_frozen(self) -> movable.Scan:
        plan = self.plan
        return movable.scan(
            plan.cgroup, plan.move.spec, plan.shared_directories, plan.ids,
            str(plan.account.get("home", "")), str(plan.directory), self.digests,
        )  # fmt: skip

    def at_running(self) -> movable.Scan:
        """A job that runs changes under the look, so a refusal must stand several times."""
        found = self.at_frozen()
        for _ in range(LOOKS - 1):
            if found.ok:
                break
            time.sleep(LOOK_AGAIN)
            found = self.at_frozen()
        return found


class _Beside(Thread):
    """Does something while the caller does something else, and neither starts a process."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            self._error = error

    def end(self) -> None:
        """Wait for it.  :raises Exception: what went wrong"""
        self.join()
        if self._error is not None:
            raise self._error


class Dump:
    """One dump; ``name`` is the image's on the shared directory."""

    def __init__(self, plan: Plan, name: str) -> None:
        self.plan = plan
        self.name = name
        self.touched = False
        self.froze = 0.0
        self.look = Look(plan)
        self.carrier = Carrier(plan.ids, plan.watch)
        self.images = plan.directory / "image"

    def run(self) -> Outcome:
        """When it fails, the job goes on before that is told."""
        try:
            data = self._dump()
        except (MoveError, CarryError, image.ImageError) as error:
            return self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must go on
            traceback.print_exc()
            return self._fail(f"the dump failed on {self.plan.host}: {error}")
        finally:
            self._keep_log()
            self.carrier.dismiss()
            owner.dismiss()
        return "", True, {**data, standing.FROZE: self.froze}

    def _fail(self, message: str) -> Outcome:
        if self.touched:
            cgroup.release(self.plan.cgroup)
        inmemory.remove(self.images)
        return plain(message), self.touched, {}

    def _dump(self) -> dict[str, Any]:
        place = movable_data(self.look.at_running())["place"]  # and reads the libraries beforehand
        init = movable.find_init(self.plan.cgroup)
        self.carrier.make_place(place)
        path = os.path.join(place, NAME, self.name)  # noqa: PTH118 - a name, no path of root's
        durable.create(str(self.plan.directory), "placed", {"image": path})
        self._warm(init)
        self._prepare(path)
        self._freeze()
        laps = Laps("dump")
        known = movable_data(self.look.at_frozen())
        told = self._numbers(known["root"], init)
        files = written_files(self.plan.cgroup)
        laps.lap("look")
        self._criu(init, known)
        told["pids"] = sorted({*told["pids"], *dumped(self.images)})
        laps.lap("criu")
        syncing = _Beside(lambda: self.carrier.sync(files))
        digest = self._put(path)
        laps.lap("put")
        syncing.end()
        self._must_be_frozen()
        laps.lap("sync")
        laps.tell()
        return {
            **self._unseen(known),
            **told,
            "image": path,
            "size": digest.size,
            "sha256": digest.sha256,
        }

    def _prepare(self, path: str) -> None:
        """Start what the frozen job would have to wait for."""
        owner.prepare(self.plan.ids, QUESTIONS)
        self.carrier.prepare("sync")
        self.carrier.prepare("put", path)

    def _put(self, path: str) -> image.Digest:
        counting = image.Counting()
        skip = (criu.DUMP_LOG, "stats-dump")
        self.carrier.put(path, (counting.add(each) for each in image.pack(self.images, skip)))
        return counting.digest

    def _warm(self, init: int) -> None:
        """criu looks at the kernel once, before the job stands still."""
        subprocess.run(
            _inside(init, criu.check(self.plan.criu)), check=False, timeout=CHECK_SECONDS,
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip

    def _freeze(self) -> None:
        self.plan.watch()
        unit = self.plan.cgroup.removesuffix("/task")
        if cgroup.is_held(self.plan.cgroup) or cgroup.is_held(unit):
            raise MoveError("the job is frozen already; thaw it first")
        self.touched = True
        self._hold_all()

    def _hold_all(self) -> None:
        for _ in range(FREEZES):
            self._hold()
            if not waiting_for_child(self.plan.cgroup):
                return
            cgroup.release(self.plan.cgroup)
            time.sleep(FREEZE_AGAIN)
        raise MoveError("a process of the job waits all the time for a child to start a program")

    def _hold(self) -> None:
        self.froze = init.boottime()
        cgroup.hold(self.plan.cgroup)
        if not cgroup.await_frozen(self.plan.cgroup, FREEZE_SECONDS, time.monotonic):
            raise MoveError(
                f"the job could not be frozen within {FREEZE_SECONDS:g} s; a process of it waits "
                "for a disk or file server"
            )

    def _unseen(self, now: dict[str, Any]) -> dict[str, Any]:
        """What the job came to need since the target said yes, for it to say yes to this, too.

        A shell starts a program that it had not started when it was checked.
        """
        seen = self.plan.move.data
        new = {name: [each for each in now[name] if each not in seen[name]] for name in _NEEDED}
        return {**now, **new}

    def _numbers(self, root: int, init: int) -> dict[str, Any]:
        inside = _ids_inside(cgroup.pids(self.plan.cgroup))
        if root not in inside.processes:
            raise MoveError("the job's first process is no longer there")
        return {
            "root": root,
            "processes": sorted(inside.processes),
            "pids": sorted(inside.taken - {1}),
            "usage": self._usage(init, inside.max_rss_kib),
        }

    def _usage(self, first: int, max_rss_kib: int) -> dict[str, Any]:
        """What the task took so far, on nodes before this one too."""
        plan = durable.read(self.plan.record, "wanted.json") or {}
        before = (plan.get("restore") or {}).get("usage", {})
        restored = durable.read(self.plan.record, "restored") or {}
        started = durable.read(self.plan.record, "started") or {}
        began = started.get("boottime")
        ran = 0.0 if began is None else init.boottime() - began
        took, sources = usage.counted(self.plan.cgroup, first, started.get("io"))
        here = {name: each - restored.get(name, 0) for name, each in took.items()}
        peak = cgroup.peak_kib(self.plan.cgroup)
        return {
            **usage.added(before, here, sources),
            "elapsed": before.get("elapsed", 0.0) + ran,
            "max_rss_kib": max(before.get("max_rss_kib", 0), peak or max_rss_kib),
        }

    def _criu(self, init: int, known: dict[str, Any]) -> None:
        inmemory.make(self.images, movable.needed_kib(known["memory_kib"]) * 1024)
        plan = self.plan
        command = _inside(init, criu.dump(plan.criu, known["root"], str(self.images), plan.cgroup))
        ids = plan.ids

        def owner_in_name() -> None:
            os.setresgid(ids.gid, 0, 0)
            os.setresuid(ids.uid, 0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop must not end it half-way

        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True,
            preexec_fn=owner_in_name,
        )  # fmt: skip
        if done.returncode != 0:
            why = criu.reason(str(self.images / criu.DUMP_LOG)) or _last(done.stderr)
            raise MoveError(f"criu cannot dump the job: {why or f'status {done.returncode}'}")
        self._must_be_frozen()

    def _must_be_frozen(self) -> None:
        still = cgroup.is_held(self.plan.cgroup) and cgroup.await_frozen(
            self.plan.cgroup, FREEZE_SECONDS, time.monotonic
        )
        if not still or not cgroup.populated(self.plan.cgroup):
            raise MoveError("the job ended or was thawed while it was dumped")

    def _keep_log(self) -> None:
        """Of criu, in the move's record and the journal, for whoever looks into a failure."""
        log = criu.tail(str(self.images / criu.DUMP_LOG), 16384)
        if log:
            sys.stderr.write(log)


def movable_data(found: movable.Scan) -> dict[str, Any]:
    if not found.ok:
        raise MoveError(found.message)
    return found.data


def dumped(images: Path) -> set[int]:
    """The numbers of all that criu makes anew: also of what has ended and was not waited for, which
    no cgroup lists."""
    names = (each.name for each in images.glob("core-*.img"))
    found = {int(name) for each in names if (name := each[len("core-") : -len(".img")]).isdigit()}
    return found - {1}


class _Inside:
    """Numbers of processes as their namespace has them."""

    def __init__(self) -> None:
        self.processes: set[int] = set()
        self.taken: set[int] = set()
        self.max_rss_kib = 0


def _ids_inside(pids: list[int]) -> _Inside:
    found = _Inside()
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            fields = _status(thread / "status")
            found.taken |= {fields[name][-1] for name in ("NSpid", "NSpgid", "NSsid")}
            if int(thread.name) == pid:
                found.processes.add(fields["NSpid"][-1])
            found.max_rss_kib = max(found.max_rss_kib, *fields.get("VmHWM", [0]))
    return found


def _status(path: Path) -> dict[str, list[int]]:
    rows = (line.partition(":") for line in path.read_text(errors="replace").splitlines())
    return {
        name: [int(each) for each in rest.removesuffix("kB").split()]
        for name, _, rest in rows
        if name in ("NSpid", "NSpgid", "NSsid", "VmHWM")
    }


def written_files(task_cgroup: str, also_read: bool = False) -> list[str]:
    """Paths of files that the job has open, or mapped, for writing; or all that it has open."""
    found: set[str] = set()
    for pid in cgroup.pids(task_cgroup):
        found.update(_written_by(Path(f"/proc/{pid}"), also_read))
    return sorted(found)


def _written_by(process: Path, also_read: bool) -> Iterator[str]:
    for each in (process / "fd").iterdir():
        info = (process / "fdinfo" / each.name).read_text(errors="replace")
        flags = next(int(line[6:], 8) for line in info.splitlines() if line.startswith("flags:"))
        if also_read or flags & os.O_ACCMODE != os.O_RDONLY:
            yield from _file_with_name(each)
    for line in (process / "maps").read_text(errors="replace").splitlines():
        span, access = line.split(maxsplit=2)[:2]
        if access[1] == "w" and access[3] == "s":
            yield from _file_with_name(process / "map_files" / span)


def waiting_for_child(task_cgroup: str) -> bool:
    """Whether a process of a frozen job waits for a child of vfork(2), which is frozen as well: the
    kernel takes it for frozen, and criu would wait in vain for it to stop."""
    return any(
        is_uninterruptible((each / "stat").read_text(errors="replace"))
        for pid in cgroup.pids(task_cgroup)
        for each in Path(f"/proc/{pid}/task").iterdir()
    )


def is_uninterruptible(stat_line: str) -> bool:
    """Whether a line of /proc/PID/stat (proc(5)) is of a thread in the state D."""
    return stat_line.rpartition(")")[2].split()[:1] == ["D"]


def _file_with_name(link: Path) -> Iterator[str]:
    """The path of the file that a link of /proc leads to, while it has one."""
    try:
        found = link.stat()
    except FileNotFoundError:
        return  # memory without a file
    if stat.S_ISREG(found.st_mode) and found.st_nlink:
        yield str(link.readlink())


def _inside(init: int, command: list[str]) -> list[str]:
    """The command in the job's namespaces: criu then shares them, and dumps the tree alone."""
    return ["/usr/bin/nsenter", "--target", str(init), "--pid", "--mount", *command]


def _last(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""

"""What /proc says of processes, as values: a thin reader and the parsers of its texts.

Root reads links and texts below /proc only.  A *stat* is made of an open file through
``/proc/P/fd/N`` (no path is walked), and never of one whose path lies on a shared directory, as
that may ask the file server in root's name: those are left to :mod:`kcms.node.owner`.

Paths are texts with surrogates where they are no UTF-8; :func:`plain` makes them fit a sentence.
"""

# pathlib would cost several times what is read of a process.
# ruff: noqa: PTH115, PTH116, PTH208

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kcms.node.procstat import Birth, birth_of, parse_stat

PROC = "/proc"
NAMESPACES = (
    "user", "mnt", "net", "uts", "ipc", "cgroup", "pid", "pid_for_children", "time",
    "time_for_children",
)  # fmt: skip
DELETED = " (deleted)"
MOST_FILES = 65536
MOST_BYTES = 64 * 1024 * 1024
"""Open files of a job, and bytes of its tables of files and mappings, that are looked at."""


class TooMuchError(Exception):
    """A sentence about a job that is larger than what is looked at."""


class Stat(NamedTuple):
    """Of an open file; ``size`` in bytes.  ``here``: its path leads to it (asked of shared ones)"""

    mode: int
    dev: int
    ino: int
    rdev: int
    size: int
    nlink: int
    here: bool = True

    @classmethod
    def of(cls, found: os.stat_result) -> Stat:
        return cls(
            found.st_mode, found.st_dev, found.st_ino, found.st_rdev, found.st_size, found.st_nlink
        )


@dataclass(frozen=True)
class OpenFile:
    """One descriptor: ``target`` is what its link says, ``mount`` the id in mountinfo(5).

    ``locks`` and ``notes`` are the lines of its fdinfo about locks and about what is special to
    its kind; ``protocol`` is a socket's, as UNIX-STREAM.
    """

    number: int
    target: str
    flags: int = 0
    mount: int = -1
    locks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stat: Stat | None = None
    protocol: str = ""

    @property
    def writes(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY and not self.flags & os.O_PATH


@dataclass(frozen=True)
class Mapping:
    """A mapped file; ``stat`` is known of those that are removed and not on a shared directory."""

    path: str
    permissions: str
    span: str = ""
    stat: Stat | None = None

    @property
    def shares_writes(self) -> bool:
        return self.permissions[3:] == "s" and "w" in self.permissions


@dataclass(frozen=True)
class Proc:
    """One process.  ``pid`` is the reader's, ``inside`` the one in the job's namespace.

    ``session`` is the session's leader as the job's namespace numbers it (0: outside of it),
    ``capabilities`` those it holds or passes on, ``confined`` the profile of a
    security module, ``memory_kib`` its share of memory that a move has to carry.
    """

    pid: int
    name: str
    parent: int
    inside: int = 0
    birth: int = 0
    state: str = "S"
    tracer: int = 0
    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    capabilities: int = 0
    session: int = 1
    levels: int = 2
    confined: str = ""
    memory_kib: int = 0
    namespaces: dict[str, str] = field(default_factory=dict)
    root: str = "/"
    cwd: str = "/"
    exe: str = ""
    files: tuple[OpenFile, ...] = ()
    mappings: tuple[Mapping, ...] = ()

    def __str__(self) -> str:
        return f"process {self.pid} ({plain(self.name, 32)})"


def plain(text: str, limit: int = 200) -> str:
    """``text`` as it may stand in a sentence: printable, one line, at most so long."""
    clean = text
    if not text.isprintable():
        clean = "".join(each if each.isprintable() else "?" for each in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def read(path: str, most: int = MOST_BYTES) -> bytes:
    """A whole file of /proc.  :raises TooMuchError: it is larger; :raises OSError: it is gone"""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts, size = [], 0
        while part := os.read(descriptor, 65536):
            parts.append(part)
            size += len(part)
            if size > most:
                raise TooMuchError(f"{path} holds more than {most} bytes")
        return b"".join(parts)
    finally:
        os.close(descriptor)


def status_fields(text: bytes) -> dict[str, list[str]]:
    """Of /proc/P/status: each line's words by its name."""
    rows = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value.split() for name, _, value in rows}


class Budget:
    """What may still be read of one job: open files, bytes and time (seconds, monotonic)."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._files, self._bytes = MOST_FILES, MOST_BYTES
        self._seconds, self._clock = seconds, clock
        self._end = clock() + seconds

    def take(self, files: int = 0, size: int = 0) -> None:
        """:raises TooMuchError: there is more than may be read"""
        self._files -= files
        self._bytes -= size
        if self._files < 0:
            raise TooMuchError(f"the job has more than {MOST_FILES} files open")
        if self._bytes < 0:
            raise TooMuchError("the job has too many files and memory areas to look at")
        if self._clock() > self._end:
            raise TooMuchError(f"looking at the job's processes took over {self._seconds:g} s")


@dataclass(frozen=True)
class Reader:
    """Reads processes; ``skip`` tells the paths that must not be touched as root."""

    skip: Callable[[str], bool]
    budget: Budget
    proc: str = PROC

    def process(self, pid: int) -> Proc | None:
        """One process; None when it is gone, or has ended with all its threads.

        :raises TooMuchError: it holds more than may be read
        """
        where = f"{self.proc}/{pid}"
        try:
            born = parse_stat(read(f"{where}/stat"))
            status = status_fields(read(f"{where}/status"))
            found = self._numbers(pid, born, status)
            if found.state in "ZX":
                return found if int(status["Threads"][0]) > 1 else None
            return self._with_files(where, found)
        except (FileNotFoundError, ProcessLookupError):
            return None

    def _numbers(self, pid: int, born: Birth, status: dict[str, list[str]]) -> Proc:
        sets = ("CapPrm", "CapEff", "CapAmb")  # the inheritable ones give nothing by themselves
        capabilities = 0
        for each in sets:
            capabilities |= int(status[each][0], 16)
        return Proc(
            pid=pid,
            name=born.name,
            parent=born.parent,
            inside=int(status["NSpid"][-1]),
            birth=born.birth,
            state=born.state,
            tracer=int(status["TracerPid"][0]),
            uids=tuple(map(int, status["Uid"])),
            gids=tuple(map(int, status["Gid"])),
            groups=tuple(map(int, status["Groups"])),
            capabilities=capabilities,
            session=int(status["NSsid"][-1]),
            levels=len(status["NSpid"]),
            memory_kib=_resident(status),
        )

    def _with_files(self, where: str, bare: Proc) -> Proc:
        return replace(
            bare,
            confined=_confined(where),
            memory_kib=_carried(where, bare.memory_kib),
            namespaces=namespaces(bare.pid, self.proc),
            root=os.readlink(f"{where}/root"),
            cwd=os.readlink(f"{where}/cwd"),
            exe=_link(f"{where}/exe"),
            files=tuple(self._files(where)),
            mappings=tuple(self._mappings(where)),
        )

    def _files(self, where: str) -> Iterator[OpenFile]:
        numbers = sorted(map(int, os.listdir(f"{where}/fd")))
        self.budget.take(files=len(numbers))
        for number in numbers:
            try:
                target = os.readlink(f"{where}/fd/{number}")
                info = read(f"{where}/fdinfo/{number}")
                self.budget.take(size=len(info))
                made = parse_fdinfo(number, target, info)
                yield self._looked_at(f"{where}/fd/{number}", made)
            except FileNotFoundError:
                continue  # closed meanwhile

    def _looked_at(self, path: str, file: OpenFile) -> OpenFile:
        if file.target.startswith("socket:"):
            return replace(file, protocol=_protocol(path))
        if file.target.startswith("/") and not self.skip(file.target):
            return replace(file, stat=Stat.of(os.stat(path)))
        return file

    def _mappings(self, where: str) -> Iterator[Mapping]:
        text = read(f"{where}/maps")
        self.budget.take(size=len(text))
        for each in parse_maps(text):
            if each.path.endswith(DELETED) and not self.skip(each.path):
                yield replace(each, stat=_stat_or_none(f"{where}/map_files/{each.span}"))
            else:
                yield each


def _resident(status: dict[str, list[str]]) -> int:
    names = ("RssAnon", "RssShmem", "VmSwap")
    return sum(int(status[name][0]) for name in names if name in status)


def _carried(where: str, otherwise: int) -> int:
    """KiB of anonymous and shared memory, what several processes share divided among them."""
    try:
        rollup = status_fields(read(f"{where}/smaps_rollup"))
        return sum(int(rollup[name][0]) for name in ("Pss_Anon", "Pss_Shmem", "SwapPss"))
    except (OSError, KeyError, ValueError, IndexError):
        return otherwise


def _confined(where: str) -> str:
    """The profile of a security module that the process is under; empty without one."""
    for name in ("apparmor/current", "current"):
        try:
            text = read(f"{where}/attr/{name}").decode("utf-8", "replace").strip("\0\n ")
        except OSError:
            continue
        return "" if text in ("unconfined", "kernel") else text
    return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def _stat_or_none(path: str) -> Stat | None:
    try:
        return Stat.of(os.stat(path))
    except OSError:
        return None


def _protocol(path: str) -> str:
    try:
        return os.getxattr(path, "system.sockprotoname").rstrip(b"\0").decode("ascii", "replace")
    except OSError:
        return ""


def parse_fdinfo(number: int, target: str, text: bytes) -> OpenFile:
    """:raises ValueError: it is no such text"""
    flags, mount, locks, notes = 0, -1, [], []
    for line in text.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name == "flags":
            flags = int(value, 8)
        elif name == "mnt_id":
            mount = int(value)
        elif name == "lock":
            locks.append(value.strip())
        elif name not in ("pos", "ino"):
            notes.append(line.strip())
    return OpenFile(number, target, flags, mount, tuple(locks), tuple(notes[:4096]))


def parse_maps(text: bytes) -> list[Mapping]:
    """The mapped files, each of the same access once; memory without a name is left out."""
    found: dict[tuple[str, str], Mapping] = {}
    for line in os.fsdecode(text).split("\n"):
        row = line.split(maxsplit=5)
        if len(row) == 6 and not (row[5].startswith("[") and row[5] not in _ODD):
            path = row[5].replace("\\012", "\n")
            found.setdefault((path, row[1]), Mapping(path, row[1], row[0]))
    return list(found.values())


_ODD = ("[uprobes]",)


def holders(
    links: frozenset[str], inside: Callable[[int], bool], budget: Budget, proc: str = PROC
) -> dict[str, tuple[int, str]]:
    """For each of the links that a process outside has open, one that has: (pid, name).

    Reads the links of every process of the host.  ``inside`` is asked of those that have one only.
    """
    found: dict[str, tuple[int, str]] = {}
    for pid in [int(name) for name in os.listdir(proc) if name.isdigit()]:
        budget.take()
        held = links.intersection(_links(f"{proc}/{pid}/fd")) - found.keys()
        if held and not inside(pid):
            name = name_of(pid, proc)
            found.update(dict.fromkeys(held, (pid, name)))
    return found


def _links(directory: str) -> Iterable[str]:
    try:
        numbers = os.listdir(directory)
    except OSError:
        return
    for each in numbers:
        try:
            yield os.readlink(f"{directory}/{each}")
        except OSError:
            continue


def name_of(pid: int, proc: str = PROC) -> str:
    """The name of a process, "?" when it is gone."""
    found = birth_of(pid, proc)
    return found.name if found else "?"


def namespaces(pid: int, proc: str = PROC) -> dict[str, str]:
    """:raises OSError: it is gone, or not ours to look at"""
    return {name: os.readlink(f"{proc}/{pid}/ns/{name}") for name in NAMESPACES}


def is_fifo(found: Stat) -> bool:
    return stat.S_ISFIFO(found.mode)

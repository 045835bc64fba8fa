"""One task's cgroup (version 2): who is in it, whether anybody is, and the end of all of them.

Loaded by every task's PID 1, hence so few imports.  When a cgroup vanishes under
us the kernel says ENOENT or ENODEV; both mean that it is empty.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import errno
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable
else:
    import _signal as signal  # without enum, which takes 3 ms to load

ROOT = "/sys/fs/cgroup"
_GONE = (errno.ENOENT, errno.ENODEV)


def of_process(pid: int | str, proc: str = "/proc") -> str:
    """Path of a process's cgroup below the root, as ``/kcms.slice/…``; "" when it is gone."""
    for line in _read(f"{proc}/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except ProcessLookupError:
        return ""
    except OSError as error:
        if error.errno in _GONE:
            return ""
        raise


def _write(path: str, text: str) -> None:
    """Write to a cgroup file; nothing happens when the cgroup is gone."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _GONE:
            raise


def enter(path: str) -> None:
    """Move the calling process into the cgroup.  :raises OSError: it cannot be"""
    descriptor = os.open(f"{path}/cgroup.procs", os.O_WRONLY)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def pids(path: str) -> list[int]:
    """Every process in the cgroup and below it, zombies not included."""
    found = [int(line) for line in _read(f"{path}/cgroup.procs").split()]
    for each in below(path):
        found += pids(f"{path}/{each}")
    return found


def below(path: str) -> list[str]:
    """The names of the cgroups that the cgroup has below it."""
    try:
        return [each.name for each in os.scandir(path) if each.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return []


def populated(path: str) -> bool:
    """Whether any living process is in the cgroup or below it."""
    return "populated 1" in _read(f"{path}/cgroup.events")


def kill(path: str) -> None:
    """SIGKILL to every process in the cgroup and below it, frozen ones and new forks too."""
    _write(f"{path}/cgroup.kill", "1")


def is_held(path: str) -> bool:
    """Whether the cgroup is frozen, or about to be: nothing in it is to run."""
    return _read(f"{path}/cgroup.freeze").strip() == "1"


def is_frozen(path: str) -> bool:
    """Whether everything in the cgroup stands still."""
    return "frozen 1" in _read(f"{path}/cgroup.events")


def hold(path: str) -> None:
    """Freeze every process in the cgroup and below it; :func:`await_frozen` sees it done."""
    _write(f"{path}/cgroup.freeze", "1")


def release(path: str) -> None:
    """Thaw what was frozen."""
    _write(f"{path}/cgroup.freeze", "0")


def await_frozen(path: str, seconds: float, clock: Callable[[], float]) -> bool:
    """Whether everything in the cgroup stands still, at the latest after ``seconds``."""
    end = clock() + seconds
    while not is_frozen(path):
        if clock() >= end:
            return False
        select.select([], [], [], 0.002)
    return True


def cpu_times(path: str) -> tuple[float, float, float] | None:
    """CPU seconds of everything that ever ran in the cgroup, those of them that user code took and
    those that the kernel took for it; None when they are not counted."""
    rows = dict(line.partition(" ")[::2] for line in _read(f"{path}/cpu.stat").splitlines())
    names = ("usage_usec", "user_usec", "system_usec")
    if any(name not in rows for name in names):
        return None
    total, user, system = (int(rows[name]) / 1e6 for name in names)
    return total, user, system


def io_bytes(path: str) -> tuple[int, int] | None:
    """Bytes that everything that ever ran in the cgroup read from and wrote to disks; None where
    there is no controller that counts them."""
    if not os.path.exists(f"{path}/io.stat"):
        return None
    words = [word.partition("=") for word in _read(f"{path}/io.stat").split()]
    read, write = (
        sum(int(value) for name, _, value in words if name == wanted)
        for wanted in ("rbytes", "wbytes")
    )
    return read, write


def peak_kib(path: str) -> int | None:
    """KiB that everything in the cgroup had together at the most; None where no controller keeps
    it."""
    text = _read(f"{path}/memory.peak").strip()
    return int(text) // 1024 if text else None


def terminate(path: str) -> int:
    """SIGTERM, and SIGCONT after it, to every process.

    What is frozen stays so: it may be a job that has moved away, of which nothing must run here
    any more.  Its end is :func:`kill`.  Read again until nobody new is found, as they may be
    forking.  Returns how many were told.
    """
    told: set[int] = set()
    for _ in range(5):
        new = [pid for pid in pids(path) if pid not in told]
        if not new:
            break
        for pid in new:
            tell(pid, path, (signal.SIGTERM, signal.SIGCONT))
        told.update(new)
    return len(told)


def tell(
    pid: int,
    path: str,
    numbers: Iterable[int],
    is_meant: Callable[[int], bool] = lambda pid: True,
) -> bool:
    """Send signals to one process, unless its number meanwhile belongs to somebody outside the
    cgroup or to one that is not meant; whether they were sent."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        inside = (ROOT + of_process(pid) + "/").startswith(path + "/")
        if not inside or not is_meant(pid):
            return False
        for each in numbers:
            signal.pidfd_send_signal(descriptor, each)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True

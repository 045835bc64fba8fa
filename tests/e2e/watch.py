"""Who opens or reads files in a directory: fanotify with permission events, as fanotify(7) has it.

A permission event holds the process until it is answered, so its ids can be read reliably.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

FAN_CLASS_CONTENT = 0x04
FAN_NONBLOCK = 0x02
FAN_MARK_ADD = 0x01
FAN_OPEN_PERM = 0x00010000
FAN_ACCESS_PERM = 0x00020000
FAN_ONDIR = 0x40000000
FAN_EVENT_ON_CHILD = 0x08000000
FAN_ALLOW = 0x01
AT_FDCWD = -100
METADATA = struct.Struct("=IBBHQii")
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Access:
    """One open or read: the file, and the file-system uid and name of the process."""

    path: str
    uid: int
    program: str


class Watch:
    """Records accesses to the children of ``directories`` between ``with`` and its end."""

    def __init__(self, *directories: str) -> None:
        self.accesses: list[Access] = []
        self._fd = _checked(LIBC.fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK, os.O_RDONLY))
        mask = FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_ONDIR | FAN_EVENT_ON_CHILD
        for directory in directories:
            path = os.fsencode(directory)
            _checked(
                LIBC.fanotify_mark(self._fd, FAN_MARK_ADD, ctypes.c_uint64(mask), AT_FDCWD, path)
            )
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stopper, b"x")
        self._thread.join()
        for fd in (self._fd, self._stop, self._stopper):
            os.close(fd)

    def _loop(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._stop], [], [])
            if self._stop in ready:
                return
            self._take(os.read(self._fd, 65536))

    def _take(self, data: bytes) -> None:
        while data:
            length, _, _, _, _, fd, pid = METADATA.unpack_from(data)
            data = data[length:]
            try:
                self.accesses.append(_access(fd, pid))
            except OSError:
                self.accesses.append(Access("?", -1, "gone"))
            finally:
                os.write(self._fd, struct.pack("=iI", fd, FAN_ALLOW))
                os.close(fd)


def _access(fd: int, pid: int) -> Access:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    path = str(Path(f"/proc/self/fd/{fd}").readlink())
    return Access(path, int(fields["Uid"].split()[3]), fields["Name"])


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

"""How far a transfer is, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from kcms.terminal import plain

EVERY = 0.2  # seconds
MIB = 1 << 20


class Progress:
    """One line that is written over again and again; nothing where no terminal is.

    :param what: the file, as the user knows it
    :param begin: bytes of an earlier transfer, which do not count for the speed
    """

    def __init__(
        self,
        what: str,
        size: int,
        begin: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = plain(what)
        self._size = size
        self._begin = begin
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._began = self._said = clock()
        self._shown = self._stream.isatty()

    def at(self, done: int) -> None:
        """So many bytes are there."""
        now = self._clock()
        if self._shown and (now - self._said >= EVERY or done == self._size):
            self._said = now
            self._write(line(self._what, done, self._size, done - self._begin, now - self._began))

    def say(self, text: str) -> None:
        """A step that takes a moment."""
        if self._shown:
            self._write(f"{self._what}: {text}")

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text}\x1b[K")
        self._stream.flush()


def line(what: str, done: int, size: int, sent: int, seconds: float) -> str:
    """``what  45%  90 of 200 MiB  61 MiB/s``."""
    share = 100 if size == 0 else done * 100 // size
    speed = f"  {sent / MIB / seconds:.0f} MiB/s" if seconds > EVERY else ""
    return f"{what}  {share}%  {done / MIB:.0f} of {size / MIB:.0f} MiB{speed}"

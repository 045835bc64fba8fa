"""Brings the staged files of a task that its node has not, before its program begins.

It runs in the process that becomes the program, which *is* the user already and is in the cgroup of
the task: a kill ends it, the task's time limit counts, and nothing of it outlives the task.  The
file comes from the gateway of the host where the job was submitted, through this host's own, into a
part that the first of several tasks makes and all others wait for.

What may be otherwise in a moment (a host, gateway or manager that cannot be reached, a connection
that breaks) is tried again until there was no progress for :data:`PATIENCE`.  What is wrong for
good (the file is gone, it is another one) is told at once.
"""

from __future__ import annotations

import time
from typing import Any

from kcms.client import Client, ClientError
from kcms.jobs.staged import content_of, placed
from kcms.stage import walk
from kcms.stage.far import FarFile
from kcms.stage.part import BLOCK, Part, Place, clear

PATIENCE = 120.0  # seconds without a byte
LEAST_SECONDS = 600.0
LEAST_SPEED = 1 << 20
"""Bytes a second: a file has LEAST_SECONDS and what it takes at this speed, whatever comes."""

LONGEST = 6 * 3600.0
"""Seconds in all, with those in which it is not a task's turn: many nodes may want one file."""

LONGEST_STEP = 90.0
"""Seconds that one read, try or pause takes at the most: what is more, the task did not run."""

BUSY = "busy"
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
FOR_NOW = frozenset(
    {"unavailable", "protocol_error", "starting", "disconnected", "error", "internal_error"}
)
"""Codes of errors that may be over in a moment; all others are for good."""


class StagingError(Exception):
    """One line that says which file could not be had, and why.

    ``again``: perhaps later, or on another node.
    """

    def __init__(self, problem: str, again: bool) -> None:
        super().__init__(problem)
        self.again = again


def bring(plan: dict[str, Any]) -> dict[str, Any]:
    """The specification of a task with its staged files where this node has them now.

    :raises StagingError: one of them cannot be had
    """
    wanted = plan["wanted"]
    spec, home = dict(wanted["spec"]), plan["account"]["home"]
    client = Client(plan["gateway"], plan["cluster"], timeout=60.0)
    for field, text in sorted(spec["staged"].items()):
        path = placed(home, spec[field])
        digest, size = content_of(text)
        source = FarFile(client, wanted["job"], wanted["task"], field)
        name = path.rpartition("/")[2]
        try:
            with Place.below(home, name, digest, size) as place:
                _Bringing(place, source, field == "executable").bring()
                clear(place.stage, time.time())
        except StagingError as error:
            raise StagingError(f"cannot bring {field} {name} here: {error}", error.again) from error
        except walk.WalkError as error:
            raise StagingError(f"cannot bring {field} {name} here: {error}", False) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise StagingError(f"cannot write {field} {path} here: {why}", True) from error
        spec[field] = path
    return spec


class Clock:
    """Seconds in which the task ran: while it is suspended, no time of it passes."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._seen = time.monotonic()

    def __call__(self) -> float:
        now = time.monotonic()
        self._passed += min(now - self._seen, LONGEST_STEP)
        self._seen = now
        return self._passed


class _Bringing:
    """One file on its way."""

    def __init__(self, place: Place, source: FarFile, executable: bool) -> None:
        self._place = place
        self._source = source
        self._executable = executable
        self._clock = Clock()
        now = self._clock()
        self._seconds = LEAST_SECONDS + place.size / LEAST_SPEED
        self._end, self._longest = now + self._seconds, now + LONGEST
        self._progress = now
        self._mode = walk.PRIVATE

    def bring(self) -> None:
        """:raises StagingError: it cannot be had  :raises OSError: it cannot be written"""
        if self._place.is_there(self._executable):
            return
        try:
            with Part(self._place, self._end, self._clock) as part:
                if self._place.is_there(self._executable):  # another task has just brought it
                    part.drop()
                else:
                    self._fill_or_drop(part)
        except TimeoutError:
            raise StagingError("another task of this node has been bringing it", True) from None

    def _fill_or_drop(self, part: Part) -> None:
        """What nobody could go on with does not stay."""
        try:
            self._fill(part)
        except StagingError as error:
            if not error.again:
                part.drop()
            raise

    def _fill(self, part: Part) -> None:
        part.check_room()
        resumed, tries = part.begin() > 0, 0
        while True:
            try:
                self._take(part)
            except ClientError as error:
                if error.code == BUSY:
                    self._wait_on()
                self._pause(error.message, error.code in {BUSY, *FOR_NOW}, tries)
                tries += 1
                continue
            if part.is_right():
                part.finish(self._mode | (0o500 if self._executable else 0o400))
                return
            if not resumed:
                raise StagingError("it is not the file any more that was submitted", False)
            resumed = False
            part.restart()

    def _take(self, part: Part) -> None:
        """:raises ClientError: the connection cannot be had, or broke before the end"""
        at, size = part.begin(), self._place.size
        stream = self._source.read(at)
        try:
            self._mode = int(stream.about["mode"]) & 0o777
            if stream.about["size"] < size:
                raise StagingError("it is not the file any more that was submitted", False)
            while at < size and (block := self._received(stream.recv, min(BLOCK, size - at))):
                part.write(block, at)
                at += len(block)
                self._progress = self._clock()
                if self._progress > self._end:
                    raise StagingError(f"it comes too slowly, {at} of {size} bytes until now", True)
        finally:
            stream.close()
        if at < size:
            raise ClientError("unavailable", f"the connection broke after {at} of {size} bytes")

    def _received(self, recv: Any, count: int) -> bytes:
        try:
            return bytes(recv(count))
        except OSError as error:  # TimeoutError, too: nothing came for a minute
            raise ClientError("unavailable", f"the connection broke: {error}") from error

    def _wait_on(self) -> None:
        """It is not its turn yet: its time begins anew."""
        self._progress = self._clock()
        self._end = min(self._progress + self._seconds, self._longest)

    def _pause(self, why: str, again: bool, tries: int) -> None:
        now = self._clock()
        if not again:
            raise StagingError(why, False)
        if now > min(self._progress + PATIENCE, self._end):
            raise StagingError(f"{why} (tried for {PATIENCE:g} s)", True)
        time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])

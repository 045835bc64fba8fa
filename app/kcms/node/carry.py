"""Root's side of :mod:`kcms.node.carrier`: starts it with the owner's ids, and bounds its time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from kcms.node.owner import ENVIRONMENT, PYTHON, Ids

SECONDS = 60.0
"""That a shared directory may take without taking or giving a byte."""

CHUNK = 1 << 20
"""Bytes that go at once, for which a pipe has room where the system allows it."""


class CarryError(Exception):
    """One sentence that says why a file did not pass."""


def _nothing() -> None:
    return


class Carrier:
    """Works on shared directories with the ids of a job's owner.

    ``watch`` is called now and then, and may raise to end what is under way.
    """

    def __init__(self, ids: Ids, watch: Callable[[], None] = _nothing) -> None:
        self.ids = ids
        self.watch = watch
        self._ready: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}

    def prepare(self, *arguments: str) -> None:
        """Start a child that is to be used soon, when a job stands still and waits for it."""
        self._ready[arguments] = self._start(list(arguments), "start with the owner's ids")

    def dismiss(self) -> None:
        """End the children that were not used."""
        while self._ready:
            _end(self._ready.popitem()[1])

    def make_place(self, directory: str) -> None:
        """Make the place for images below the directory."""
        for _ in self._run(["place", directory], "make the place for the image"):
            pass

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write the new file."""
        for _ in self._run(["put", path], "write the image to the shared directory", chunks):
            pass

    def get(self, path: str) -> Iterator[bytes]:
        """The file's bytes."""
        return self._run(["get", path], "read the image from the shared directory")

    def remove(self, path: str) -> None:
        for _ in self._run(["remove", path], "remove the image from the shared directory"):
            pass

    def sync(self, paths: list[str]) -> None:
        """Bring what was written to these files to the file server."""
        data = [json.dumps(paths).encode()]
        for _ in self._run(["sync"], "write the job's files to the shared directory", data):
            pass

    def _run(self, arguments: list[str], what: str, feed: Iterable[bytes] = ()) -> Iterator[bytes]:
        """What the child writes, while it is fed.  :raises CarryError: it failed, or hangs

        A child that hangs in a dead file server is killed and not waited for.
        """
        with contextlib.ExitStack() as stack:
            child = self._ready.pop(tuple(arguments), None) or self._start(arguments, what)
            stack.callback(_end, child)
            yield from _exchange(child, feed, self.watch, what)
            complaint = _complaint(child)
            try:
                status = child.wait(SECONDS)
            except subprocess.TimeoutExpired:
                raise CarryError(f"cannot {what}: it does not answer") from None
            if status != 0:
                last = complaint.splitlines()[-1] if complaint else f"status {status}"
                raise CarryError(f"cannot {what}: {last}")

    def _start(self, arguments: list[str], what: str) -> subprocess.Popen[bytes]:
        change: dict[str, Any] = {}
        if os.geteuid() != self.ids.uid:
            change = {
                "user": self.ids.uid,
                "group": self.ids.gid,
                "extra_groups": list(self.ids.groups),
            }
        program = str(Path(__file__).resolve().parent / "carrier.py")
        pipe = subprocess.PIPE
        try:
            child = subprocess.Popen(
                [PYTHON, "-I", "-S", "-E", program, *arguments], stdin=pipe, stdout=pipe,
                stderr=pipe, cwd="/", env=ENVIRONMENT, start_new_session=True, bufsize=0, **change,
            )  # fmt: skip
            for each in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):
                    fcntl.fcntl(cast(Any, each), fcntl.F_SETPIPE_SZ, CHUNK)
            return child
        except (OSError, subprocess.SubprocessError) as error:
            raise CarryError(f"cannot {what}: {error}") from error


def _complaint(child: subprocess.Popen[bytes]) -> str:
    """What it says went wrong.  Its owner can make it keep the pipe open and say nothing."""
    pipe = cast(Any, child.stderr)
    if not select.select([pipe], [], [], SECONDS)[0]:
        return ""
    return str(pipe.read(4096).decode(errors="replace")).strip()


def _end(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout, child.stderr):
        with contextlib.suppress(OSError):
            cast(Any, pipe).close()
    if child.poll() is None:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a file server
            child.wait(1.0)


def _exchange(
    child: subprocess.Popen[bytes], feed: Iterable[bytes], watch: Callable[[], None], what: str
) -> Iterator[bytes]:
    """Feed the child and give what it writes, until it closes its output."""
    source, rest = iter(feed), memoryview(b"")
    into, out = cast(Any, child.stdin), cast(Any, child.stdout)
    os.set_blocking(into.fileno(), False)
    feeding = True
    while True:
        if feeding and not rest:
            data = next(source, None)
            if data is None:
                into.close()
                feeding = False
            else:
                rest = memoryview(data)
        readable, writable, _ = select.select([out], [into] if feeding else [], [], SECONDS)
        watch()
        if not readable and not writable:
            raise CarryError(f"cannot {what}: it takes nothing for {SECONDS:g} s")
        if writable:
            try:
                rest = rest[os.write(into.fileno(), rest) :]
            except BrokenPipeError:  # its complaint says why
                into.close()
                feeding = False
        if readable:
            data = os.read(out.fileno(), CHUNK)
            if not data:
                return
            yield data

"""Whether jobs can be moved from and to this host, tried rather than guessed.

The try (:mod:`kcms.node.selftest`) takes half a second and rights that the daemon does not have,
so it runs beside it, in a transient unit.  What it found holds until the host has another criu (or
kernel, which takes another boot, and so another daemon); a bad result is tried again now and then.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kcms.config import NodeConfig

log = logging.getLogger("kcms.node")

STILL = "whether criu works here is still being tried; ask again in a moment"
AGAIN = 900.0
AGAIN_SOON = 30.0
"""Seconds until a bad result is tried again; the shorter, when criu could not even be tried."""

SECONDS = 90.0
TEST_USER = 65534
DIRECTORY = "kcms-mover-test"


@dataclass(frozen=True)
class Found:
    """What a try found; ``criu`` is its version, empty when there is none.

    ``firm``: criu itself was tried, and did or did not work.
    """

    criu: str
    trouble: str
    firm: bool = False


class Capability:
    """What :meth:`mover` says; it never waits.

    :param attempt: tries a criu, given by its path
    :param start: runs a function beside the caller
    """

    def __init__(
        self,
        criu: str,
        attempt: Callable[[str], Found] | None = None,
        start: Callable[[Callable[[], None]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._criu = criu
        self._attempt = attempt or attempt_in_unit
        self._start = start or _in_thread
        self._clock = clock
        self._lock = threading.Lock()
        self._tried: tuple[int, ...] | None = None
        self._under_way = False
        self._found = Found("", STILL)
        self._at = 0.0

    def mover(self) -> dict[str, str]:
        """machine, kernel, criu, trouble: as a node's report has them."""
        there = _identity(self._criu)
        if not there:
            found = Found("", f"criu is not installed ({self._criu} is not there)")
        else:
            found = self._judged(there)
        return {
            "machine": platform.machine(),
            "kernel": platform.release(),
            "criu": found.criu,
            "trouble": found.trouble,
        }

    def _judged(self, there: tuple[int, ...]) -> Found:
        with self._lock:
            if self._tried != there:
                self._found = Found("", STILL)
            again = AGAIN if self._found.firm else AGAIN_SOON
            old = self._found.trouble and self._clock() - self._at >= again
            if (self._tried != there or old) and not self._under_way:
                self._under_way, self._tried = True, there
                self._start(self._try)
            return self._found

    def _try(self) -> None:
        try:
            found = self._attempt(self._criu)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            found = Found("", f"criu cannot be tried: {error}")
        if found != self._found:
            log.log(
                logging.WARNING if found.trouble else logging.INFO,
                "jobs %s",
                f"cannot be moved from or to here: {found.trouble}"
                if found.trouble
                else f"can be moved from and to here (criu {found.criu})",
            )
        with self._lock:
            self._found, self._at, self._under_way = found, self._clock(), False


def _identity(path: str) -> tuple[int, ...]:
    """Changes when the program at the path does; empty when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - three numbers of it are wanted
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _in_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, name="criu", daemon=True).start()


def attempt_in_unit(criu: str) -> Found:
    """Try this criu in a unit of its own.

    :raises OSError, ValueError, subprocess.SubprocessError: it could not be tried
    """
    told = subprocess.run(
        [criu, "--version"], capture_output=True, check=True, timeout=10, text=True
    ).stdout
    version = parse_version(told)
    done = subprocess.run(
        command(criu), capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL
    )
    return Found(version, parse_answer(done.stdout, done.stderr), firm=True)


def command(criu: str) -> list[str]:
    """The unit has every right of root and a directory that goes with it."""
    program = Path(__file__).resolve().with_name("selftest.py")
    properties = [
        f"RuntimeDirectory={DIRECTORY}",
        "RuntimeDirectoryMode=0700",
        f"RuntimeMaxSec={SECONDS - 10:g}",
        "TimeoutStopSec=5",
    ]
    return [
        "systemd-run", "--pipe", "--wait", "--collect", "--quiet", f"--unit={DIRECTORY}",
        *(f"--property={each}" for each in properties),
        "/usr/bin/python3", "-I", "-S", "-E", str(program), criu, f"/run/{DIRECTORY}",
        str(TEST_USER),
    ]  # fmt: skip


def parse_version(text: str) -> str:
    """:raises ValueError: it is not what ``criu --version`` says"""
    found = re.search(r"^Version:\s*(\S{1,32})", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"it does not tell its version: {text[:100]!r}")
    return found.group(1)


def parse_answer(answer: bytes, complaint: bytes) -> str:
    """What the test found.  :raises ValueError: it could not be made"""
    try:
        return str(json.loads(answer)["trouble"])[:1000]
    except (ValueError, KeyError, TypeError):
        words = complaint.decode(errors="replace").strip().splitlines()
        raise ValueError(words[-1][:200] if words else "the test gave no answer") from None


_known: dict[str, Capability] = {}


def mover(config: NodeConfig) -> dict[str, str]:
    """What this host's report says of it; one try a life of the daemon, beside it."""
    return _known.setdefault(config.criu, Capability(config.criu)).mover()

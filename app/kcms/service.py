"""What every daemon does the same way: log to standard error, tell systemd, end on a signal.

A package's ``daemon.py`` has ``main(config) -> int``; the asyncio ones call :func:`serve` with a
coroutine function ``run(stop, ready)`` that calls ``ready()`` once it can do its work and returns
soon after ``stop`` is set.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger("kcms.service")

ACCEPT_SECONDS = 60.0
"""Seconds between two lines that say that connections cannot be accepted."""

Run = Callable[[asyncio.Event, Callable[[], None]], Awaitable[None]]


PREFIXES = {"CRITICAL": "<2>", "ERROR": "<3>", "WARNING": "<4>", "INFO": "<6>", "DEBUG": "<7>"}


class LineFormatter(logging.Formatter):
    """Lines that only the daemon itself can break, whatever text of strangers is in them.

    A journal takes every line for an entry and a ``<N>`` at its beginning for a priority, so a
    file name with a newline could forge entries.  What is not printable is escaped; each line of
    a traceback begins as the record does.
    """

    def __init__(self, priorities: bool) -> None:
        super().__init__()
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        lines = [record.getMessage()]
        if record.exc_info:
            lines += [f"| {each}" for each in self.formatException(record.exc_info).split("\n")]
        priority = PREFIXES.get(record.levelname, "<6>") if self._priorities else ""
        return "\n".join(f"{priority}{record.name}: {escaped(each)}" for each in lines)


def escaped(text: str) -> str:
    """``text`` with escapes (as in Python) for what is not printable."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def configure_logging() -> None:
    """Log lines to standard error with the priority prefix that the journal reads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(priorities="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


class AcceptFailures:
    """A loop's exception handler: accepting tries again by itself, many times a second, so its
    failures are one line in :data:`ACCEPT_SECONDS`.  ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not str(context.get("message")).startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + ACCEPT_SECONDS
            log.error("connections cannot be accepted: %s", context.get("exception"))


def notify(state: str) -> None:
    """Send one sd_notify(3) message, as ``READY=1``; nothing happens outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(address)
        channel.sendall(state.encode())


def serve(run: Run) -> int:
    """Run a daemon until SIGTERM or SIGINT; the exit status of the process is returned."""
    configure_logging()
    asyncio.run(_serve(run))
    return 0


async def _serve(run: Run) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(AcceptFailures())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(stop, lambda: notify("READY=1"))
    notify("STOPPING=1")

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
from collections.abc import Awaitable, Callable

Run = Callable[[asyncio.Event, Callable[[], None]], Awaitable[None]]


def configure_logging() -> None:
    """Log lines to standard error with the priority prefix that the journal reads."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    prefixes = {"ERROR": "<3>", "CRITICAL": "<2>", "WARNING": "<4>", "INFO": "<6>", "DEBUG": "<7>"}
    for level, prefix in prefixes.items():
        logging.addLevelName(getattr(logging, level), prefix)
    if "JOURNAL_STREAM" in os.environ:
        formatter = logging.Formatter("%(levelname)s%(name)s: %(message)s")
        logging.getLogger().handlers[0].setFormatter(formatter)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(stop, lambda: notify("READY=1"))
    notify("STOPPING=1")

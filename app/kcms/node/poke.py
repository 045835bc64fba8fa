"""Having the node daemon look now, by a byte into a FIFO that it listens at.

Loaded by every task's PID 1, hence so few imports.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import os

POKE = "poke"
"""The FIFO, in the daemon's state directory."""


def poke(directory: str) -> None:
    """Say that there is something new in the record, of a task or a move, in ``directory``.

    When there is no daemon, or it is busy, it looks by itself.
    """
    path = os.path.join(os.path.dirname(os.path.dirname(directory)), POKE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b".")
        finally:
            os.close(descriptor)
    except OSError:
        return

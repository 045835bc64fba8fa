"""What the parts of a step took, as one line of the journal: a job stands still meanwhile.

Loaded by the PID 1 of a restored task, hence so few imports.
"""

from __future__ import annotations

import sys
import time


class Laps:
    """Times one part after another; ``step`` is the name of the whole."""

    def __init__(self, step: str) -> None:
        self.step = step
        self._since = time.monotonic()
        self._parts: list[str] = []

    def lap(self, part: str) -> None:
        """The part that is over now, which began when the one before was over."""
        now = time.monotonic()
        self._parts.append(f"{part} {(now - self._since) * 1000:.1f} ms")
        self._since = now

    def tell(self) -> None:
        sys.stderr.write(f"{self.step} took: {', '.join(self._parts)}\n")
        sys.stderr.flush()

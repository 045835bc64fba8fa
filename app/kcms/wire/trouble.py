"""Say once that something is wrong, and once that it is right again."""

from __future__ import annotations

import logging


class Trouble:
    """What is wrong at present, by what it concerns."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._present: dict[str, str] = {}

    def tell(self, what: str, sentence: str) -> None:
        """``what`` is wrong; the ``sentence`` is logged unless the same was already."""
        if self._present.get(what) != sentence:
            self._present[what] = sentence
            self._log.warning("%s", sentence)

    def over(self, what: str) -> None:
        """``what`` is right; said if it was wrong before."""
        if self._present and self._present.pop(what, None) is not None:
            self._log.info("%s: all right again", what)

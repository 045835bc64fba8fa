"""Say once that something is wrong, and once that it is right again."""

from __future__ import annotations

import logging


class Trouble:
    """What is wrong at present; each thing is logged when it begins and when it is over."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._present: set[str] = set()

    def tell(self, what: str, sentence: str) -> None:
        """``what`` is wrong, as ``sentence`` says."""
        if what not in self._present:
            self._present.add(what)
            self._log.warning("%s", sentence)

    def over(self, what: str) -> None:
        """``what`` is right."""
        if what in self._present:
            self._present.remove(what)
            self._log.info("%s: all right again", what)

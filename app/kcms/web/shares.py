"""How many things one may have under way at once, so that nobody takes all there is."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Hashable, Iterator

from kcms.errors import Unavailable


class Shares:
    """At most ``most`` at once of each name.  Safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[Hashable] = Counter()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self, name: Hashable, seconds: float, busy: str) -> Iterator[None]:
        """Hold one of the places of ``name``, after up to ``seconds`` of waiting for it.

        :raises Unavailable: with the sentence ``busy``, as none came free
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._held[name] < self._most, seconds):
                raise Unavailable(busy)
            self._held[name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._held[name] -= 1
                self._held += Counter()  # drops the names that hold none
                self._changed.notify_all()

    def held(self, name: Hashable) -> int:
        """How many ``name`` has under way."""
        with self._changed:
            return self._held[name]

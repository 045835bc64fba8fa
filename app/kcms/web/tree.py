"""The grid's tree as last told by the aggregator, fetched at most every few seconds.

However many readers there are, one of them fetches; the others get what is known meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from kcms.errors import KcmsError
from kcms.wire.ganglia_xml import Grid

log = logging.getLogger("kcms.web.tree")

MAX_AGE = 5.0


@dataclass(frozen=True)
class Snapshot:
    """A tree, how many seconds ago it was fetched, and why it is not newer (empty: it is new)."""

    grid: Grid | None
    age: float
    trouble: str = ""


class TreeSource:
    """Caches what ``fetch`` returns for ``max_age`` seconds of ``clock`` (monotonic)."""

    def __init__(
        self, fetch: Callable[[], Grid], clock: Callable[[], float], max_age: float = MAX_AGE
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._max_age = max_age
        self._fetching = threading.Lock()
        self._tried: float | None = None
        self._known: tuple[Grid | None, float, str] = (None, 0.0, "")  # replaced, never changed

    def current(self) -> Snapshot:
        """The tree now.  Never raises; without a tree ``grid`` is None and ``trouble`` says why."""
        if self._due() and self._fetching.acquire(blocking=self._known[0] is None):
            try:
                if self._due():  # else another reader has just tried
                    self._refresh()
            finally:
                self._fetching.release()
        grid, fetched, trouble = self._known
        return Snapshot(grid, max(self._clock() - fetched, 0.0), trouble)

    def _due(self) -> bool:
        return self._tried is None or self._clock() - self._tried >= self._max_age

    def _refresh(self) -> None:
        try:
            grid = self._fetch()
        except (KcmsError, OSError) as error:
            old, fetched, trouble = self._known
            if not trouble:
                log.warning("the aggregator cannot be read: %s", error)
            self._known = (old, fetched, str(error))
        else:
            self._known = (grid, self._clock(), "")
        finally:
            self._tried = self._clock()

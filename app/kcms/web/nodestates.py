"""How the job plane sees the nodes: whether they take work, and how much they have.

Asked beside the pages, a cluster at a time and at most every few seconds; a page waits for a moment
at the most, and only for a cluster that answered in time when it was asked last.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kcms.errors import KcmsError

log = logging.getLogger("kcms.web.nodes")

MAX_AGE = 5.0
FORGOTTEN = 60.0
MOMENT = 1.0
WORKERS = 4
DRAINED = ("draining", "drained")


@dataclass(frozen=True)
class NodeWork:
    """One node before the manager."""

    availability: str
    drained: bool
    drain_reason: str
    slots: int
    used: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> NodeWork:
        return cls(
            availability=str(row.get("availability") or ""),
            drained=row.get("drained") is True,
            drain_reason=str(row.get("drain_reason") or ""),
            slots=int(row.get("slots") or 0),
            used=int(row.get("used") or 0),
        )

    def document(self) -> dict[str, Any]:
        """As the page's API shows it."""
        return {
            "availability": self.availability,
            "drained": self.drained,
            "drain_reason": self.drain_reason,
            "slots": self.slots,
            "used": self.used,
        }

    @property
    def sentence(self) -> str:
        """What it means for jobs."""
        told = f"{self.used} of {self.slots} slots used"
        if self.drained:
            why = f": {self.drain_reason}" if self.drain_reason else ""
            return f"drained{why}; {told}"
        return f"{self.availability}, {told}" if self.availability else told


@dataclass
class _Known:
    """What is known of a cluster, and since when; ``prompt``: its last answer came in time."""

    nodes: Mapping[str, NodeWork] = field(default_factory=dict)
    at: float = float("-inf")
    tried: float = float("-inf")
    trouble: str = ""
    prompt: bool = True
    asking: threading.Event | None = None


class NodeStates:
    """Caches what ``ask`` (cluster to rows of ``GET /v1/nodes``) returns; ``clock`` in seconds."""

    def __init__(
        self,
        ask: Callable[[str], list[dict[str, Any]]],
        clock: Callable[[], float],
        moment: float = MOMENT,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._moment = moment
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._workers = ThreadPoolExecutor(WORKERS, "nodes")

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def of(self, clusters: Iterable[str]) -> dict[str, Mapping[str, NodeWork]]:
        """The nodes of ``clusters`` by name; a cluster that does not answer has none."""
        names = list(clusters)
        waiting = [event for name in names if (event := self._due(name)) is not None]
        until = self._clock() + self._moment
        for event in waiting:
            event.wait(max(0.0, until - self._clock()))
        return {name: self._fresh(name) for name in names}

    def ask_again(self, cluster: str) -> None:
        """What is known of a cluster is old: something was changed there."""
        with self._lock:
            known = self._known.get(cluster)
            if known is not None:
                known.tried = float("-inf")

    def trouble(self, cluster: str) -> str:
        """Why nothing is known of a cluster's nodes; empty when it answers."""
        known = self._known.get(cluster)
        return known.trouble if known is not None else ""

    def _due(self, name: str) -> threading.Event | None:
        """Have a cluster asked if it is time to; the event to wait for, if it is worth it."""
        with self._lock:
            known = self._known.setdefault(name, _Known())
            if known.asking is None:
                if self._clock() - known.tried < MAX_AGE:
                    return None
                known.tried = self._clock()
                known.asking = threading.Event()
                wait = known.prompt
                known.prompt = False  # until it has answered
                self._workers.submit(self._refresh, name, known, known.asking)
                return known.asking if wait else None
            return None

    def _refresh(self, name: str, known: _Known, asking: threading.Event) -> None:
        try:
            rows = self._ask(name)
            known.nodes = {str(row["name"]): NodeWork.of(row) for row in rows}
            known.at, known.trouble = self._clock(), ""
            known.prompt = known.at - known.tried < self._moment
        except (KcmsError, OSError, LookupError, TypeError, ValueError) as error:
            if not known.trouble:
                log.warning("the nodes of %s cannot be asked for: %s", name, error)
            known.trouble = str(error)
        finally:
            known.asking = None
            asking.set()

    def _fresh(self, name: str) -> Mapping[str, NodeWork]:
        known = self._known[name]
        return known.nodes if self._clock() - known.at < FORGOTTEN else {}

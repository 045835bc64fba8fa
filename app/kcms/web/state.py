"""The tree that one request is answered from: taken once, the same for the whole page."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, request

from kcms.errors import Unavailable
from kcms.web import ranges, words
from kcms.web.services import services, settings
from kcms.web.tree import Snapshot
from kcms.web.view import GridView, grid_view
from kcms.wire.ganglia_xml import Grid


@dataclass(frozen=True)
class Seen:
    """A tree with its view; ``trouble`` is the sentence for the reader when it is not current."""

    grid: Grid
    view: GridView
    age: float
    trouble: str

    @property
    def status(self) -> int:
        """The HTTP status of a page made from it."""
        return 503 if self.trouble else 200


def seen() -> Seen:
    """What is known of the grid.  :raises Unavailable: nothing, and the aggregator is silent"""
    snapshot = _snapshot()
    if snapshot.grid is None:
        raise Unavailable(f"The aggregator does not answer: {snapshot.trouble}")
    if "view" not in g:
        g.view = grid_view(snapshot.grid, snapshot.age, settings().gridname)
    trouble = ""
    if snapshot.trouble:
        trouble = (
            f"The aggregator does not answer ({snapshot.trouble}). "
            f"This is what was known {words.span(snapshot.age)} ago."
        )
    return Seen(snapshot.grid, g.view, snapshot.age, trouble)


def cluster_names() -> list[str]:
    """The clusters of the menu."""
    grid = _snapshot().grid
    return sorted(cluster.name for cluster in grid.clusters) if grid is not None else []


def chosen_range() -> ranges.Range:
    """The range asked for with ``range=``.  :raises InvalidRequest: it is none"""
    return ranges.parse(request.args.get("range"), settings().default_range)


def _snapshot() -> Snapshot:
    if "snapshot" not in g:
        g.snapshot = services().tree.current()
    snapshot: Snapshot = g.snapshot
    return snapshot

"""The first page (*Monitor*): the whole grid."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, url_for

from kcms.web import ranges
from kcms.web.figure import figure
from kcms.web.files import Scope
from kcms.web.reports import LOAD, MEMORY
from kcms.web.services import services, settings
from kcms.web.state import chosen_range, seen

blueprint = Blueprint("grid", __name__)


@blueprint.get("/")
def page() -> Response:
    """Two graphs over all nodes, and for each cluster a picture of each node."""
    span, now = chosen_range(), seen()
    totals, scope = now.view.totals, Scope()
    stored = services().graphs.stored(scope)
    up = f"{totals.up + totals.late} of {totals.nodes} nodes up, load {totals.load_text}"
    memory = f"{totals.memory_text} of {totals.memory_total} used"
    figures = [
        figure(LOAD, scope, span, stored, whose="all nodes", title="Nodes up and load", now=up),
        figure(MEMORY, scope, span, stored, whose="all nodes", now=memory),
    ]
    text = render_template(
        "grid.html",
        view=now.view,
        graphs=figures,
        works=services().nodes.of(each.name for each in now.view.clusters),
        trouble=now.trouble,
        here="monitor",
        refresh=settings().refresh,
        ranges=list(ranges.RANGES),
        chosen_range=span.name,
        range_url=lambda name: url_for("grid.page", range=name),
    )
    return make_response(text, now.status)

"""The page of one cluster, and the menu that leads to it."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from kcms.web import access, ranges
from kcms.web.figure import Figure, figure
from kcms.web.files import Scope
from kcms.web.ranges import Range
from kcms.web.reports import CPU, LOAD, MEMORY, NETWORK
from kcms.web.services import services, settings
from kcms.web.state import chosen_range, seen
from kcms.web.view import ClusterView

blueprint = Blueprint("cluster", __name__)


@blueprint.get("/cluster")
def pick() -> Response:
    """Where the menu leads: to the cluster's page, or to the grid's if none is chosen."""
    span, name = chosen_range(), request.args.get("cluster", "")
    if not name:
        target = url_for("grid.page", range=span.name)
    else:
        known = name if name in access.menu() else seen().view.cluster(name).name
        target = url_for("cluster.page", cluster=known, range=span.name)
    return make_response(redirect(target, 303))


@blueprint.get("/cluster/<cluster>")
def page(cluster: str) -> Response:
    """The same as the grid's page for one cluster, with average CPU use and network."""
    span, now = chosen_range(), seen()
    chosen = now.view.cluster(cluster)
    text = render_template(
        "cluster.html",
        view=now.view,
        cluster=chosen,
        cluster_name=chosen.name,
        graphs=_figures(chosen, span),
        works=services().nodes.of([chosen.name])[chosen.name],
        jobs_trouble=services().nodes.trouble(chosen.name),
        trouble=now.trouble,
        refresh=settings().refresh,
        ranges=list(ranges.RANGES),
        chosen_range=span.name,
        range_url=lambda name: url_for("cluster.page", cluster=chosen.name, range=name),
    )
    return make_response(text, now.status)


def _figures(cluster: ClusterView, span: Range) -> list[Figure]:
    totals, scope, whose = cluster.totals, Scope(cluster.name), f"cluster {cluster.name}"
    stored = services().graphs.stored(scope)
    up = f"{totals.up + totals.late} of {totals.nodes} nodes up, load {totals.load_text}"
    memory = f"{totals.memory_text} of {totals.memory_total} used"
    return [
        figure(LOAD, scope, span, stored, whose=whose, title="Nodes up and load", now=up),
        figure(MEMORY, scope, span, stored, whose=whose, now=memory),
        figure(CPU, scope, span, stored, whose=whose, title="Average CPU use"),
        figure(NETWORK, scope, span, stored, whose=whose),
    ]

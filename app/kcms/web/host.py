"""The page of one node."""

from __future__ import annotations

import logging
from collections.abc import Container

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from kcms.client import REASON_LIMIT
from kcms.errors import InvalidRequest, KcmsError
from kcms.web import access, facts, ranges, words
from kcms.web.figure import Figure, figure
from kcms.web.files import Scope
from kcms.web.ranges import Range
from kcms.web.reports import REPORTS, single
from kcms.web.services import services, settings
from kcms.web.state import chosen_range, seen
from kcms.web.view import find_host
from kcms.wire.ganglia_xml import Host, Metric

log = logging.getLogger("kcms.web")

blueprint = Blueprint("host", __name__)


@blueprint.get("/cluster/<cluster>/host/<host>")
def page(cluster: str, host: str) -> Response:
    """Facts of the node, the four reports, and one graph for each of its metrics."""
    span, now = chosen_range(), seen()
    chosen = now.view.cluster(cluster)
    found = find_host(now.grid, cluster, host)
    node = chosen.node(host)
    scope = Scope(cluster, host)
    stored = services().graphs.stored(scope)
    work = services().nodes.of([cluster])[cluster].get(host)
    told = facts.report_values(found, node)
    reports = [
        figure(each, scope, span, stored, whose=host, now=told.get(each.key, ""))
        for each in REPORTS.values()
    ]
    text = render_template(
        "host.html",
        view=now.view,
        cluster=chosen,
        cluster_name=chosen.name,
        node=node,
        work=work,
        reason_limit=REASON_LIMIT,
        facts=facts.node_facts(found, node, services().now(), work.sentence if work else ""),
        reports=reports,
        groups=_groups(found, scope, span, stored),
        texts=facts.texts(found),
        trouble=now.trouble,
        refresh=settings().refresh,
        ranges=list(ranges.RANGES),
        chosen_range=span.name,
        range_url=lambda name: url_for("host.page", cluster=cluster, host=host, range=name),
    )
    return make_response(text, now.status)


@blueprint.post("/cluster/<cluster>/host/<host>")
def control(cluster: str, host: str) -> Response:
    """Take the node out of use, or into it again."""
    session, token = access.acting(cluster)
    do, reason = request.form.get("do", ""), request.form.get("reason", "").strip()
    try:
        if do == "drain" and not reason:
            raise InvalidRequest("say why, for others to know")
        node = access.act(cluster, token, lambda client: client.set_node_state(host, do, reason))
        session.say("good", f"{host} is {node.get('availability') or node['state']} now.")
        log.info("%s: %s %s of %s", session.user, do, host, cluster)
    except access.NeedsLogin:
        raise
    except KcmsError as error:
        session.say("bad", f"Nothing was done to {host}: {error.message.rstrip('.')}.")
    services().nodes.ask_again(cluster)
    return make_response(redirect(url_for("host.page", cluster=cluster, host=host), 303))


def _groups(
    host: Host, scope: Scope, span: Range, stored: Container[str]
) -> list[tuple[str, list[Figure]]]:
    return [
        (title, [_figure(metric, host.name, scope, span, stored) for metric in metrics])
        for title, metrics in facts.groups(host)
    ]


def _figure(metric: Metric, host: str, scope: Scope, span: Range, stored: Container[str]) -> Figure:
    report = single(metric.name, metric.units)
    now = words.value(metric.value, metric.units)
    title = metric.name
    return figure(report, scope, span, stored, whose=host, title=title, now=now, metric=True)

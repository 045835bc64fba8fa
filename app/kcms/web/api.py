"""The same tree as JSON, and the page's own health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify

import kcms
from kcms.errors import Unavailable
from kcms.web.nodestates import NodeWork
from kcms.web.services import services
from kcms.web.state import seen
from kcms.web.view import ClusterView, NodeView, Totals
from kcms.wire.ganglia_xml import Cluster, Host

blueprint = Blueprint("api", __name__)


@blueprint.get("/api/v1/grid")
def grid() -> Response:
    """Every cluster with its nodes and their metrics, and what their managers say of them.

    :raises Unavailable: the aggregator does not answer, so what is known is not current
    """
    now = seen()
    if now.trouble:
        raise Unavailable(now.trouble)
    clusters = {each.name: each for each in now.grid.clusters}
    works = services().nodes.of(clusters)
    document = {
        "name": now.view.name,
        "age": round(now.age, 1),
        **_totals(now.view.totals),
        "clusters": [
            _cluster(each, clusters[each.name], works[each.name]) for each in now.view.clusters
        ],
    }
    return jsonify(document)


@blueprint.get("/health")
def health() -> Response:
    """200 while the page serves; whether the aggregator answers stands inside."""
    snapshot = services().tree.current()
    aggregator = {"answers": not snapshot.trouble, "trouble": snapshot.trouble or None}
    return jsonify({"status": "ok", "release": kcms.__version__, "aggregator": aggregator})


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "nodes": {"up": totals.up, "late": totals.late, "down": totals.down},
        "cpus": totals.cpus,
        "load": round(totals.load, 2),
        "memory_kib": {"total": round(totals.total), "used": round(totals.used)},
    }


def _cluster(shown: ClusterView, told: Cluster, works: Mapping[str, NodeWork]) -> dict[str, Any]:
    hosts = {host.name: host for host in told.hosts}
    nodes = [_node(node, hosts[node.name], works.get(node.name)) for node in shown.nodes]
    return {
        "name": shown.name,
        "age": round(shown.age, 1),
        **_totals(shown.totals),
        "hosts": nodes,
    }


def _node(node: NodeView, host: Host, work: NodeWork | None) -> dict[str, Any]:
    document = {
        "name": node.name,
        "address": host.ip,
        "state": node.state.value,
        "silence": round(node.silence, 1),
        "load": node.load,
        "cpus": node.cpus,
        "band": node.band.label,
        "metrics": {
            metric.name: {
                "value": metric.value if metric.number is None else metric.number,
                "units": metric.units,
            }
            for metric in host.metrics
        },
    }
    return document if work is None else {**document, "jobs": work.document()}

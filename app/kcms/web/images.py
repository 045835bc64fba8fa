"""The addresses of the pictures."""

from __future__ import annotations

import gzip

from flask import Blueprint, Response, request

from kcms.web.files import Scope
from kcms.web.graphs import KINDS, Image, Wanted
from kcms.web.services import services
from kcms.web.state import chosen_range, seen
from kcms.web.view import find_host

blueprint = Blueprint("images", __name__, url_prefix="/graph")

# rrdtool's SVG styles its own shapes; opened alone it may do that, and nothing else.
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
ENDING = "<any(svg,png):kind>"


@blueprint.get(f"/grid/<name>.{ENDING}")
def grid(name: str, kind: str) -> Response:
    """A report over all nodes."""
    return _picture(Scope(), name, kind)


@blueprint.get(f"/cluster/<cluster>/<name>.{ENDING}")
def cluster(cluster: str, name: str, kind: str) -> Response:
    """A report of one cluster."""
    return _picture(Scope(cluster), name, kind)


@blueprint.get(f"/host/<cluster>/<host>/<name>.{ENDING}")
def host(cluster: str, host: str, name: str, kind: str) -> Response:
    """A report of one node."""
    return _picture(Scope(cluster, host), name, kind)


@blueprint.get(f"/host/<cluster>/<host>/metric/<name>.{ENDING}")
def metric(cluster: str, host: str, name: str, kind: str) -> Response:
    """One metric of one node."""
    return _picture(Scope(cluster, host), name, kind, _unit(cluster, host, name))


def _unit(cluster: str, host: str, name: str) -> str:
    found = find_host(seen().grid, cluster, host)
    return next((each.units for each in found.metrics if each.name == name), "")


def _picture(scope: Scope, name: str, kind: str, unit: str | None = None) -> Response:
    span = chosen_range()
    theme, size = request.args.get("theme", "light"), request.args.get("size", "medium")
    image = services().graphs.draw(Wanted(scope, name, span, theme, size, kind, unit))
    response = _response(image)
    response.headers["Content-Security-Policy"] = PICTURE_POLICY
    response.headers["Cache-Control"] = f"max-age={min(span.step, 60)}"
    return response


def _response(image: Image) -> Response:
    response = Response(image.data, mimetype=KINDS[image.kind])
    if image.packed:
        response.headers["Vary"] = "Accept-Encoding"
        if request.accept_encodings.quality("gzip") > 0:
            response.headers["Content-Encoding"] = "gzip"
        else:
            response.set_data(gzip.decompress(image.data))
    return response

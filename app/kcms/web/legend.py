"""What the colours, signs and figures mean."""

from __future__ import annotations

from flask import Blueprint, render_template

from kcms.web import bands
from kcms.wire.ganglia_xml import DEFAULT_TMAX, DOWN_FACTOR

blueprint = Blueprint("legend", __name__)


@blueprint.get("/legend")
def page() -> str:
    """The legend; it needs no tree."""
    return render_template(
        "legend.html",
        here="legend",
        bands=(*bands.BANDS, bands.UNKNOWN),
        tmax=DEFAULT_TMAX,
        factor=DOWN_FACTOR,
    )

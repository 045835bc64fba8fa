"""What the colours, signs and figures mean."""

from __future__ import annotations

from flask import Blueprint, render_template

from kcms.web import bands

blueprint = Blueprint("legend", __name__)


@blueprint.get("/legend")
def page() -> str:
    """The legend; it needs no tree."""
    return render_template(
        "legend.html",
        here="legend",
        bands=(*bands.BANDS, bands.UNKNOWN),
        tmax=bands.DEFAULT_TMAX,
        factor=bands.DOWN_FACTOR,
    )

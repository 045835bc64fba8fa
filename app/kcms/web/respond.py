"""How the page answers: headers on everything, errors as a page or as the API's one JSON shape."""

from __future__ import annotations

import logging
from typing import Any

from flask import (
    Flask,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.exceptions import HTTPException

import kcms
from kcms.errors import KcmsError
from kcms.web import access, bands, login
from kcms.web.services import settings

log = logging.getLogger("kcms.web")

# Nothing but this page's own files is ever loaded, and nothing may put this page into a frame.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_TITLES = {
    400: "This request cannot be answered",
    403: "Not allowed",
    404: "Not found",
    405: "Not done this way",
    409: "Not possible now",
    413: "Too large",
    503: "Not available now",
}


def install(app: Flask) -> None:
    """Hang the headers, the error handlers and what every template knows on ``app``."""
    app.before_request(access.require_host)
    app.after_request(_headers)
    app.register_error_handler(access.Elsewhere, _elsewhere)
    app.register_error_handler(access.NeedsLogin, _needs_login)
    app.register_error_handler(KcmsError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)
    app.context_processor(_common)


def _common() -> dict[str, Any]:
    return {
        "release": kcms.__version__,
        "gridname": settings().gridname,
        "screens": [(band.key, band.bars) for band in (*bands.BANDS, bands.UNKNOWN)],
        "cluster_names": access.menu(),
        "chosen_range": settings().default_range,
        **_login_of_page(),
    }


def _login_of_page() -> dict[str, Any]:
    """Who is logged in, and where one logs in; nothing where there is no login."""
    found = access.session()
    if found is not None:
        return {
            "user": found.user,
            "form": found.form,
            "reached": found.tokens,
            "notes": found.take_notes,
            "login_url": url_for("login.form", next=access.here()),
        }
    url = ""
    if access.login_possible():
        there = url_for("login.form", next=access.here())
        url = access.safe_url(url_for("login.form") if request.path == "/login" else there)
    return {"user": "", "form": "", "reached": {}, "notes": list, "login_url": url}


def _headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def failure(status: int, code: str, message: str) -> Response:
    """The error, as JSON below /api and /health, as a page elsewhere."""
    if request.path.startswith(("/api/", "/health")):
        response = jsonify({"error": {"code": code, "message": message}})
    else:
        title, cluster = _TITLES.get(status, "This went wrong"), _cluster_asked_for()
        text = render_template("error.html", title=title, message=message, cluster_name=cluster)
        response = make_response(text)
    response.status_code = status
    return response


def _cluster_asked_for() -> str:
    """The cluster of this address, if there is one: its other pages may well work."""
    name = str((request.view_args or {}).get("cluster", ""))
    return name if name in access.menu() else ""


def _elsewhere(error: access.Elsewhere) -> Response:
    return make_response(redirect(error.url, 303))


def _needs_login(error: access.NeedsLogin) -> Response:
    return login.page(access.here(), error.status, error.message)


def _known(error: KcmsError) -> Response:
    return failure(error.status, error.code, error.message)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return make_response(error.get_response())
    methods = " and ".join(sorted(getattr(error, "valid_methods", None) or ()))
    messages = {
        404: "There is no such page here.",
        405: f"This address is called with {methods} only." if methods else "",
    }
    name = error.name.lower().replace(" ", "_")
    response = failure(status, name, messages.get(status) or f"{error.name}.")
    for header, value in error.get_headers(None):
        if header.lower() == "allow":
            response.headers[header] = value
    return response


def _unknown(error: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.path)
    return failure(500, "internal_error", "The page failed; its journal says why.")

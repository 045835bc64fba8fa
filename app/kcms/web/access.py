"""Who sends this request, and may it change anything: cookies, forms, logins of clusters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from flask import Response, g, request, url_for

from kcms.client import Client
from kcms.errors import Forbidden, InvalidRequest, KcmsError, NotFound, Unauthorized
from kcms.web.services import services, settings
from kcms.web.sessions import Session, Token, same
from kcms.web.state import cluster_names

REFRESH = "Kcms-Refresh"  # a header of pages that refresh by themselves
MOST_PATH = 1024
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")

T = TypeVar("T")


def require_host() -> None:
    """Let a request on only when its Host header is one (RFC 9110, section 7.2), or is not there.

    :raises InvalidRequest: it is none
    """
    if not _HOST.fullmatch(request.environ.get("HTTP_HOST", "none")):
        raise InvalidRequest("Call this page by a host name or an address, and at most a port.")


class NeedsLogin(Unauthorized):
    """This page is for those who are logged in to its cluster."""


class Elsewhere(KcmsError):
    """This page is served over TLS only, at ``url``."""

    status = 303

    def __init__(self, url: str) -> None:
        super().__init__(f"this page is at {url}")
        self.url = url


def login_here() -> bool:
    """May one log in on the connection that this request came by?"""
    return request.is_secure or settings().plain_login


def login_possible() -> bool:
    """Is there a login at all?"""
    return login_here() or bool(settings().tls_port)


def safe_url(path: str) -> str:
    """``path`` of this page where one may log in: as it is, or over TLS; "" without a host."""
    if login_here() or not settings().tls_port:
        return path
    found, port = _HOST.fullmatch(request.host), settings().tls_port
    if not found:
        return ""
    return f"https://{found[1]}" + ("" if port == 443 else f":{port}") + path


def require_safe_way() -> None:
    """Let a request on only where one may be logged in.

    :raises Elsewhere: it is to be read over TLS  :raises Forbidden: it changes something
    :raises NotFound: there is no login on this page
    """
    if login_here():
        return
    if not settings().tls_port:
        raise NotFound("This page is set up for looking only: there is no login.")
    if request.method not in ("GET", "HEAD"):
        raise Forbidden(
            "Nothing was done: this came without TLS, and passwords and changes are taken over "
            f"TLS only, at {safe_url(url_for('grid.page'))}."
        )
    raise Elsewhere(safe_url(here()))


def here() -> str:
    """The address of this request without its host."""
    path = quote(request.script_root + request.path)
    query = request.query_string.decode("ascii", "replace")
    return f"{path}?{query}" if query and request.method != "POST" else path


def local(path: str | None) -> str:
    """``path`` if it is one of this page, else the first page: nobody is led elsewhere."""
    first = url_for("grid.page")
    if not path or len(path) > MOST_PATH or not path.startswith(first) or path.startswith("//"):
        return first
    if "\\" in path or not path.isascii() or any(each <= " " or each == "\x7f" for each in path):
        return first
    parts = urlsplit(path)
    return first if parts.scheme or parts.netloc else path


def cookie_name(what: str) -> str:
    """A name that no plain page and no other host can set."""
    return f"__Host-kcms-{what}"


def set_cookie(response: Response, what: str, value: str) -> None:
    """A cookie of this browser session; an empty ``value`` takes it away.

    One logs in over TLS only, be it this page's or that of a proxy before it, so all are secure.
    """
    response.set_cookie(
        cookie_name(what),
        value,
        max_age=None if value else 0,
        path="/",
        secure=True,
        httponly=True,
        samesite="Strict",
    )


def session() -> Session | None:
    """Whose request this is; None when nobody is logged in."""
    if "session" not in g:
        number = request.cookies.get(cookie_name("session"), "") if login_here() else ""
        counts = REFRESH not in request.headers
        g.session = services().sessions.find(number, counts) if number else None
        if g.session is not None and counts:
            services().gateway.keep_alive(g.session.due(services().sessions.now()))
    found: Session | None = g.session
    return found


def menu() -> list[str]:
    """The clusters to choose from: of the tree, and of who is logged in, whatever the tree says."""
    found = session()
    return sorted({*cluster_names(), *(found.tokens if found is not None else ())})


def require_form(sealed: Callable[[str], bool]) -> None:
    """Let a form on only when it is one of this page.  :raises Forbidden: it is not"""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if site not in ("same-origin", "none") or not sealed(request.form.get("form", "")):
        raise Forbidden(
            "Nothing was done: the form was not one of this page, or too old. "
            "Load the page again and repeat it."
        )


def acting(cluster: str) -> tuple[Session, Token]:
    """Who is logged in to ``cluster``, for a page or, of a POST, for a form that is checked.

    :raises NeedsLogin: nobody  :raises Forbidden: the form is not this page's
    :raises NotFound: there is no such cluster
    """
    require_safe_way()
    found = session()
    if found is None:
        raise NeedsLogin("Log in to see and to control work.")
    if request.method == "POST":
        require_form(lambda seal: same(seal, found.form))
    token = found.tokens.get(cluster)
    if token is None:
        why = found.refusals.get(cluster)
        if why is None and cluster not in menu():
            raise NotFound(f"there is no cluster {cluster!r} in this grid")
        raise NeedsLogin(f"You are not logged in to {cluster}: {why or 'log in again.'}")
    return found, token


def told(cluster: str, answers: list[Any | KcmsError]) -> list[Any | KcmsError]:
    """``answers`` of a cluster; a token that died logs out of it.

    :raises NeedsLogin: it did
    """
    for answer in answers:
        if isinstance(answer, Unauthorized):
            raise _lost(cluster) from answer
    return answers


def ask(cluster: str, token: Token, call: Callable[[Client], T]) -> T:
    """What the cluster answers.  :raises NeedsLogin: the login is over  :raises KcmsError: …"""
    try:
        return services().gateway.ask(cluster, token, call)
    except Unauthorized as error:
        raise _lost(cluster) from error


def act(cluster: str, token: Token, call: Callable[[Client], T]) -> T:
    """As :func:`ask`, for what changes something."""
    try:
        return services().gateway.act(cluster, token, call)
    except Unauthorized as error:
        raise _lost(cluster) from error


def _lost(cluster: str) -> NeedsLogin:
    sentence = f"Your login to {cluster} is over: log in again."
    found = session()
    if found is not None:
        found.lose(cluster, sentence)
    return NeedsLogin(sentence)

"""Logging in and out, on the page and at the managers of all clusters."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from kcms.errors import Forbidden, KcmsError, TooMany, Unauthorized, Unavailable
from kcms.web import access
from kcms.web.gateway import Logins
from kcms.web.services import services
from kcms.web.sessions import Session, same

log = logging.getLogger("kcms.web")

blueprint = Blueprint("login", __name__)

LONGEST = 256  # characters of a user's name
LONGEST_PASSWORD = 1024  # characters; as long as a manager takes one


@blueprint.get("/login")
def form() -> Response:
    """Ask for user and password."""
    access.require_safe_way()
    return page(access.local(request.args.get("next")), status=200)


@blueprint.post("/login")
def begin() -> Response:
    """Log in; on to the page that was wanted, or back to the form with a sentence."""
    access.require_safe_way()
    user, target = request.form.get("user", "").strip(), access.local(request.form.get("next"))
    try:
        access.require_form(_sealed)
        logins = _logins(user, request.form.get("password", ""))
    except KcmsError as error:
        return page(target, error.status, _sentence(error.message), user)
    old = access.session()
    if old is not None:
        _end(old)
    number, gone = services().sessions.begin(user, dict(logins.tokens), logins.sentences())
    for each in gone:
        services().gateway.logout(each.tokens)
    begun = services().sessions.find(number)
    if begun is not None:
        _welcome(begun)
    log.info("%s logs in: %s", user, ", ".join(sorted(logins.tokens)))
    response = make_response(redirect(target, 303))
    access.set_cookie(response, "session", number)
    access.set_cookie(response, "form", "")
    return response


@blueprint.post("/logout")
def end() -> Response:
    """Log out, everywhere.

    Of who shows no login nothing is taken away: what another site sends comes without the cookie,
    and would end the login in the browser alone.
    """
    access.require_safe_way()
    found = access.session()
    response = make_response(redirect(url_for("grid.page"), 303))
    if found is not None:
        access.require_form(lambda seal: same(seal, found.form))
        _end(found)
        log.info("%s logs out", found.user)
        access.set_cookie(response, "session", "")
    return response


def page(target: str, status: int, trouble: str = "", user: str = "") -> Response:
    """The login's form, which leads on to ``target``."""
    cookie = request.cookies.get(access.cookie_name("form"), "")
    fresh = not cookie or len(cookie) > LONGEST
    text = cookie if not fresh else services().forms.begin()
    seal = services().forms.seal(text)
    here = render_template(
        "login.html", here="login", form=seal, target=target, trouble=trouble, user_typed=user
    )
    response = make_response(here, status)
    if fresh:
        access.set_cookie(response, "form", text)
    return response


def _sealed(seal: str) -> bool:
    return services().forms.fits(request.cookies.get(access.cookie_name("form"), ""), seal)


def _logins(user: str, password: str) -> Logins:
    """:raises KcmsError: no cluster lets this user in"""
    if not user or not password:
        raise Unauthorized("Give your user name and your password for the page.")
    if len(user) > LONGEST or len(password) > LONGEST_PASSWORD:
        raise Unauthorized(
            f"A user name has at most {LONGEST} characters, a password {LONGEST_PASSWORD}."
        )
    # In clear, where a proxy does TLS, everybody comes from one address.
    address = request.remote_addr if request.is_secure else None
    logins = services().gateway.login(user, password, address)
    if not logins.tokens:
        raise _refused(logins)
    return logins


def _refused(logins: Logins) -> KcmsError:
    """The one sentence for a login that no cluster took: wait, wrong, or nobody answers."""
    for kind in (TooMany, Unauthorized, Forbidden):
        for error in logins.refusals.values():
            if isinstance(error, kind):
                return kind(error.message)
    told = sorted({error.message for error in logins.refusals.values()})
    return Unavailable("no cluster could be asked: " + "; ".join(told))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!")) else ".")


def _welcome(begun: Session) -> None:
    begun.say("good", f"You are logged in to {', '.join(sorted(begun.tokens))}.")
    for cluster, why in sorted(begun.refusals.items()):
        begun.say("bad", f"Not logged in to {cluster}: {why}.")


def _end(found: Session) -> None:
    number = request.cookies.get(access.cookie_name("session"), "")
    services().sessions.end(number)
    services().gateway.logout(found.tokens)

"""*Job Submit*: the form, and what becomes of it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from kcms.errors import Conflict, Forbidden, KcmsError
from kcms.jobs.spec import FIELDS, KEY_LIMIT
from kcms.web import access, forms
from kcms.web.services import settings
from kcms.web.sessions import Token

log = logging.getLogger("kcms.web")

blueprint = Blueprint("submit", __name__)

LONGEST = 64 * 1024


@blueprint.get("/cluster/<cluster>/submit")
def page(cluster: str) -> Response:
    """The form with what is proposed."""
    session, token = access.acting(cluster)
    _require_owner(token)
    user = session.user
    return _form(cluster, forms.proposed(settings().results_directory, user), {}, 200)


@blueprint.post("/cluster/<cluster>/submit")
def submit(cluster: str) -> Response:
    """Submit, and lead to the job; or the form again with what was typed and what is wrong."""
    session, token = access.acting(cluster)
    _require_owner(token)
    filled = forms.filled(_typed())
    if filled.errors:
        return _form(cluster, filled.typed, filled.errors, 400)
    key = request.form.get("key", "")
    key = f"page-{key}"[:KEY_LIMIT] if key.isalnum() else f"page-{secrets.token_hex(16)}"
    try:
        job, new = access.act(cluster, token, lambda client: client.submit(filled.spec, key))
    except access.NeedsLogin:
        raise
    except Conflict:
        again = (
            "This form was submitted before, with other values, and nothing was done now. "
            "Submit it again if this is to be another job."
        )
        return _form(cluster, filled.typed, {"": again}, Conflict.status, fresh=True)
    except KcmsError as error:
        return _form(cluster, filled.typed, forms.refused(error.message), error.status)
    number = int(job["id"])
    if new:
        session.say("good", f"Job {number} was submitted to {cluster}.")
    else:
        session.say("good", f"This form was submitted before, as job {number}; once is enough.")
    log.info("%s submits job %d of %s", session.user, number, cluster)
    return make_response(redirect(url_for("results.job", cluster=cluster, text=number), 303))


def _require_owner(token: Token) -> None:
    """:raises Forbidden: root is logged in, who owns no jobs"""
    if token.root:
        raise Forbidden("Root submits no jobs here: log in as the user whose job it is.")


def _typed() -> dict[str, str]:
    names = [each.name for each in FIELDS]
    return {name: request.form.get(forms.PREFIX + name, "")[:LONGEST] for name in names}


def _form(
    cluster: str,
    typed: Mapping[str, str],
    errors: Mapping[str, str],
    status: int,
    fresh: bool = False,
) -> Response:
    """The form; one that was refused keeps its key unless it is ``fresh``."""
    shown = forms.fields(typed, errors)
    key = "" if fresh else request.form.get("key", "")
    more = forms.more_fields(shown)
    text = render_template(
        "submit.html",
        cluster_name=cluster,
        here="submit",
        fields=forms.first_fields(shown),
        more=more,
        more_open=any(each.error or each.value not in ("", each.default) for each in more),
        problem=errors.get("", ""),
        wrong=[each for each in shown if each.error],
        prefix=forms.PREFIX,
        key=key if key.isalnum() and len(key) <= 64 else secrets.token_hex(16),
    )
    return make_response(text, status)

"""*Process Monitor*: the processes of a cluster's jobs, to be moved or killed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from kcms.client import Client, is_several
from kcms.errors import InvalidRequest, KcmsError
from kcms.jobs.number import job_number
from kcms.web import access, work
from kcms.web.services import services, settings
from kcms.web.sessions import Session, Token

log = logging.getLogger("kcms.web")

blueprint = Blueprint("processes", __name__)

MOVING_REFRESH = 3
_ACTS = {
    "kill": "is being killed",
    "hold": "is held",
    "release": "is released",
    "suspend": "is being suspended",
    "resume": "goes on",
    "checkpoint": "is being saved",
    "restart": "goes back to its last checkpoint",
}
_VERBS = {
    "kill": "killed",
    "migrate": "moved",
    "hold": "held",
    "release": "released",
    "suspend": "suspended",
    "resume": "resumed",
    "checkpoint": "saved",
    "restart": "restarted",
}
_CHOICE = re.compile(r"([0-9]{1,17})(?:\.([0-9]{1,9}))?/[0-9]{1,10}")


@blueprint.get("/cluster/<cluster>/processes")
def page(cluster: str) -> Response:
    """Nodes as columns, processes as rows."""
    session, token = access.acting(cluster)
    asked = job_number(request.args.get("moved", ""))
    nodes, (processes, left_out), jobs, moved = _answers(cluster, token, asked)
    now = services().now()
    moves = work.moves([*jobs, *moved], now)
    columns = work.columns(nodes, processes, now, None if token.root else session.user)
    moving = any(each.under_way for each in moves)
    text = render_template(
        "processes.html",
        cluster_name=cluster,
        here="processes",
        columns=columns,
        targets=work.targets(nodes),
        moves=moves,
        moving=moving,
        everybody=token.root,
        left_out=left_out,
        any_choice=any(row.choice for column in columns for row in column.rows),
        refresh=MOVING_REFRESH if moving else settings().refresh,
    )
    return make_response(text)


@blueprint.post("/cluster/<cluster>/processes")
def control(cluster: str) -> Response:
    """Move the task of the chosen process, or kill its job."""
    session, token = access.acting(cluster)
    found = _CHOICE.fullmatch(request.form.get("process", ""))
    target = url_for("processes.page", cluster=cluster)
    if not found:
        session.say("bad", "Choose a process first.")
    elif ordered(cluster, session, token, int(found[1]), int(found[2] or 0)):
        target = url_for("processes.page", cluster=cluster, moved=int(found[1]))
    return make_response(redirect(target, 303))


def ordered(
    cluster: str, session: Session, token: Token, number: int, task: int | None = None
) -> bool:
    """Do to a job what the form says, and have the result told; True when the job moves.

    :param task: the one that is to move of a job with several

    :raises NeedsLogin: the login is over
    """
    do, node = request.form.get("do", ""), request.form.get("node", "")
    try:
        if do in _ACTS:
            access.act(cluster, token, lambda client: client.act(do, number))
            session.say("good", f"Job {number} {_ACTS[do]}.")
        elif do != "migrate":
            known = ", ".join([*_ACTS, "migrate"])
            raise InvalidRequest(f"what can be done to a job is {known}, not {do!r:.40}")
        elif not node:
            raise InvalidRequest("choose the node to move it to")
        else:
            access.act(cluster, token, lambda client: _move(client, number, node, task))
    except access.NeedsLogin:
        raise
    except KcmsError as error:
        verb = _VERBS.get(do, "touched")
        session.say("bad", f"Job {number} was not {verb}: {error.message.rstrip('.')}.")
        return False
    where = f" to {node}" if do == "migrate" else ""
    log.info("%s: %s job %d of %s%s", session.user, do, number, cluster, where)
    return do == "migrate"


def _move(client: Client, number: int, node: str, task: int | None) -> None:
    """(An older manager takes no task, and moves none of several.)"""
    named = task is not None and is_several(client.job(number, tasks=0))
    client.migrate(number, node, task=task if named else None)


def _answers(cluster: str, token: Token, asked: int | None) -> tuple[Any, Any, Any, list[Any]]:
    """Nodes, processes with how many were left out, running jobs, and the job asked for if any.

    :raises KcmsError: no answer
    """
    calls: list[Callable[[Client], Any]] = [
        lambda client: client.nodes(),
        lambda client: client.processes_told(),
        lambda client: client.jobs(states=["RUNNING", "SUSPENDED"], limit=500),
    ]
    if asked is not None:
        calls.append(lambda client: client.job(asked, tasks=0))
    answers = access.told(cluster, services().gateway.together(cluster, token, *calls))
    for answer in answers[:3]:
        if isinstance(answer, KcmsError):
            raise answer
    nodes, processes, jobs, *moved = answers
    return nodes, processes, jobs, [each for each in moved if not isinstance(each, KcmsError)]

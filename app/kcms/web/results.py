"""*Job Results*: every job a user ever submitted, and the page of one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from kcms.errors import InvalidRequest, KcmsError, NotFound
from kcms.jobs.number import job_number
from kcms.jobs.spec import FIELDS
from kcms.web import access, saved, tasks, words, work
from kcms.web.processes import MOVING_REFRESH, ordered
from kcms.web.services import services, settings
from kcms.web.sessions import Token

blueprint = Blueprint("results", __name__)

PAGE = 50
SHOWN_BYTES = 16 * 1024


@blueprint.get("/cluster/<cluster>/results")
def page(cluster: str) -> Response:
    """Jobs, newest at the bottom; ``before`` leads to older ones."""
    _, token = access.acting(cluster)
    before = _before(request.args.get("before"))
    jobs = access.ask(cluster, token, lambda client: client.jobs(limit=PAGE + 1, before=before))
    older = len(jobs) > PAGE
    jobs = jobs[-PAGE:]
    now = services().now()
    text = render_template(
        "results.html",
        cluster_name=cluster,
        here="results",
        rows=[work.job_row(job, now) for job in jobs],
        older=int(jobs[0]["id"]) if older else None,
        newest=before is None,
        everybody=token.root,
        refresh=settings().refresh if before is None else 0,
    )
    return make_response(text)


@blueprint.get("/cluster/<cluster>/jobs/<text>")
def job(cluster: str, text: str) -> Response:
    """One job: everything about it, and the end of what it wrote."""
    session, token = access.acting(cluster)
    number = _job_id(text)
    named = tasks.named(request.args.get("task"))
    found = access.ask(cluster, token, lambda client: client.job(number, tasks.SHOWN, named))
    now = services().now()
    row, moved = work.job_row(found, now), work.move(found, now)
    task = tasks.chosen(found, request.args.get("task"))
    nodes, files = _around(cluster, token, found, task)
    moving = (moved is not None and moved.under_way) or saved.is_under_way(found)
    page = render_template(
        "job.html",
        cluster_name=cluster,
        here="results",
        job=row,
        mine=token.root or row.user == session.user,
        facts=[*work.job_facts(found, row, now, tasks.is_part(found)), *saved.facts(found, now)],
        offered=saved.offered(found),
        tasks=tasks.rows(found, now, task),
        counted=tasks.counted(found),
        size=int(found["spec"].get("total_tasks") or 1),
        task=task,
        spec=work.spec_facts(found["spec"], FIELDS),
        move=moved,
        moving=moving,
        targets=work.targets(nodes, without=row.node),
        files=files,
        refresh=MOVING_REFRESH if moving else (settings().refresh if row.active else 0),
    )
    return make_response(page)


@blueprint.post("/cluster/<cluster>/jobs/<text>")
def control(cluster: str, text: str) -> Response:
    """Move, save or kill the job, or whatever else the form says."""
    session, token = access.acting(cluster)
    number = _job_id(text)
    ordered(cluster, session, token, number)
    return make_response(redirect(url_for("results.job", cluster=cluster, text=number), 303))


def _around(
    cluster: str, token: Token, found: dict[str, Any], task: int
) -> tuple[list[Any], list[dict[str, Any]]]:
    """The nodes, and the ends of the output and, if it is another, the error file."""
    number, spec = int(found["id"]), found["spec"]
    calls = [
        lambda client: client.nodes(),
        lambda client: client.output(number, "output", SHOWN_BYTES, task=task),
    ]
    titles = ["Output File"]
    if spec.get("error") and spec.get("error") != spec.get("output"):
        calls.append(lambda client: client.output(number, "error", SHOWN_BYTES, task=task))
        titles.append("Error Log File")
    answers = access.told(cluster, services().gateway.together(cluster, token, *calls))
    nodes = [] if isinstance(answers[0], KcmsError) else answers[0]
    return nodes, [_file(*each) for each in zip(titles, answers[1:], strict=True)]


def _file(title: str, answer: Any) -> dict[str, Any]:
    """What the page says of a file that a job writes."""
    if isinstance(answer, KcmsError):
        return {"title": title, "trouble": answer.message.rstrip(".") + "."}
    text, size, offset = str(answer["text"]), int(answer["size"]), int(answer.get("offset") or 0)
    return {
        "title": title,
        "path": words.visible(str(answer["path"])),
        "size": words.kibibytes(size / 1024) if size >= 1024 else words.count(size, "byte"),
        "cut": words.kibibytes(offset / 1024) if offset else "",
        "text": words.visible(text.replace("\r\n", "\n"), keep="\n\t"),
        "trouble": "",
    }


def _job_id(text: str) -> int:
    """:raises NotFound: no job's number"""
    number = job_number(text)
    if number is None:
        raise NotFound(f"there is no job {text[:40]!r}")
    return number


def _before(text: str | None) -> int | None:
    """:raises InvalidRequest: no job's number"""
    if text is None:
        return None
    number = job_number(text)
    if number is None:
        raise InvalidRequest(f"before must be the number of a job, not {text[:40]!r}")
    return number

"""What is run when a job is over: a job of its own, made in the commit of that end.  Pure."""

from __future__ import annotations

from typing import Any

from kcms.jobs.model import Job
from kcms.jobs.paths import SINGLE_OUTPUT
from kcms.jobs.spec import SpecError, check_spec
from kcms.jobs.spec_values import TEXT_LIMIT
from kcms.manager.memory import Draft
from kcms.manager.rows import Event
from kcms.terminal import plain

COMMENT = "on the end of job {}"
REASON_LIMIT = 1000
"""Characters of what a program is told of the end."""


def follow(draft: Draft, now: float) -> list[Job]:
    """Make the jobs that are to follow those which this draft ends; one that cannot be made is an
    event of the other, and keeps nothing from its end."""
    made = []
    for job in list(draft.changed.values()):
        if not job.state.final or not job.spec.get("on_end"):
            continue
        try:
            hook = _hook(job, draft.last_job + 1, now)
        except SpecError as error:
            told = {"state": job.state.value, "message": f"on_end cannot be run: {error}"}
            draft.events.append(Event(now, job.id, "no hook", told))
            continue
        draft.last_job += 1
        made.append(draft.put(hook, now, "submit", after=job.id))
    return made


def _hook(job: Job, number: int, now: float) -> Job:
    """:raises SpecError: there can be none"""
    spec, base = job.spec, job.spec.get("base_directory")
    output = f"{base.rstrip('/')}/{SINGLE_OUTPUT}" if base else None
    asked = {
        "name": f"end-{job.id}",
        "executable": spec["on_end"],
        "base_directory": base,
        "output": "/dev/null" if output and len(output) > TEXT_LIMIT else output,
        "priority": spec.get("priority") or 0,
        "partition": spec.get("partition"),
        "comment": COMMENT.format(job.id),
    }
    ended = {
        "KCMS_ENDED_JOB": str(job.id),
        "KCMS_ENDED_NAME": plain(str(spec.get("name") or "")),
        "KCMS_ENDED_STATE": job.state.value,
        "KCMS_ENDED_REASON": plain(job.reason)[:REASON_LIMIT],
    }
    return Job(
        id=number,
        cluster=job.cluster,
        user=job.user,
        uid=job.uid,
        gid=job.gid,
        spec=_clean(asked, spec.get("environment") or {}, ended),
        submit_host=job.submit_host,
        submit_time=now,
    )


def _clean(
    asked: dict[str, Any], environment: dict[str, str], ended: dict[str, str]
) -> dict[str, Any]:
    """The specification, without the other's environment where that is too long together."""
    try:
        return check_spec({**asked, "environment": {**environment, **ended}}, kept=True)
    except SpecError:
        return check_spec({**asked, "environment": ended}, kept=True)

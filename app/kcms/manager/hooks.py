"""What is run when a job is over: a job of its own, made in the commit of that end.  Pure."""

from __future__ import annotations

from typing import Any

from kcms.jobs.model import Job
from kcms.jobs.paths import SINGLE_OUTPUT
from kcms.jobs.spec import SpecError, check_spec
from kcms.manager.memory import Draft

COMMENT = "on the end of job {}"


def follow(draft: Draft, now: float) -> None:
    """Make the jobs that are to follow those which this draft ends."""
    for job in list(draft.changed.values()):
        if job.state.final and job.spec.get("on_end"):
            draft.last_job += 1
            draft.put(_hook(job, draft.last_job, now), now, "submit", after=job.id)


def _hook(job: Job, number: int, now: float) -> Job:
    spec, base = job.spec, job.spec["base_directory"]
    asked = {
        "name": f"end-{job.id}",
        "executable": spec["on_end"],
        "base_directory": base,
        "output": f"{base.rstrip('/')}/{SINGLE_OUTPUT}" if base else None,
        "priority": spec["priority"],
        "partition": spec.get("partition"),
        "comment": COMMENT.format(job.id),
        "environment": {
            **spec["environment"],
            "KCMS_ENDED_JOB": str(job.id),
            "KCMS_ENDED_NAME": spec["name"],
            "KCMS_ENDED_STATE": job.state.value,
            "KCMS_ENDED_REASON": job.reason,
        },
    }
    return Job(
        id=number,
        cluster=job.cluster,
        user=job.user,
        uid=job.uid,
        gid=job.gid,
        spec=_clean(asked),
        submit_host=job.submit_host,
        submit_time=now,
    )


def _clean(asked: dict[str, Any]) -> dict[str, Any]:
    """The specification, without the other's environment where that is too long together."""
    try:
        return check_spec(asked)
    except SpecError:
        told = {k: v for k, v in asked["environment"].items() if k.startswith("KCMS_ENDED_")}
        return check_spec({**asked, "environment": told})

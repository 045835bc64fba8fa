"""How far a job is safe from the loss of its node, as the API shows it.  Pure.

A rung of the ladder is one of three, the best first: *transparent* (images of its processes are
made, it need not know), *own* (it saves itself), *beginning* (nothing of its work is kept).
"""

from __future__ import annotations

from typing import Any

from kcms.jobs.intervals import FIRST_SECONDS
from kcms.jobs.spec import begins_anew, duration_text, is_interactive, save_interval, task_count
from kcms.jobs.spec_values import AUTO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kcms.jobs.model import Job, Task  # which show their rung

TRANSPARENT, OWN, BEGINNING = "transparent", "own", "beginning"
RUNGS = (TRANSPARENT, OWN, BEGINNING)
BACK = "it goes on from its last checkpoint"
BACK_WHEN_TOLD = (
    f"{BACK} when kcms restart tells it to, or its node tells that it was lost; a node that is "
    "silent for good takes it along, as neither an interval nor requeue was asked for"
)
MOST_SHOWN = 16
"""Checkpoints under way that are told of a job."""


def impossible(spec: dict[str, Any]) -> str:
    """Why no checkpoint can be made of a job at all; empty when one can."""
    if is_interactive(spec):
        return "it is interactive, and begins once"
    if spec.get("class") == "parallel" and task_count(spec) > 1:
        return "it is parallel: its tasks speak to each other, and cannot be saved one by one"
    return ""


def rung(job: Job) -> tuple[str, str]:
    """The rung that a job stands on, and a sentence that says why."""
    spec = job.spec
    saved = [task.saved for task in job.saved_tasks]
    name = spec.get("checkpoint_signal")
    if name:
        return OWN, f"it saves itself when it gets SIG{name}, and goes on from that by itself"
    never = impossible(spec)
    if any(each.kept for each in saved):
        return TRANSPARENT, BACK if begins_anew(spec) else BACK_WHEN_TOLD
    failures = [each for each in saved if each.failure]
    if spec.get("restart_from_checkpoint"):
        return OWN, "it keeps its own checkpoints, and goes on from them when it is begun anew"
    if never or failures:
        return BEGINNING, never or f"it has no checkpoint: {failures[-1].failure}"
    if save_interval(spec):
        return TRANSPARENT, "its first checkpoint is not made yet: until then it begins anew"
    return BEGINNING, "no checkpoint was asked for: kcms checkpoint makes one"


def seconds_between(job: Job, task: Task) -> float | None:
    """Seconds between two checkpoints of a task, None for never."""
    asked = save_interval(job.spec)
    if asked != AUTO:
        return None if asked is None else float(asked)
    return FIRST_SECONDS if task.saved.interval is None else task.saved.interval


def interval(job: Job) -> tuple[float | None, str]:
    """Seconds between two checkpoints of a task, None for never, and why that is so."""
    asked = save_interval(job.spec)
    if asked is None or isinstance(asked, int):
        return asked, "" if asked is None else f"{duration_text(asked)} as asked for"
    found = [task.saved for task in job.saved_tasks if task.saved.interval is not None]
    if found:
        return found[-1].interval, found[-1].why
    first = f"the first is made after {duration_text(round(FIRST_SECONDS))}, to measure its cost"
    return FIRST_SECONDS, f"{AUTO}: {first}"


def document(job: Job) -> dict[str, Any]:
    """What the job's document says of checkpoints: of all tasks together, the newest first."""
    tasks = job.saved_tasks
    made = [(each.image.time, task.index, each) for task in tasks for each in task.saved.kept[:1]]
    last = max(made, default=None, key=lambda each: each[:2])
    failed = [task.saved for task in tasks if task.saved.failure]
    noted = [task.saved.note for task in tasks if task.saved.note]
    signalled = [task.saved.signalled for task in tasks if task.saved.signalled is not None]
    where, why = rung(job)
    seconds, reason = interval(job)
    return {
        "rung": where,
        "why": why,
        "last": None if last is None else {"task": last[1], **last[2].document()},
        "signalled": max(signalled, default=None),
        "interval": seconds,
        "interval_why": reason,
        "under_way": _under_way(job),
        "failure": max(failed, key=lambda each: each.failure_time or 0.0).failure if failed else "",
        "note": noted[-1] if noted else "",
    }


def _under_way(job: Job) -> list[dict[str, Any]]:
    return [
        {"task": task.index, **vars(task.saved.saving)}
        for task in job.saved_tasks
        if task.saved.saving is not None
    ][:MOST_SHOWN]

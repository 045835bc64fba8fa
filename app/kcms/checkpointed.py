"""What becomes of checkpoints that were asked for, for the command line and the Ansible modules.

Standard library only, and nothing of this package: the same file is the ``kcms_checkpointed`` of
the modules.  Documents are those of API version 1; a job of an older manager says nothing of
checkpoints.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any  # 6 ms, so not when it runs

OVER = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"})


class Asked:
    """The checkpoints that one call asked for.

    ``since`` is when that was, as the manager's clock has it, and ``number`` the first of theirs;
    both are None when the job saves itself: it got its signal.
    """

    def __init__(self, job: Mapping[str, Any], task: int | None = None) -> None:
        """:param job: what the call answered  :param task: the one that it was for"""
        shown = job.get("checkpoint") or {}
        rows = [each for each in shown.get("under_way") or () if task in (None, each["task"])]
        self.task = task
        self.since: float | None = max((float(each["start_time"]) for each in rows), default=None)
        ours = [int(each["number"]) for each in rows if each["start_time"] == self.since]
        self.number: int | None = min(ours, default=None)

    @property
    def waits(self) -> bool:
        """Whether there is anything to wait for."""
        return self.number is not None

    def under_way(self, job: Mapping[str, Any]) -> bool:
        """Whether one of them is not over, as far as the document says."""
        rows = [each["saving"] for each in self._tasks(job) if each.get("saving")]
        shown = (job.get("checkpoint") or {}).get("under_way") or ()
        rows += [each for each in shown if self.task in (None, each["task"])]
        return self.since is not None and any(each["start_time"] <= self.since for each in rows)

    def made(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The images that there are of them now, each with its task."""
        return [
            {"task": each["task"], **image}
            for each in self._tasks(job)
            for image in each["images"][:1]
            if self.number is not None and image["number"] >= self.number
        ]

    def failed(self, job: Mapping[str, Any]) -> list[tuple[int, str]]:
        """Tasks of which none was made, and why."""
        return [
            (int(each["task"]), str(each["failure"]))
            for each in self._tasks(job)
            if each["failure"] and (each["failure_time"] or 0.0) >= (self.since or 0.0)
        ]

    def _tasks(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {"task": each["index"], **each["checkpoint"]}
            for each in job.get("tasks") or ()
            if each.get("checkpoint") and self.task in (None, each["index"])
        ]


def trouble(job: Mapping[str, Any], asked: Asked) -> str | None:
    """Why not every checkpoint was made, in one line; None when they were."""
    failed, made = asked.failed(job), asked.made(job)
    if failed:
        index, why = failed[0]
        more = f" (and {len(failed) - 1} more were not)" if len(failed) > 1 else ""
        return f"no checkpoint of {named(job, index)} was made{more}: {why}"
    if asked.waits and not made:
        what = named(job, asked.task)
        over = job["state"] in OVER
        why = f"the job is {job['state']}" if over else "its task was ended, moved or begun anew"
        return f"no checkpoint of {what} was made: {why} meanwhile"
    return None


def told(job: Mapping[str, Any], asked: Asked) -> str:
    """What came of them, or is under way, in a line."""
    made, what = asked.made(job), named(job, asked.task)
    own = job["spec"].get("checkpoint_signal")
    if own and not asked.waits:
        return f"{what} was sent SIG{own}, to save itself"
    if not made:
        return f"{what} is being saved"
    if len(made) == 1:
        image = made[0]
        what = named(job, image["task"])
        return f"checkpoint {image['number']} of {what} was made: {figures(image)}"
    size = sum(each["size"] for each in made)
    longest = max(each["freeze_seconds"] for each in made)
    said = figures({"size": size, "freeze_seconds": longest})
    return f"{len(made)} tasks of job {job['id']} were saved: {said} at the most"


def figures(image: Mapping[str, Any]) -> str:
    """``52 MB, it stood still for 0.38 s``."""
    size, seconds = image["size"], image["freeze_seconds"]
    places = 2 if seconds < 1 else 1 if seconds < 10 else 0
    return f"{size / 1e6:.{1 if size < 1e7 else 0}f} MB, it stood still for {seconds:.{places}f} s"


def restarting(job: Mapping[str, Any], task: int | None) -> str:
    """What a restart does that was asked for, in a line."""
    images = [
        {"task": each["index"], **image}
        for each in job.get("tasks") or ()
        if task in (None, each["index"]) and (each.get("checkpoint") or {}).get("restart_by")
        for image in each["checkpoint"]["images"][:1]
    ]
    what = named(job, task)
    if not images:
        return f"{what} is being begun anew, and goes on from what it saved itself"
    if len(images) == 1:
        what = named(job, images[0]["task"])
        return f"{what} is being begun anew, from checkpoint {images[0]['number']}"
    return f"{what} is being begun anew, each task from its last checkpoint"


def named(job: Mapping[str, Any], task: int | None) -> str:
    """The job, or one task of several."""
    several = int((job.get("spec") or {}).get("total_tasks") or 1) > 1
    return f"task {task} of job {job['id']}" if several and task is not None else f"job {job['id']}"

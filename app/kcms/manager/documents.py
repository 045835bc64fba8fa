"""The JSON of a job: of one with thousands of tasks it is megabytes, so it is made in pieces."""

from __future__ import annotations

import json

from kcms.jobs.listed import Listed
from kcms.jobs.model import Job


def job_json(job: Job, listed: Listed) -> bytes:
    """The document of a job with the tasks that are asked for.

    A task at a time, as a thread that makes all of it in one call keeps every other one waiting.
    """
    shown = listed.of(job)
    head = json.dumps(shown.document(with_tasks=False))
    tasks = ", ".join(json.dumps(task.document()) for task in shown.tasks)
    return f'{head[:-1]}, "tasks": [{tasks}]}}'.encode()

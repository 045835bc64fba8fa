"""The names of a job's files, as a gateway checks and a node opens them.

Loaded by every task's PID 1: it imports nothing.
"""

JOB_ID = "%j"
TASK = "%t"
USER = "%u"
MARKS = (JOB_ID, TASK, USER)
SINGLE_OUTPUT = f"kcms-{JOB_ID}.out"
"""Below the base directory."""

TASK_OUTPUT = f"kcms-{JOB_ID}.{TASK}.out"
"""The same of a job that may have several tasks."""


def default_output(job_class: str) -> str:
    return SINGLE_OUTPUT if job_class == "single" else TASK_OUTPUT


def expand(path: str, job: int, task: int, user: str) -> str:
    """The name of a file with the job's id, the task's index and the user put in; nothing else is
    replaced, and nothing twice: a user's name may hold a mark."""
    values = {JOB_ID: str(job), TASK: str(task), USER: user}
    parts, at = [], 0
    while at < len(path):
        mark = path[at : at + 2]
        parts.append(values.get(mark, path[at]))
        at += 2 if mark in values else 1
    return "".join(parts)

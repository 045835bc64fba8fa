"""The names of a job's files, as a gateway checks and a node opens them.

Loaded by every task's PID 1: it imports nothing.
"""

JOB_ID = "%j"
DEFAULT_OUTPUT = f"kcms-{JOB_ID}.out"
"""Below the base directory."""


def expand(path: str, job: int) -> str:
    """The name of an output or error file with the job's id put in; nothing else is replaced."""
    return path.replace(JOB_ID, str(job))

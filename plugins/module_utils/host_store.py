"""A manager's store asked itself: how many of its jobs are not over, and how new its tables are.
Its daemon may be down, and the host may not be told in whose name to ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STORE = "jobs.sqlite"
SECONDS = 60
ASK = """
import sqlite3, sys
base = sqlite3.connect("file:" + sys.argv[1] + "?mode=rw", uri=True, timeout=10)
print(base.execute(sys.argv[2]).fetchone()[0])
"""
OPEN = "SELECT count(*) FROM jobs WHERE state IN ('PENDING', 'RUNNING', 'SUSPENDED')"
SCHEMA = "PRAGMA user_version"


def open_jobs(state: str) -> dict[str, int | None]:
    """Cluster to its number of open jobs, None where it cannot be told, for the stores there."""
    return _asked(state, OPEN)


def schemas(state: str) -> dict[str, int | None]:
    """Cluster to the version of its store's tables, as :func:`open_jobs`."""
    return _asked(state, SCHEMA)


def _asked(state: str, question: str) -> dict[str, int | None]:
    return {
        path.parent.name[len("manager-") :]: _ask(path, question)
        for path in sorted(Path(state).glob(f"manager-*/{STORE}"))
    }


def _ask(path: Path, question: str) -> int | None:
    """Asked by a child with the owner's ids, as reading a store makes files beside it."""
    try:
        owner = path.stat()
        done = subprocess.run(
            [sys.executable, "-I", "-c", ASK, str(path), question],
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None

"""How many jobs of a manager's store are not over, asked of the store itself: its daemon may be
down, and the host may not be told in whose name to ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STORE = "jobs.sqlite"
SECONDS = 60
COUNT = """
import sqlite3, sys
base = sqlite3.connect("file:" + sys.argv[1] + "?mode=rw", uri=True, timeout=10)
states = "('PENDING', 'RUNNING', 'SUSPENDED')"
print(base.execute("SELECT count(*) FROM jobs WHERE state IN " + states).fetchone()[0])
"""


def open_jobs(state: str) -> dict[str, int | None]:
    """Cluster to its number of open jobs, None where it cannot be told, for the stores there."""
    return {
        path.parent.name.removeprefix("manager-"): _count(path)
        for path in sorted(Path(state).glob(f"manager-*/{STORE}"))
    }


def _count(path: Path) -> int | None:
    """Asked by a child with the owner's ids, as reading a store makes files beside it."""
    owner = path.stat()
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", COUNT, str(path)],
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None

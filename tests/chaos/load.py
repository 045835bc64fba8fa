"""A load of small jobs of every class that keep books of themselves, and the audit of these books.

Each job has a key, so that whoever submits may try again until it is acknowledged.  Each task holds
a lock while it runs, which a second copy of it would find taken; it writes down its start, and at
its end the effect that its user wants of it.  The hosts of a lab share one kernel, so that the lock
holds across them.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from tests.e2e.grid import Grid

BOOKS = "/shared/home/alice/chaos"
PROGRAM = f"""#!/bin/sh
task="$1.$KCMS_TASK_INDEX"
exec 9>"{BOOKS}/lock.$task"
flock -n 9 || echo "$task $KCMS_NODE" >> {BOOKS}/doubled
echo "$task $KCMS_RESTART_COUNT $KCMS_NODE" >> {BOOKS}/starts
sleep "$2"
echo "$task" >> {BOOKS}/effects
exit "$3"
"""
SUBMITTER = """#!/usr/bin/python3 -I
# Submits what the file says that is named, each under its key, until it is acknowledged.
import json, sys, time
sys.path.insert(0, "/opt/kcms/current")
from kcms.client import Client, ClientError
client = Client("/run/kcms-gateway/api.sock", None, None)
end = time.monotonic() + float(sys.argv[2])
for line in open(sys.argv[1]):
    spec = json.loads(line)
    key = spec.pop("key")
    while True:
        try:
            client.submit(spec, key)
            break
        except (ClientError, OSError) as error:
            final = getattr(error, "code", "") in ("invalid_request", "conflict")
            if final or time.monotonic() > end:
                raise SystemExit(f"{key}: {error}")
            time.sleep(0.5)
print("all are acknowledged")
"""


@dataclass(frozen=True)
class Wanted:
    """A job of the load: its key, specification, tasks and the exit status of each."""

    key: str
    spec: dict[str, Any]
    tasks: int
    code: int

    @property
    def restartable(self) -> bool:
        return bool(self.spec.get("requeue"))


def draw(dice: random.Random, count: int, program: str, run: str) -> list[Wanted]:
    """So many jobs, with keys that begin with ``run``: most of them single, some of several tasks,
    some that may begin anew."""
    found = []
    for at in range(count):
        kind = dice.choices(("single", "batch", "parallel"), (90, 6, 4))[0]
        tasks = 1 if kind == "single" else dice.randrange(2, 5)
        code, key = dice.choice((0, 0, 0, 3)), f"{run}-{at}"
        spec: dict[str, Any] = {
            "executable": program,
            "arguments": [key, f"{dice.uniform(0, 2):.2f}", str(code)],
            "output": "/dev/null",
            "class": kind,
            "requeue": dice.random() < 0.4,
        }
        if kind != "single":
            spec |= {"total_tasks": tasks, "task_failure": "continue"}
        found.append(Wanted(key, spec, tasks, code))
    return found


def submit(grid: Grid, host: str, jobs: list[Wanted], seconds: float) -> str:
    """Submit jobs as alice from a host; "" when all are acknowledged, else why not."""
    lines = "\n".join(json.dumps({**each.spec, "key": each.key}) for each in jobs)
    path = f"{BOOKS}/{host}.jobs"
    write(grid, f"{host}.jobs", lines)
    script = f"python3 -I {BOOKS}/submitter.py {path} {seconds:g}"
    done = grid.shell(host, script, user="alice", check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"{host} went away"


def prepare(grid: Grid) -> str:
    """Make the books; the program that the jobs run."""
    grid.shell("head", f"rm -rf {BOOKS}; mkdir {BOOKS}", user="alice")
    write(grid, "submitter.py", SUBMITTER)
    return write(grid, "job.sh", PROGRAM)


def write(grid: Grid, name: str, text: str) -> str:
    """Put a file into the books, by way of the head, which keeps its power; its path."""
    path = f"{BOOKS}/{name}"
    grid.shell("head", f"cat > {path} <<'END'\n{text}\nEND\nchmod 755 {path}", user="alice")
    return path


def book(grid: Grid, name: str) -> list[list[str]]:
    text = grid.shell("head", f"cat {BOOKS}/{name} 2>/dev/null || true", user="alice").stdout
    return [line.split() for line in text.splitlines()]


def audit(grid: Grid, wanted: list[Wanted], lost: set[str]) -> str:
    """See that every job has its verdict, and every task its effect once; how many there were.

    :param lost: hosts that were cut off or without power, on which tasks may have been lost
    """
    by_key: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    run = wanted[0].key.rpartition("-")[0]
    for job in listed(grid, run):
        by_key[str(job["key"])].append(job)
    starts = Counter((task, restart) for task, restart, _ in book(grid, "starts"))
    effects = Counter(task for (task,) in book(grid, "effects"))
    assert book(grid, "doubled") == [], "two copies of a task ran at once"
    again = {each: count for each, count in starts.items() if count > 1}
    assert not again, f"started twice: {again}"
    counts: Counter[str] = Counter()
    for each in wanted:
        jobs = by_key[each.key]
        assert len(jobs) == 1, f"{each.key} is {len(jobs)} jobs"
        for task in jobs[0]["tasks"]:
            counts[check(each, jobs[0], task, effects[f"{each.key}.{task['index']}"], lost)] += 1
        assert len(jobs[0]["tasks"]) == each.tasks, jobs[0]
    anew = sum(int(restart) > 0 for _, restart in starts)
    told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return f"{len(wanted)} jobs: {told}; {anew} times begun anew"


def listed(grid: Grid, run: str) -> list[dict[str, Any]]:
    """All jobs of the load, each with all of its tasks (a listing has the first 16)."""
    script = (
        "import json,sys; sys.path.insert(0,'/opt/kcms/current')\n"
        "from kcms.client import Client\n"
        "jobs = Client('/run/kcms-gateway/api.sock', 'alpha', None).every_job()\n"
        f"json.dump([each for each in jobs if str(each['key']).startswith('{run}-')], sys.stdout)"
    )
    return list(json.loads(grid.shell("head", f'python3 -I -c "{script}"').stdout))


def check(
    wanted: Wanted, job: dict[str, Any], task: dict[str, Any], done: int, lost: set[str]
) -> str:
    """One task: its state, when that is what its books say."""
    state = str(task["state"])
    if state == "NODE_FAIL" or (wanted.spec["class"] == "parallel" and job["state"] == "NODE_FAIL"):
        where = {each["node"] for each in job["tasks"]}
        assert where & lost, f"lost on a host that was always there: {job}"
        assert done <= 1 or wanted.restartable, job
        return "NODE_FAIL"
    assert state == ("FAILED" if wanted.code else "COMPLETED"), job
    assert task["exit"]["code"] == wanted.code, job
    # What is begun anew may have been through when its node was lost before it could tell.
    assert done == 1 or (wanted.restartable and 1 <= done <= 1 + task["restarts"]), (done, job)
    return state

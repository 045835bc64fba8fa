"""``kcms jobs`` and ``kcms job``, and what keeps jobs back: ``kcms hold`` …"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

from kcms.cli import complain, rungs, tables
from kcms.cli.each import do_each
from kcms.cli.options import Parser, client, client_options, whole_number
from kcms.client import FINAL_STATES, Client, is_several
from kcms.jobs.paths import TASK, expand
from kcms.jobs.spec import duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

ACTIVE = ("PENDING", "RUNNING", "SUSPENDED")
SHOWN_NODES = 4
SHOWN_TASKS = 32
STATES = (*ACTIVE, *sorted(FINAL_STATES))


def jobs(words: list[str]) -> int:
    parser = Parser("jobs", "List jobs, the newest last: your own; for the grid's root, all.")
    parser.add_argument("--all", action="store_true", help="those that are over, too")
    parser.add_argument("--state", metavar="STATE,...", help=f"only these: {', '.join(STATES)}")
    parser.add_argument("--name", metavar="PATTERN", help="only jobs with such a name: train-*")
    parser.add_argument("--limit", metavar="N", type=whole_number, help="only the newest N")
    client_options(parser, "only this user's jobs")
    options = parser.parse_args(words)
    states = _states(parser, options.state, options.all)
    found, more = client(options).jobs_told(states, options.user, options.limit, name=options.name)
    if options.json:
        print(json.dumps({"jobs": found}, indent=2))
    else:
        print(job_table(found, time.time()))
    if more and len(found) != options.limit:
        complain(f"only the newest {len(found)} are listed: name a --state or --user to have fewer")
    return 0


def _states(parser: Parser, given: str | None, everything: bool) -> tuple[str, ...]:
    if given is None:
        return () if everything else ACTIVE
    states = tuple(each.strip().upper() for each in given.split(","))
    for each in states:
        if each not in STATES:
            parser.error(f"there is no state {each!r}; there are {', '.join(STATES)}")
    return states


def job_table(found: list[dict[str, Any]], now: float) -> str:
    header = ("JOB", "USER", "NAME", "STATE", "PRIORITY", "NODE", "AGE", "RAN", "NOTE")
    rows = [
        (
            job["id"],
            job["user"],
            job["name"],
            job["state"],
            job["priority"],
            nodes_of(job),
            tables.duration(now - job["submit_time"]),
            tables.duration(tables.ran(job, now)),
            tables.note(job),
        )
        for job in found
    ]
    return tables.table(header, rows, right="JOB PRIORITY AGE RAN")


def nodes_of(job: dict[str, Any]) -> str:
    names = list(dict.fromkeys(task["node"] for task in job.get("tasks") or [] if task["node"]))
    more = f" and {len(names) - SHOWN_NODES} more" if len(names) > SHOWN_NODES else ""
    return ",".join(names[:SHOWN_NODES]) + more


def job(words: list[str]) -> int:
    parser = Parser("job", "Show one job.")
    parser.add_argument("id", metavar="ID", type=whole_number)
    client_options(parser, "in whose name to ask; only root may say")
    options = parser.parse_args(words)
    shown = None if options.json else SHOWN_TASKS
    found = client(options, options.user).job(options.id, tasks=shown)
    print(json.dumps(found, indent=2) if options.json else job_page(found, time.time()))
    return 0


def job_page(found: dict[str, Any], now: float) -> str:
    """Everything of a job, a line each."""
    spec = found["spec"]
    command = [spec["executable"], *spec["arguments"]]
    lines = {
        "job": f"{found['id']} ({found['name']}) on {found['cluster']}",
        "user": f"{found['user']}, submitted on {found['submit_host']}",
        "state": ", ".join(filter(None, (found["state"], tables.note(found)))),
        "priority": found["priority"],
        "command": " ".join(map(repr, command)),
        "directory": spec["base_directory"],
        "input": spec["input"],
        "output": _file(found, "output"),
        "error": _file(found, "error"),
        "submitted": tables.moment(found["submit_time"]),
        "started": tables.moment(found["start_time"]),
        "ended": tables.moment(found["end_time"]),
        "ran": tables.duration(tables.ran(found, now)),
        "memory": f"{spec['memory']} MiB at most" if spec.get("memory") else None,
        "rss limit": f"{spec['rss_limit']} MiB a process" if spec.get("rss_limit") else None,
        "time limit": duration_text(spec["time_limit"]) if spec.get("time_limit") else None,
    }
    lines.update(_more_lines(found))
    shown = _shown(found["tasks"])
    lines.update((f"task {task['index']}", _task_line(task)) for task in shown)
    if (left := (spec.get("total_tasks") or 1) - len(shown)) > 0 and shown:
        lines["and"] = f"{left} more tasks, which --json has"
    lines.update(rungs.lines(found, now))
    if found.get("migration"):
        lines["migration"] = tables.migration(found["migration"], is_several(found))
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}}  {tables.printable(text)}" for name, text in lines.items())


def _more_lines(found: dict[str, Any]) -> dict[str, object]:
    """What only some jobs have."""
    spec = found["spec"]
    lines: dict[str, object] = {
        "attached": _attached(spec.get("interactive")),
        "comment": spec.get("comment"),
        "partition": spec.get("partition"),
        "on the end": spec.get("on_end"),
    }
    if spec.get("class", "single") != "single":
        counts = found.get("task_counts") or {}
        told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        lines["tasks"] = f"{spec['class']}, {spec['total_tasks']} tasks: {told}"
    return {name: value for name, value in lines.items() if value}


def _attached(how: str | None) -> str | None:
    return f"to kcms run, by {'a terminal' if how == 'terminal' else 'pipes'}" if how else None


def _shown(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many tasks as can be read: those that went wrong first, then those that run."""
    if len(tasks) <= SHOWN_TASKS:
        return tasks
    last = {**dict.fromkeys(ACTIVE, 1), "PENDING": 2, "COMPLETED": 2}
    chosen = sorted(tasks, key=lambda task: (last.get(task["state"], 0), task["index"]))
    return sorted(chosen[:SHOWN_TASKS], key=lambda task: int(task["index"]))


def _file(found: dict[str, Any], which: str) -> str | None:
    path = found["spec"][which]
    if path is None:
        return None
    name = expand(path, found["id"], 0, found["user"])
    several = found["spec"].get("class", "single") != "single"
    return f"{name} of task 0" if several and TASK in path else name


def _task_line(task: dict[str, Any]) -> str:
    said = [f"{task['state']} on {task['node']}" if task["node"] else str(task["state"])]
    if task.get("restarts"):
        said.append(f"begun anew {task['restarts']} times")
    record = task["exit"]
    if record is not None:
        said.append(tables.ending(record))
        if record.get("processes_killed"):
            said.append(f"{record['processes_killed']} processes killed")
        if record.get("processes_left"):
            said.append(f"{record['processes_left']} processes left")
    used = tables.took((record or {}).get("usage") or {})
    return ", ".join([*said, *filter(None, [task["message"], used])])


def job_or_task(text: str) -> tuple[int, ...]:
    """``12`` or ``12.3``: a job, or one task of it."""
    job, dot, task = text.partition(".")
    if dot and not (task.isascii() and task.isdigit() and len(task) < 10):
        raise argparse.ArgumentTypeError(f"must be a job as 12, or a task as 12.3, not {text!r}")
    return (whole_number(job), int(task)) if dot else (whole_number(job),)


def hold(words: list[str]) -> int:
    parser = Parser("hold", "Keep waiting jobs back until they are released.")
    return _each(parser, words, _act("hold"), lambda job: f"held by {job['held_by']}")


def release(words: list[str]) -> int:
    parser = Parser("release", "Let held jobs go their way.")
    return _each(parser, words, _act("release"), lambda job: "held no more")


def suspend(words: list[str]) -> int:
    parser = Parser("suspend", "Let running jobs stand still; they keep their slots and memory.")
    return _each(parser, words, _act("suspend"), _now)


def resume(words: list[str]) -> int:
    parser = Parser("resume", "Let suspended jobs go on.")
    return _each(parser, words, _act("resume"), _now)


def requeue(words: list[str]) -> int:
    parser = Parser("requeue", "End what runs of jobs, and let them wait again.")
    return _each(parser, words, _act("requeue"), _now)


def _now(job: dict[str, Any]) -> str:
    """A node takes a moment, of which the reason tells."""
    return str(job["reason"] or job["state"].lower())


def _act(act: str) -> Callable[[Client, int], dict[str, Any]]:
    return lambda caller, number: caller.act(act, number)


def _each(
    parser: Parser,
    words: list[str],
    act: Callable[[Client, int], dict[str, Any]],
    told: Callable[[dict[str, Any]], str],
) -> int:
    """Do something to each job that is named, and say of each what it is then."""
    parser.add_argument("ids", metavar="ID", type=whole_number, nargs="+")
    client_options(parser, "in whose name to do it; only root may say")
    options = parser.parse_args(words)
    return do_each(options, options.ids, act, lambda each, job: f"job {each} is {told(job)}")

"""What the pages show of jobs, processes and nodes.  Pure: documents in, words out.

The documents are those of API version 1 (docs/architecture.md), as the gateway passed them on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcms.client import FINAL_STATES, moved_name
from kcms.jobs.spec import duration_text
from kcms.web import words
from kcms.web.nodestates import DRAINED
from kcms.web.view import in_order

SHOWN_MOVES = 600.0
"""Seconds that the outcome of a migration stays on the process monitor."""

SHOWN_ENDED = 25
"""Ended processes of one node that are shown; a loop of a shell ends many a second."""

SHOWN_NODES = 4
KINDS = {
    "PENDING": "quiet",
    "RUNNING": "accent",
    "SUSPENDED": "late",
    "COMPLETED": "good",
    "CANCELLED": "late",
}
_UNDER_WAY = {
    "checking": "looking whether it can be moved",
    "preparing": "looking whether {target} can take it",
    "dumping": "frozen, and being written down",
    "restoring": "being built up on {target}",
}


@dataclass(frozen=True)
class ProcessRow:
    """One process; ``choice`` is its value in the form, empty when it cannot be chosen; ``takes``
    is what is known of its command line, CPU time and memory."""

    pid: int
    name: str
    state: str
    ended: str
    job: int
    user: str
    over: bool
    choice: str
    takes: str = ""


@dataclass(frozen=True)
class Column:
    """One node with its processes; ``more`` is how many ended ones are not shown."""

    node: str
    state: str
    said: str
    drained: bool
    rows: tuple[ProcessRow, ...]
    more: int = 0


def columns(
    nodes: Iterable[Mapping[str, Any]],
    processes: Iterable[Mapping[str, Any]],
    now: float,
    user: str | None,
) -> list[Column]:
    """A column a node, in the order of their numbers; the ended processes last, newest first.

    Only those of ``user`` can be chosen; with None all.
    """
    known = {str(node["name"]): node for node in nodes}
    rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in known}
    for process in sorted(processes, key=_in_column):
        rows.setdefault(str(process["node"]), []).append(process)
    return [
        _column(name, known.get(name, {}), [_process(each, now, user) for each in rows[name]])
        for name in sorted(rows, key=in_order)
    ]


def _column(name: str, node: Mapping[str, Any], processes: list[ProcessRow]) -> Column:
    alive = [each for each in processes if not each.over]
    over = [each for each in processes if each.over]
    state = "up" if node.get("state") == "UP" else "down"
    said = [f"{node.get('used', 0)} of {node.get('slots', 0)} slots used"]
    if node.get("drained"):
        said.append(str(node.get("availability") or "drained"))
    if state == "down":
        said = ["down"]
    drained = node.get("drained") is True
    shown = (*alive, *over[:SHOWN_ENDED])
    return Column(name, state, " · ".join(said), drained, shown, max(0, len(over) - SHOWN_ENDED))


def _in_column(row: Mapping[str, Any]) -> tuple[bool, float, int, int]:
    over = row["state"] != "R"
    return over, -float(row.get("ended") or 0) if over else 0.0, int(row["job"]), int(row["pid"])


def _process(row: Mapping[str, Any], now: float, user: str | None) -> ProcessRow:
    over = row["state"] != "R"
    ended = row.get("ended")
    since = f"{words.span(now - float(ended))} ago" if over and ended is not None else ""
    job, pid = int(row["job"]), int(row["pid"])
    return ProcessRow(
        pid=pid,
        name=words.visible(str(row["name"])),
        state=words.visible(str(row["state"])),
        ended=since,
        job=job,
        user=str(row.get("user") or ""),
        over=over,
        choice=f"{job}{_task(row)}/{pid}" if not over and user in (None, row.get("user")) else "",
        takes=_takes(row),
    )


def _task(row: Mapping[str, Any]) -> str:
    """Which task of its job, as ``.3``, when it is not the first."""
    task = int(row.get("task") or 0)
    return f".{task}" if task else ""


def _takes(row: Mapping[str, Any]) -> str:
    """``./sim 7 · 1m01s of CPU time · 20 MiB``; a node of an older release says none of it."""
    said = [words.visible(str(row.get("command") or ""))]
    if row.get("cpu_seconds") is not None:
        said.append(f"{words.span(float(row['cpu_seconds']))} of CPU time")
    if row.get("rss_kib") is not None:
        said.append(f"{int(row['rss_kib']) >> 10} MiB")
    return " · ".join(filter(None, said))


def targets(nodes: Iterable[Mapping[str, Any]], without: str = "") -> list[str]:
    """The nodes that a job may be moved to: up, in use, and not ``without``."""
    return sorted(
        (
            str(node["name"])
            for node in nodes
            if node.get("state") == "UP"
            and not node.get("drained")
            and node.get("availability") not in DRAINED
            and node["name"] != without
        ),
        key=in_order,
    )


@dataclass(frozen=True)
class Move:
    """What is to be said of a job's last migration."""

    job: int
    under_way: bool
    kind: str
    text: str


def move(job: Mapping[str, Any], now: float) -> Move | None:
    """The last migration of a job in a sentence; None when there is none."""
    row = job.get("migration")
    if not isinstance(row, Mapping) or row.get("check_only"):
        return None
    number, source, target = int(job["id"]), str(row["source"]), str(row["target"])
    what = moved_name(job)
    begun = what[0].upper() + what[1:]
    phase, why = str(row["phase"]), words.visible(str(row.get("message") or ""))
    ended = row.get("end_time")
    if ended is None:
        step = _UNDER_WAY.get(phase, phase).format(target=target)
        return Move(number, True, "moving", f"{begun} is moving to {target}: {step}.")
    when = f"{words.span(now - float(ended))} ago"
    if phase == "done":
        took = f"{max(float(ended) - float(row['start_time']), 0.0):.1f} s"
        text = f"{begun} moved from {source} to {target} in {took}{_stood(row)}, {when}."
        return Move(number, False, "good", text)
    reason = f": {why}" if why else ""
    text = {
        "refused": f"{begun} was not moved to {target}, {when}{reason}",
        "failed": f"{begun} could not be moved and goes on, {when}{reason}",
    }.get(phase, f"Migration of {what} to {target}, {when}: {phase}{reason}")
    return Move(number, False, "bad", text if text.endswith(".") else f"{text}.")


def _stood(row: Mapping[str, Any]) -> str:
    """How large a job that was moved is and for how long it stood still, as far as it is known."""
    size, seconds = row.get("bytes"), row.get("freeze_seconds")
    said = [] if size is None else [words.kibibytes(int(size) / 1024)]
    if seconds is not None:
        said.append(f"stood still for {words.number(float(seconds))} s")
    return f" ({', '.join(said)})" if said else ""


def moves(jobs: Iterable[Mapping[str, Any]], now: float) -> list[Move]:
    """What is under way or was lately, each job once, newest job last."""
    found: dict[int, Move] = {}
    for job in jobs:
        said = move(job, now)
        ended = (job.get("migration") or {}).get("end_time")
        if said is not None and (ended is None or now - float(ended) < SHOWN_MOVES):
            found[said.job] = said
    return [found[number] for number in sorted(found)]


@dataclass(frozen=True)
class JobRow:
    """One job of the results; ``kind`` is the colour of its state."""

    id: int
    name: str
    user: str
    state: str
    kind: str
    reason: str
    node: str
    submitted: str
    started: str
    ended: str
    took: str
    exit: str
    cpu: str
    active: bool = field(default=False)
    held: bool = False


def job_row(job: Mapping[str, Any], now: float) -> JobRow:
    """A job in words."""
    state, tasks = str(job["state"]), list(job.get("tasks") or ())
    start, end = job.get("start_time"), job.get("end_time")
    return JobRow(
        id=int(job["id"]),
        name=words.visible(str(job.get("name") or "")),
        user=str(job.get("user") or ""),
        state=state,
        kind=KINDS.get(state, "bad"),
        reason=words.visible(str(job.get("reason") or "")),
        node=node_words(tasks),
        submitted=words.moment(job.get("submit_time"), now),
        started=words.moment(start, now),
        ended=words.moment(end, now),
        took=_took(start, end, now),
        exit=exit_words(tasks),
        cpu=cpu_words(tasks),
        active=state not in FINAL_STATES,
        held=bool(job.get("held_by")),
    )


def node_words(tasks: Iterable[Mapping[str, Any]]) -> str:
    """The nodes that tasks are on."""
    names = list(dict.fromkeys(str(task["node"]) for task in tasks if task.get("node")))
    more = f" and {len(names) - SHOWN_NODES} more" if len(names) > SHOWN_NODES else ""
    return ", ".join(names[:SHOWN_NODES]) + more


def _took(start: Any, end: Any, now: float) -> str:
    if start is None:
        return ""
    return words.duration((now if end is None else float(end)) - float(start))


def exit_words(tasks: Iterable[Mapping[str, Any]]) -> str:
    """How the tasks ended: exit status or signal of the last one that has ended."""
    ends = [task["exit"] for task in tasks if task.get("exit")]
    if not ends:
        return ""
    last = ends[-1]
    if last.get("signal") is not None:
        return f"signal {last['signal']}"
    return "" if last.get("code") is None else str(last["code"])


def cpu_words(tasks: Iterable[Mapping[str, Any]]) -> str:
    """CPU seconds of all tasks that have ended; empty when none was told."""
    told = [
        float(task["exit"]["usage"]["cpu_seconds"])
        for task in tasks
        if task.get("exit") and (task["exit"].get("usage") or {}).get("cpu_seconds") is not None
    ]
    return f"{sum(told):.2f} s" if told else ""


def job_facts(
    job: Mapping[str, Any], row: JobRow, now: float, part: bool = False
) -> list[tuple[str, str]]:
    """Label and text of what is known of a job besides its specification; ``part``: what its tasks
    tell is told by those alone that are shown."""
    of = " of the tasks below" if part else ""
    memory = [
        float(task["exit"]["usage"]["max_rss_kib"])
        for task in job.get("tasks") or ()
        if task.get("exit") and (task["exit"].get("usage") or {}).get("max_rss_kib") is not None
    ]
    messages = [
        words.visible(str(task["message"])) for task in job.get("tasks") or () if task["message"]
    ]
    found = [
        ("Reason", row.reason),
        (f"Node{of}", row.node),
        ("User", row.user),
        ("Submitted", f"{row.submitted} on {job['submit_host']}" if row.submitted else ""),
        ("Started", row.started),
        ("Ended", row.ended),
        ("Ran for", row.took),
        (f"Exit{of}", row.exit),
        (f"CPU seconds{of}", row.cpu),
        (f"Memory at most{of}", words.kibibytes(max(memory)) if memory else ""),
        ("Killed by", str(job.get("killed_by") or "")),
        ("Held by", str(job.get("held_by") or "")),
        ("Its node says", "; ".join(dict.fromkeys(messages))),
    ]
    return [(label, text) for label, text in found if text]


def spec_facts(spec: Mapping[str, Any], fields: Iterable[Any]) -> list[tuple[str, list[str]]]:
    """Title and lines of every field of the specification that has a value."""
    found = []
    for each in fields:
        value = spec.get(each.name)
        if value is None or value is False or value in ("", [], {}):
            continue
        if isinstance(value, Mapping):
            lines = [f"{key}={text}" for key, text in value.items()]
        elif each.kind == "duration":
            lines = [duration_text(value) if value and isinstance(value, int) else value or "none"]
        elif each.kind == "size":
            lines = [f"{value} MiB"]
        elif each.kind == "moment":
            lines = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(value)))]
        elif value is True:
            lines = ["yes"]
        elif isinstance(value, list | tuple):
            lines = [str(text) for text in value]
        else:
            lines = [str(value)]
        found.append((each.title, [words.visible(line, keep="") for line in lines]))
    return found

"""What the page of a job says of its checkpoints, and what it offers.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcms.checkpointed import figures
from kcms.client import FINAL_STATES, is_several
from kcms.jobs import ladder
from kcms.jobs.spec import duration_text
from kcms.web import words

CHECKPOINT, RESTART = ("checkpoint", "Checkpoint"), ("restart", "Restart")


def facts(job: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    """Label and text; none where the manager is of a release that makes no checkpoints."""
    shown = job.get("checkpoint") or {}
    found = [
        ("Not saved", str(shown.get("failure") or "")),
        ("Begun from", str(shown.get("note") or "")),
    ]
    if shown and job["state"] not in FINAL_STATES:
        found = [
            ("Safety", f"{shown['rung']}: {shown['why']}"),
            ("Last checkpoint", _last(job, shown, now)),
            ("Being saved", _under_way(job, shown, now)),
            ("Saved every", _interval(shown)),
            *found,
        ]
    return [(label, words.visible(text)) for label, text in found if text]


def _last(job: Mapping[str, Any], shown: Mapping[str, Any], now: float) -> str:
    said, last, signalled = [], shown["last"], shown["signalled"]
    if last is not None:
        of = f" of task {last['task']}" if is_several(job) else ""
        when = f"{words.span(now - float(last['time']))} ago on {last['node']}"
        said.append(f"number {last['number']}{of}, {when}: {figures(last)}")
    if signalled is not None:
        said.append(f"asked to save itself {words.span(now - float(signalled))} ago")
    return "; ".join(said)


def _under_way(job: Mapping[str, Any], shown: Mapping[str, Any], now: float) -> str:
    rows = shown["under_way"]
    if not rows:
        return ""
    which = f"tasks {', '.join(str(each['task']) for each in rows)}, " if is_several(job) else ""
    since = words.span(now - float(rows[0]["start_time"]))
    return f"{which}asked for by {rows[0]['by']} {since} ago"


def _interval(shown: Mapping[str, Any]) -> str:
    if shown["interval"] is None:
        return ""
    return f"{duration_text(round(float(shown['interval'])))} ({shown['interval_why']})"


def is_under_way(job: Mapping[str, Any]) -> bool:
    """Whether the page is soon another one."""
    return bool((job.get("checkpoint") or {}).get("under_way")) or _is_restarted(job)


def offered(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What can be done to the job now, as far as its document tells: value and text of buttons."""
    shown, spec = job.get("checkpoint"), job["spec"]
    runs = job["state"] in ("RUNNING", "SUSPENDED") and not job.get("killed_by")
    if shown is None or not runs or job.get("fate") or ladder.impossible(dict(spec)):
        return []
    several, moving = is_several(job), job.get("migration") or {}
    moves = bool(moving) and moving["end_time"] is None and not moving["check_only"]
    busy = moves or (not several and (bool(shown["under_way"]) or _is_restarted(job)))
    own = spec.get("checkpoint_signal") or spec.get("restart_from_checkpoint")
    back = (shown["last"] or own) and (several or not _is_restarted(job))
    return ([] if busy else [CHECKPOINT]) + ([RESTART] if back else [])


def _is_restarted(job: Mapping[str, Any]) -> bool:
    tasks = job.get("tasks") or ()
    return any((each.get("checkpoint") or {}).get("restart_by") for each in tasks)

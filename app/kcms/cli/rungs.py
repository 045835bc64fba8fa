"""What ``kcms job`` says of a job's checkpoints."""

from __future__ import annotations

from kcms.checkpointed import figures
from kcms.cli import tables
from kcms.client import FINAL_STATES, is_several
from kcms.jobs.spec import duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def lines(job: dict[str, Any], now: float) -> dict[str, str]:
    """A line each; of one that is over, or of an older manager, only what there is to know."""
    shown = job.get("checkpoint") or {}
    found = {"begun from": shown.get("note"), "not saved": shown.get("failure")}
    if shown and job["state"] not in FINAL_STATES:
        several = is_several(job)
        found |= {
            "safety": f"{shown['rung']}: {shown['why']}",
            "checkpoint": _last(shown, now, several),
            "being saved": _under_way(shown, now, several),
            "interval": _interval(shown),
        }
    order = ("safety", "checkpoint", "being saved", "not saved", "interval", "begun from")
    return {name: str(found[name]) for name in order if found.get(name)}


def _last(shown: dict[str, Any], now: float, several: bool) -> str:
    said, last, signalled = [], shown["last"], shown["signalled"]
    if last is not None:
        which = f"number {last['number']}" + (f" of task {last['task']}" if several else "")
        age = tables.duration(now - last["time"])
        said.append(f"{which}, {age} ago on {last['node']}: {figures(last)}")
    if signalled is not None:
        age = tables.duration(now - signalled)
        said.append(f"asked to save itself {age} ago")
    return "; ".join(said)


def _under_way(shown: dict[str, Any], now: float, several: bool) -> str:
    rows = shown["under_way"]
    if not rows:
        return ""
    first = rows[0]
    which = f"tasks {', '.join(str(each['task']) for each in rows)}, " if several else ""
    doing = "being made" if any(each["begun"] for each in rows) else "waiting for its turn"
    since = tables.duration(now - first["start_time"])
    return f"{which}{doing}, asked for by {first['by']} {since} ago"


def _interval(shown: dict[str, Any]) -> str:
    if shown["interval"] is None:
        return ""
    return f"{duration_text(round(shown['interval']))} ({shown['interval_why']})"

"""Words and columns for people.  Pure: the present time is an argument."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kcms.client import figures_of_move, is_several
from kcms.terminal import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

ABSENT = "-"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> str:
    """Columns two spaces apart; the headers named in ``right`` are of figures, set to the right."""
    cells = [list(header), *[[printable(each) for each in row] for row in rows]]
    widths = [max(width(row[at]) for row in cells) for at in range(len(header))]
    figures = [each in right.split() for each in header]
    lines = []
    for row in cells:
        padded = [
            _padded(cell, columns, figure)
            for cell, columns, figure in zip(row, widths, figures, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _padded(cell: str, columns: int, figure: bool) -> str:
    blanks = " " * (columns - width(cell))
    return blanks + cell if figure else cell + blanks


def width(text: str) -> int:
    """Columns of a terminal: two for the wide characters of East Asia, none for those that combine.

    Source: Unicode Standard Annex 11, East Asian Width, classes W and F.
    """
    if text.isascii():
        return len(text)
    import unicodedata  # only where it is needed: 1 ms

    def columns(each: str) -> int:
        if unicodedata.combining(each) or unicodedata.category(each) in ("Mn", "Me"):
            return 0
        return 2 if unicodedata.east_asian_width(each) in "WF" else 1

    return sum(map(columns, text))


def printable(value: object) -> str:
    """Text without what would move a terminal's cursor; nothing at all shows as a dash."""
    return plain("" if value is None else str(value)) or ABSENT


def duration(seconds: float | None) -> str:
    """The two largest units: ``42s``, ``5m07s``, ``3h05m``, ``2d04h``."""
    if seconds is None:
        return ABSENT
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02d}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02d}h"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as this host's local time."""
    if seconds is None:
        return ABSENT
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # no time of any calendar
        return str(seconds)


def ending(record: dict[str, Any] | None) -> str:
    """A task's exit: ``exit 3``, ``signal 9``."""
    if record is None:
        return ABSENT
    if record.get("signal") is not None:
        return f"signal {record['signal']}"
    return f"exit {record.get('code')}"


def size(count: float) -> str:
    """Bytes in the largest unit of which there is one: ``512 B``, ``1.5 MiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    power = 1
    while count >= 1024 ** (power + 1) and power < len(_UNITS):
        power += 1
    return f"{count / 1024**power:.1f} {_UNITS[power - 1]}iB"


_UNITS = "KMGTP"


def took(usage: dict[str, Any]) -> str:
    """What a task took, as far as its node says it, and where a figure comes from."""
    said, sources = [], usage.get("sources") or {}
    if usage.get("cpu_seconds") is not None:
        parts = [f"{usage[f'{each}_seconds']:.2f} {each}" for each in ("user", "system")
                 if usage.get(f"{each}_seconds") is not None]  # fmt: skip
        said.append((f"CPU {usage['cpu_seconds']:.2f} s", ", ".join(parts), "cpu"))
    if usage.get("max_rss_kib") is not None:
        said.append((f"memory {size(usage['max_rss_kib'] * 1024)}", "", "memory"))
    if usage.get("read_bytes") is not None and usage.get("write_bytes") is not None:
        text = f"read {size(usage['read_bytes'])} and wrote {size(usage['write_bytes'])}"
        said.append((text, "", "io"))
    return ", ".join(
        text + (f" ({more})" if (more := "; ".join(filter(None, (part, sources.get(of))))) else "")
        for text, part, of in said
    )


def ran(job: dict[str, Any], now: float) -> float | None:
    """Seconds from a job's start to its end, or to now; 0 when a clock was set back meanwhile."""
    if job.get("start_time") is None:
        return None
    end = job.get("end_time")
    return max(float((now if end is None else end) - job["start_time"]), 0.0)


def note(job: dict[str, Any]) -> str:
    """What there is to know beside the state: why it waits, how it ended."""
    over = job.get("end_time") is not None  # if not, tasks of it may have ended all the same
    tasks = (job.get("tasks") or []) if over else []
    said = [ending(task["exit"]) for task in tasks if task.get("exit")]
    moving = job.get("migration") or {}
    if moving and moving["end_time"] is None and not moving["check_only"]:
        which = f"task {moving.get('task', 0)} " if is_several(job) else ""
        said.append(f"{which}moving to {moving['target']}")
    reason = job.get("reason") or ""
    if job.get("killed_by"):
        said.append(f"killed by {job['killed_by']}")
        reason = "" if "killed" in reason else reason
    if reason and (not said or job.get("killed_by")):
        said.append(reason)
    return ", ".join(dict.fromkeys(said))


def migration(moving: dict[str, Any], several: bool = False) -> str:
    """A job's last migration, or the last time that somebody asked whether it could move.

    :param several: whether the job has more than one task
    """
    phase, by = moving["phase"], moving["by"]
    which = f"task {moving.get('task', 0)} from " if several else ""
    said = f"{which}{moving['source']} to {moving['target']}, {phase}"
    if moving["check_only"]:
        said = f"only checked: {said}"
    figures = figures_of_move(moving)
    said += f", {figures}" if figures else ""
    said += f" (asked for by {by}, {moment(moving['end_time'] or moving['start_time'])})"
    return f"{said}: {moving['message']}" if moving["message"] else said

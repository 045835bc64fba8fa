"""When this node was last heard by its manager, and how long a task may run on that.

The daemon writes the boot time at which it *sent* its last report that was answered, so never a
later one than the manager counts from.  It lies in memory (tmpfs), where a full disk takes nobody's
lease.  Loaded by every task's PID 1, hence so few imports.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH105, PTH118, PTH123

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "heard"
INTERVAL = 1.0
CAUSE = "lease"  # as in kcms.jobs.model, which would cost every init time and memory


def write(directory: str, boot_id: str, boottime: float) -> None:
    """Say when the node was heard; whole or not at all.  :raises OSError: no room"""
    new = os.path.join(directory, f".{NAME}")
    with open(new, "w", encoding="ascii") as file:
        file.write(f"{boot_id} {boottime:.3f}\n")
    os.replace(new, os.path.join(directory, NAME))


def read(directory: str, boot_id: str) -> float | None:
    """The boot time at which the node was heard in this boot; None when that is not known."""
    try:
        with open(os.path.join(directory, NAME), encoding="ascii") as file:
            boot, when = file.read().split()
        return float(when) if boot == boot_id else None
    except (OSError, ValueError):
        return None


class Lease:
    """Of one task, from its plan (see records.py); false when it has none."""

    def __init__(self, plan: dict[str, Any], boot_id: str) -> None:
        self.seconds = float(plan["wanted"].get("lease") or 0.0)
        self._directory = str(plan.get("runtime") or "")
        self._boot_id = boot_id
        self._look_at = 0.0

    def __bool__(self) -> bool:
        return self.seconds > 0.0

    def expired(self, now: float) -> str:
        """One sentence when the node was not heard for too long at boot time ``now``, else ""."""
        if not self or now < self._look_at:
            return ""
        self._look_at = now + INTERVAL
        heard = read(self._directory, self._boot_id)
        if heard is not None and now - heard <= self.seconds:
            return ""
        return (
            f"its manager did not hear of the node for {self.seconds:g} s, so it was ended to be "
            "begun anew elsewhere"
        )

"""Tasks that run on this host, as systemd and the cgroup tree know them, and their end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import Systemd

UNIT = re.compile(r"kcms-task-(\d+)\.[0-9.]+(?:-[0-9a-f]+)?\.service")
SLICES = ("kcms-tasks.slice", "kcms.slice")
CGROUPS = "/sys/fs/cgroup"
# An init leaves its program five seconds, and systemd the init twenty.
EMPTY_SECONDS = 30.0


class Tasks:
    """The tasks of one host; ``cgroups`` is where the tree of PID 1 is."""

    def __init__(self, systemd: Systemd, cgroups: str = "") -> None:
        self.systemd = systemd
        self.cgroups = Path(cgroups or tree_of_host())

    @staticmethod
    def is_task(unit: str) -> bool:
        return UNIT.fullmatch(unit) is not None

    def running(self) -> list[str]:
        """Numbers of the jobs with a process here, also one that is frozen; in their order."""
        units = [name for name in self.systemd.loaded("kcms-task-*") if self.is_task(name)]
        living = {path.name for path in self._trees() if _populated(path)}
        starting = {name for name, state in self.systemd.states(units).items() if state.lives}
        found = {match[1] for name in living | starting if (match := UNIT.fullmatch(name))}
        return sorted(found, key=int)

    def end(self) -> None:
        """End every task; the init records it.  :raises HostError: a process is still there"""
        for path in self._trees():
            for freezer in path.glob("**/cgroup.freeze"):
                with suppress(OSError):
                    freezer.write_text("0")
        units = [name for name in self.systemd.loaded("kcms-task-*") if self.is_task(name)]
        self.systemd.stop(units)
        for path in self._trees():
            with suppress(OSError):
                (path / "cgroup.kill").write_text("1")
        left = self._wait()
        if left:
            raise HostError(f"processes are still there, in {', '.join(left)}")
        self.systemd.stop([name for name in SLICES if name in self.systemd.loaded("kcms*.slice")])

    def _wait(self) -> list[str]:
        deadline = time.monotonic() + EMPTY_SECONDS
        while True:
            left = [path.name for path in self._trees() if _populated(path)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)

    def _trees(self) -> Iterator[Path]:
        """Of this host alone: a container below it has a tree of its own."""
        yield from sorted(self.cgroups.glob("kcms.slice/kcms-tasks.slice/kcms-task-*"))


def tree_of_host() -> str:
    """Where the cgroups of this host's systemd begin."""
    for line in Path("/proc/1/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return CGROUPS + line[3:].removesuffix("/init.scope").rstrip("/")
    return CGROUPS


def _populated(path: Path) -> bool:
    try:
        return "populated 1" in (path / "cgroup.events").read_text()
    except OSError:  # it has gone meanwhile
        return False

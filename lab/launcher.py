"""Starting things that outlive the command that starts them, and ending them without a trace.

Under systemd each becomes a transient service.  Where process 1 is something else, each gets a
control group of its own below ``kcms-lab.LAB``: without that, all hosts would share one tree and
each host's systemd would see, freeze and kill the others' units.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Protocol

from lab.errors import LabError
from lab.processes import mount_points
from lab.shell import run, succeeds

REBOOT_STATUS = 133  # systemd-nspawn ends with it when the host wants to be started again
_PATIENCE = 15.0  # s, for killed processes to be gone

# $1 = control group of the host, $2... = command.  The loop itself stands in another group, since
# a group with processes of its own cannot hand controllers to the host below it.
_LOOP = f"""
group=$1
shift
while :; do
  mkdir -p "$group"
  sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" "$@"
  status=$?
  [ $status -eq {REBOOT_STATUS} ] || exit $status
  find "$group" -depth -type d -exec rmdir {{}} +
done
"""


class Launcher(Protocol):
    """How the programs of one lab are started and ended; ``name`` is a host's or ``proxy``."""

    def start(self, name: str, command: list[str], log: Path) -> None:
        """Start a program, again when it ends with REBOOT_STATUS; its output is added to log."""

    def runs(self, name: str) -> bool:
        """Whether any process of it is left."""

    def kill(self, name: str) -> None:
        """Kill every process of it and wait until none is left."""

    def kill_all(self) -> None:
        """Kill everything of this lab, whatever it is called."""


def launcher(lab: str) -> Launcher:
    """The launcher that fits this machine."""
    if Path("/run/systemd/system").is_dir():
        return SystemdLauncher(lab)
    return CgroupLauncher(lab)


class SystemdLauncher:
    """Transient services ``kcms-lab-LAB-NAME.service``."""

    def __init__(self, lab: str) -> None:
        self.prefix = f"kcms-lab-{lab}--"

    def unit(self, name: str) -> str:
        return f"{self.prefix}{name}.service"

    def start(self, name: str, command: list[str], log: Path) -> None:
        properties = {
            "Delegate": "yes",
            "KillMode": "mixed",
            "TasksMax": "infinity",
            "RestartForceExitStatus": str(REBOOT_STATUS),
            "SuccessExitStatus": str(REBOOT_STATUS),
            "StandardInput": "null",
            "StandardOutput": f"append:{log}",
            "StandardError": f"append:{log}",
        }
        options = [f"--property={key}={value}" for key, value in properties.items()]
        unit = self.unit(name)
        run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *options, "--", *command)

    def runs(self, name: str) -> bool:
        # Between two boots it is activating, which is-active would call dead.
        show = run("systemctl", "show", "--property=ActiveState", "--value", self.unit(name))
        return show.strip() not in ("inactive", "failed")

    def kill(self, name: str) -> None:
        self._kill(self.unit(name))

    def kill_all(self) -> None:
        pattern = f"{self.prefix}*.service"
        text = run("systemctl", "list-units", "--all", "--plain", "--no-legend", pattern)
        for line in text.splitlines():
            self._kill(line.split()[0])

    def _kill(self, unit: str) -> None:
        succeeds("systemctl", "kill", "--kill-who=all", "--signal=SIGKILL", unit)
        succeeds("systemctl", "stop", unit)
        succeeds("systemctl", "reset-failed", unit)


class CgroupLauncher:
    """Control groups ``kcms-lab.LAB/NAME`` in the version 2 tree."""

    def __init__(self, lab: str) -> None:
        mounts = mount_points("cgroup2")
        if not mounts:
            raise LabError(
                "no cgroup2 file system is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified`"
            )
        self.top = mounts[0] / f"kcms-lab.{lab}"
        # systemd-nspawn copies the path into systemd's old tree where there is one.
        self.copies = [m / self.top.name for m in mount_points("cgroup", "name=systemd")]

    def start(self, name: str, command: list[str], log: Path) -> None:
        loops = self.top / f"{name}.loop"
        loops.mkdir(parents=True, exist_ok=True)
        script = 'echo $$ > "$0/cgroup.procs" && exec sh -c "$@"'
        argv = ["sh", "-c", script, str(loops), _LOOP, "sh", str(self.top / name), *command]
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        # Only in its group can kill() find it.
        while not _populated(loops) and process.poll() is None:
            time.sleep(0.005)

    def runs(self, name: str) -> bool:
        return any(_populated(self.top / part) for part in (f"{name}.loop", name))

    def kill(self, name: str) -> None:
        # The loop first: it could start the host once more.
        for part in (f"{name}.loop", name):
            _end_group(self.top / part)
            for copy in self.copies:
                _remove_groups(copy / part)

    def kill_all(self) -> None:
        for loop in self.top.glob("*.loop"):
            _end_group(loop)
        _end_group(self.top)
        for copy in self.copies:
            _remove_groups(copy)


def _populated(group: Path) -> bool:
    try:
        return "populated 1" in (group / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def _end_group(group: Path) -> None:
    """Kill every process in and below a group, then remove the groups."""
    end = time.monotonic() + _PATIENCE
    while _populated(group):
        if time.monotonic() > end:
            raise LabError(f"processes of {group} survive SIGKILL: see its cgroup.procs")
        (group / "cgroup.kill").write_text("1")
        time.sleep(0.02)
    _remove_groups(group)


def _remove_groups(group: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while group.is_dir():
        # Children before their parents; a group may be busy for a moment after its last process.
        succeeds("find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+")
        if group.is_dir() and time.monotonic() > end:
            raise LabError(f"the control group {group} cannot be removed: something uses it")
        time.sleep(0.02)

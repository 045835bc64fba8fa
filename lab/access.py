"""Running a command on a host without the network, so that it works on a host that is cut off."""

from __future__ import annotations

import os
from pathlib import Path

from lab.errors import LabError
from lab.model import Host
from lab.processes import cgroup_of, find_init, mount_points

# A login's environment; nothing of the caller's gets onto the host.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
}


def enter_command(init: int, command: list[str]) -> list[str]:
    """The arguments that run a command as root in all namespaces of a host's first process."""
    environment = {**_ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")}
    words = [f"{key}={value}" for key, value in environment.items()]
    shell = ["sh", "-c", 'cd && exec "$@"', "sh"]
    return ["nsenter", "--all", f"--target={init}", "--", "env", "-i", *words, *shell, *command]


def execute(host: Host, command: list[str]) -> None:
    """Become the command on the host; does not return.  Raises LabError when the host is off."""
    init = find_init(host.machine_id)
    if init is None:
        raise LabError(f"{host.name} is off: `python3 -m lab start {host.name}`")
    _join(init)
    argv = enter_command(init, command)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is meant
    except OSError as error:
        raise LabError(f"{argv[0]} cannot be run: {error.strerror}") from None


def _join(init: int) -> None:
    """Move into the host's control group, so that the command is the host's and dies with it."""
    group = cgroup_of(init)
    mounts = mount_points("cgroup2")
    if group is None or not mounts:
        return
    Path(mounts[0], group, "cgroup.procs").write_text(str(os.getpid()))

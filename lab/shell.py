"""Running the programs this package stands on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from lab.errors import LabError

# program: the Debian package that has it
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
}


def run(*command: str, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; its output.  Raises LabError with its last lines."""
    result = _call(command, text, env)
    if result.returncode:
        tail = "\n".join(result.stdout.strip().splitlines()[-12:])
        raise LabError(f"{' '.join(command)}: exit status {result.returncode}\n{tail}".rstrip())
    return result.stdout


def succeeds(*command: str) -> bool:
    """Run a program whose failure is an answer, not an error."""
    return _call(command, None, None).returncode == 0


def _call(
    command: tuple[str, ...], text: str | None, env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(missing_line([command[0]])) from None


def require_programs() -> None:
    """Raise LabError naming the packages to install when a program is missing."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        raise LabError(missing_line(missing))


def missing_line(programs: list[str]) -> str:
    packages = sorted({NEEDED.get(program, program) for program in programs})
    return (
        f"{', '.join(programs)} not found: install {' '.join(packages)} "
        "(`make setup` does), with /usr/sbin and /sbin on the PATH"
    )

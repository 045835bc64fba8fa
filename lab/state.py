"""Where labs keep their state, and the locks that keep two callers apart."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.model import Host, Lab

STATE = Path("/var/lib/kcms-lab")
LOCKS = Path("/run/lock")
CHECKOUT = Path(__file__).resolve().parent.parent


class Paths:
    """The files of one lab."""

    def __init__(self, name: str) -> None:
        self.top = STATE / name
        self.description = self.top / "lab.json"
        self.ssh = self.top / "ssh"
        self.key = self.ssh / "id_ed25519"
        self.known_hosts = self.ssh / "known_hosts"
        self.shared = self.top / "shared"
        self.pki = self.top / "pki"
        self.inventory = self.top / "inventory" / "hosts.yml"
        self.password = self.top / "admin_password"
        self.admin_vars = self.top / "admin_vars.yml"
        self.proxy = self.top / "proxy"
        self.hosts = self.top / "hosts"

    def host(self, host: Host) -> HostPaths:
        return HostPaths(self.hosts / host.name)


class HostPaths:
    """The files of one host."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.upper = top / "upper"
        self.work = top / "work"
        self.root = top / "root"
        self.console = top / "console.log"
        self.boot_script = top / "boot.sh"
        self.host_key = top / "ssh_host_ed25519_key"


def load(paths: Paths) -> Lab | None:
    """The lab as it was last saved; None when there is none."""
    try:
        return Lab.from_json(paths.description.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise LabError(
            f"{paths.description} cannot be read ({error}): `python3 -m lab down` removes the lab"
        ) from None


def save(paths: Paths, lab: Lab) -> None:
    write(paths.description, lab.to_json())


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write a file at once, with its mode; True when its content is new."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    temporary.rename(path)
    return True


def remove_tree(path: Path) -> None:
    """Delete a directory without leaving its file system; nothing to do when it is not there."""
    if not path.exists():
        return
    command = ["rm", "-rf", "--one-file-system", "--", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        raise LabError(f"{path} cannot be removed: {lines[-1] if lines else 'rm failed'}")


def names() -> list[str]:
    """The labs that have a state directory on this machine."""
    if not STATE.is_dir():
        return []
    return sorted(path.name for path in STATE.iterdir() if path.is_dir())


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock of this machine by name, waiting for whoever has it."""
    path = LOCKS / f"kcms-lab-{name}"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            _wait_for(descriptor, name)
            if _is_still(path, descriptor):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _wait_for(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another command that works on {name}", flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is still the one of that name: its last holder removed it."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False

"""The command on a machine outside the grid: this one, with a home and keys of the test's own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.grid import ROOT, Grid

SSH = """\
Host head
  HostName {address}
  User {user}
  IdentityFile {keys}/id_ed25519
  IdentitiesOnly yes
"""


def _heed_interrupts() -> None:
    """As at a terminal; a shell that runs tests in the background has them ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Laptop:
    """``kcms --via`` as a user has it, from a checkout; its ``home`` takes what she makes."""

    def __init__(self, grid: Grid, home: Path, user: str = "alice") -> None:
        self.grid = grid
        self.home = home
        self.shared = Path(grid.inventory).parent.parent / "shared"
        keys = Path(grid.inventory).parent.parent / "ssh"
        self.address = grid.address("head")
        (home / ".ssh").mkdir(mode=0o700)
        (home / ".ssh/config").write_text(SSH.format(address=self.address, keys=keys, user=user))
        (home / ".ssh/known_hosts").write_text((keys / "known_hosts").read_text())
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "app"),
            "KCMS_VIA": "head",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "kcms", *words],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )

    def kcms(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which has to be ``status``."""
        running = self.start(*words)
        try:
            output, errors = running.communicate(timeout=180)
        except BaseException:
            running.kill()
            running.communicate()
            raise
        assert running.returncode == status, f"{words}: {output}{errors}"
        return subprocess.CompletedProcess(words, running.returncode, output, errors)

    def broken_off(self, *words: str, how: int, reached: Callable[[], bool]) -> int:
        """Start a command and end it by a signal once ``reached``; its exit status."""
        running = self.start(*words)
        while running.poll() is None and not reached():
            time.sleep(0.005)
        assert running.poll() is None, f"over before it could be broken off: {running.stderr}"
        running.send_signal(how)
        running.communicate(timeout=30)
        return running.returncode

    def file(self, name: str, content: bytes | str, mode: int = 0o755) -> Path:
        path = self.home / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def submit(self, *words: str) -> int:
        """Submit a job; its number."""
        said = self.kcms("submit", *words).stdout.split()
        assert said[0] == "job"
        return int(said[1])


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: Path) -> int:
    """Bytes of a file; 0 when it is not there."""
    return path.stat().st_size if path.exists() else 0


KILL, INTERRUPT = signal.SIGKILL, signal.SIGINT

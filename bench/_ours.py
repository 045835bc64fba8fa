"""Our daemons on this machine, for measurements: a manager, and gateways of a node and the head."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / each) for each in ("", "app", "collections")]
sys.path[:0] = [each for each in PATHS if each not in sys.path]

from tests.certificates import make_site  # noqa: E402
from tests.integration import test_face_daemons as face  # noqa: E402

LAUNCHER = ROOT / "roles/common/templates/kcms.py.j2"
RELEASE = "/opt/kcms/current"
ALICE = face.ALICE
__all__ = ["ALICE", "ROOT", "command", "face", "ours"]


@contextlib.contextmanager
def ours(home: Path, **manager: Any) -> Iterator[face.Grid]:
    """A manager, with these settings of its own, and gateways; users' files are below ``home``.

    The sockets are ``home``/alpha1.sock and ``home``/head.sock.
    """
    grid = face.Grid(home, make_site(home / "site"))
    face.prepare_files(grid)
    try:
        face.start_daemons(grid, **manager)
        yield grid
    finally:
        grid.stop()


def command(home: Path) -> str:
    """Our command as on a host: the role's own launcher, and a byte-compiled copy of the code."""
    app = home / "app"
    shutil.copytree(ROOT / "app/kcms", app / "kcms", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", str(app)], check=True)
    launcher = home / "kcms"
    launcher.write_text(LAUNCHER.read_text().replace(RELEASE, str(app)))
    launcher.chmod(0o755)
    return str(launcher)

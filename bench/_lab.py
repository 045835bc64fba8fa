"""A node of ours on a lab host, for measurements: its tasks are units of a real systemd.

The host shares the machine's kernel and processors, and a directory with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._ours import ROOT, face
from tests.lab_node.hardening import HARDENING

NAME = os.environ.get("LAB", "bench")
HOST = "alpha1"
CODE = "/opt/kcms-bench"
UNIT = "kcms-bench-node"
STATE = "kcms-bench-node"
START = f"""
import sys
sys.path.insert(0, "{CODE}")
from kcms.config import NodeConfig, load
from kcms.node.daemon import main
sys.exit(main(load(NodeConfig, "{CODE}/node.toml")))
"""


@dataclass(frozen=True)
class Lab:
    """One that stands; ``shared`` is a new directory with the same path here and on the host."""

    shared: Path
    address: str  # of this machine, as the host sees it

    def run(self, script: str, given: bytes = b"") -> str:
        """What a shell script printed on the host.  :raises SystemExit: it failed"""
        return _run(["exec", HOST, "sh", "-c", script], given)

    def write(self, path: str, content: bytes) -> None:
        self.run(f"umask 077; cat > {path}", content)


def _run(words: list[str], given: bytes = b"") -> str:
    command = [sys.executable, "-m", "lab", *words]
    environment = {**os.environ, "LAB": NAME, "LAB_HOSTS": "alpha=1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, check=False, input=given
    )
    if done.returncode:
        raise SystemExit(f"bench: lab {words[0]} failed: {done.stderr.decode().strip()[-500:]}")
    return done.stdout.decode()


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """A lab of one host, which stays when it stood before."""
    there = Path(f"/var/lib/kcms-lab/{NAME}/shared")
    stood = there.exists()
    _run(["up"])
    try:
        here = tempfile.mkdtemp(prefix="bench-", dir=there)
        Path(here).chmod(0o755)
        made = Lab(Path(here), _address())
        try:
            # The same path on both sides: jobs name files by it.
            made.run(f"mkdir -p {there.parent} && ln -sfn /shared {there}")
            yield made
        finally:
            subprocess.run(["rm", "-rf", here], check=False)
    finally:
        if not stood:
            _run(["down"])


def _address() -> str:
    status = _run(["exec", HOST, "sh", "-c", "hostname -I"]).split()
    return status[0].rpartition(".")[0] + ".1"


@contextlib.contextmanager
def node(made: Lab, grid: face.Grid, port: int, slots: int) -> Iterator[None]:
    """The node daemon on the host, as its role's unit starts it."""
    certificate, key = grid.site.issue("node-alpha1", ("kcms://node/alpha1",))
    made.run(f"rm -rf {CODE} /var/lib/{STATE}; mkdir -p {CODE}")
    made.run(f"cd {CODE} && tar xzf -", _code())
    for name, source in (("ca", grid.site.ca_path), ("node", certificate), ("key", key)):
        made.write(f"{CODE}/{name}.pem", Path(source).read_bytes())
    settings: dict[str, Any] = {
        "host": "alpha1",
        "cluster": "alpha",
        "manager_address": made.address,
        "manager_port": port,
        "slots": slots,
        "state_directory": f"/var/lib/{STATE}",
        "tls_ca": f"{CODE}/ca.pem",
        "tls_certificate": f"{CODE}/node.pem",
        "tls_key": f"{CODE}/key.pem",
        "shared_directories": [str(made.shared)],
    }
    made.write(f"{CODE}/node.toml", face.toml(settings).encode())
    made.write(f"{CODE}/start.py", START.encode())
    made.run(f"/usr/bin/python3 -m compileall -q {CODE}")
    try:
        made.run(f"systemd-run --quiet --unit={UNIT} {_options()} /usr/bin/python3 {CODE}/start.py")
        yield
    finally:
        made.run(
            f"systemctl stop {UNIT}; systemctl stop 'kcms-task-*'; systemctl reset-failed;"
            f"rm -rf {CODE} /var/lib/{STATE}; true"
        )


def _options() -> str:
    kept = [each for each in HARDENING if not each.startswith("StateDirectory=")]
    words = ["Type=notify", f"StateDirectory={STATE}", *kept]
    return " ".join(f"-p {each}" for each in words)


def _code() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted((ROOT / "app/kcms").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.add(path, str(path.relative_to(ROOT / "app")))
    return buffer.getvalue()


def status(made: Lab) -> dict[str, Any]:
    """What systemd says of the node daemon."""
    told = made.run(f"systemctl show {UNIT} -p MainPID,CPUUsageNSec --no-pager")
    return dict(line.partition("=")[::2] for line in told.splitlines())


def dumped(document: Any) -> bytes:
    return json.dumps(document).encode()

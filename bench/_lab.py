"""Nodes of ours on lab hosts, for measurements: their tasks are units of a real systemd.

The hosts share the machine's kernel and processors, and a directory with it.
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
OVER = "--over--"
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
    """One that stands; ``shared`` is a new directory with the same path here and on the hosts."""

    shared: Path
    address: str  # of this machine, as the hosts see it

    def run(self, script: str, given: bytes = b"", host: str = HOST) -> str:
        """What a shell script printed on the host.  :raises SystemExit: it failed"""
        return _run(["exec", host, "sh", "-c", script], given)

    def write(self, path: str, content: bytes, host: str = HOST) -> None:
        self.run(f"umask 077; cat > {path}", content, host)


class Shell:
    """A shell of root's on a host that stays, so that a command costs no way to get there."""

    def __init__(self, host: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab", "exec", host, "sh"], cwd=ROOT,
            env={**os.environ, "LAB": NAME}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def run(self, script: str) -> str:
        """What the script printed.  :raises SystemExit: it failed, or the shell ended"""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{{ {script}\n}} < /dev/null; echo "{OVER} $?"\n')
        self._process.stdin.flush()
        told = ""
        for line in self._process.stdout:
            if line.startswith(OVER):
                if line.split()[1] != "0":
                    raise SystemExit(f"bench: a command failed on a lab host: {script}: {told}")
                return told
            told += line
        raise SystemExit("bench: the shell on a lab host ended")

    def close(self) -> None:
        self._process.communicate()


def _run(words: list[str], given: bytes = b"", hosts: int = 1) -> str:
    command = [sys.executable, "-m", "lab", *words]
    environment = {**os.environ, "LAB": NAME, "LAB_HOSTS": f"alpha={hosts}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, check=False, input=given
    )
    if done.returncode:
        raise SystemExit(f"bench: lab {words[0]} failed: {done.stderr.decode().strip()[-500:]}")
    return done.stdout.decode()


@contextlib.contextmanager
def lab(hosts: int = 1) -> Iterator[Lab]:
    """A lab of some hosts, alpha1 and so on, which stays when it stood before."""
    there = Path(f"/var/lib/kcms-lab/{NAME}/shared")
    stood = there.exists()
    _run(["up"], hosts=hosts)
    try:
        here = tempfile.mkdtemp(prefix="bench-", dir=there)
        Path(here).chmod(0o755)
        made = Lab(Path(here), _address())
        try:
            # The same path on both sides: jobs name files by it.
            for each in range(hosts):
                link = f"mkdir -p {there.parent} && ln -sfn /shared {there}"
                made.run(link, host=f"alpha{each + 1}")
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
def node(
    made: Lab, grid: face.Grid, port: int, slots: int, host: str = HOST, shared: str = ""
) -> Iterator[None]:
    """The node daemon on a host, as its role's unit starts it.

    :param shared: its shared directory, the lab's when there is none
    """
    certificate, key = grid.site.issue(f"node-{host}", (f"kcms://node/{host}",))
    made.run(f"rm -rf {CODE} /var/lib/{STATE}; mkdir -p {CODE}", host=host)
    made.run(f"cd {CODE} && tar xzf -", _code(), host)
    for name, source in (("ca", grid.site.ca_path), ("node", certificate), ("key", key)):
        made.write(f"{CODE}/{name}.pem", Path(source).read_bytes(), host)
    settings: dict[str, Any] = {
        "host": host,
        "cluster": "alpha",
        "manager_address": made.address,
        "manager_port": port,
        "slots": slots,
        "state_directory": f"/var/lib/{STATE}",
        "tls_ca": f"{CODE}/ca.pem",
        "tls_certificate": f"{CODE}/node.pem",
        "tls_key": f"{CODE}/key.pem",
        "shared_directories": [shared or str(made.shared)],
    }
    made.write(f"{CODE}/node.toml", face.toml(settings).encode(), host)
    made.write(f"{CODE}/start.py", START.encode(), host)
    made.run(f"/usr/bin/python3 -m compileall -q {CODE}", host=host)
    begin = f"systemd-run --quiet --unit={UNIT} {_options()} /usr/bin/python3 {CODE}/start.py"
    try:
        made.run(begin, host=host)
        yield
    finally:
        made.run(
            f"systemctl stop {UNIT}; systemctl stop 'kcms-task-*'; systemctl reset-failed;"
            f"rm -rf {CODE} /var/lib/{STATE}; true",
            host=host,
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

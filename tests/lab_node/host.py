"""One host under test: shell on it, our code, a manager and the node daemon."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import tarfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import Authority, Request

from tests.lab_node.hardening import HARDENING

ROOT = Path(__file__).resolve().parents[2]
CODE = "/opt/kcms-nodetest/releases/1"
STATE = "/var/lib/kcms-nodetest"
WORK = "/run/kcms-nodetest"
PORT = 18660
STORE = "5e1f0a2b"
ALICE = "/home/kcmsalice"
DAEMON = """
import sys, time
sys.path.insert(0, "{code}")
clock = time.time
def set_by_hand():
    try:
        return clock() + float(open("{work}/clock").read())
    except OSError:
        return clock()
time.time = set_by_hand  # of this process alone: a host's clock is the machine's
from kcms.config import NodeConfig, load
from kcms.node.daemon import main
sys.exit(main(load(NodeConfig, "{work}/node.toml")))
"""
CONFIG = """
host = "testnode"
cluster = "testcluster"
manager_address = "127.0.0.1"
manager_port = {port}
state_directory = "{state}"
tls_ca = "{work}/tls/ca.pem"
tls_certificate = "{work}/tls/node.pem"
tls_key = "{work}/tls/node.key"
report_interval = 1.0
slots = 4
"""

T = TypeVar("T")


def certificates() -> dict[str, bytes]:
    """A CA, the manager's and the node's certificates, and one of another cluster's manager."""
    now = datetime.now(UTC)
    authority = Authority.make("test", now)
    files = {"ca.pem": authority.pair().certificate}
    for name, uri in (
        ("manager", "kcms://manager/testcluster"),
        ("node", "kcms://node/testnode"),
        ("stranger", "kcms://manager/othercluster"),
    ):
        pair = authority.issue(Request("testnode", name, uris=[uri]), now)
        files |= {f"{name}.pem": pair.certificate, f"{name}.key": pair.key}
    return files


class Host:
    """``prefix`` is the command that runs the rest of its arguments on the host, as root."""

    def __init__(self, prefix: list[str], settings: str = "") -> None:
        self.prefix = prefix
        self.settings = settings
        self.moves: list[dict[str, Any]] = []
        self.version = 0
        self.wanted: dict[tuple[int, int, int], dict[str, Any]] = {}

    def run(self, script: str, check: bool = True, given: bytes = b"") -> str:
        """Run a shell script on the host, with ``given`` as its standard input."""
        command = [*self.prefix, "sh", "-c", script]
        done = subprocess.run(
            command, capture_output=True, timeout=120, check=False, cwd=ROOT, input=given
        )
        said = done.stdout.decode()
        assert not check or done.returncode == 0, f"{script}\n{said}{done.stderr.decode()}"
        return said

    def write(self, path: str, content: bytes | str, mode: str = "600") -> None:
        quoted = shlex.quote(path)
        self.run(
            f"mkdir -p $(dirname {quoted}) && cat > {quoted}.new "
            f"&& chmod {mode} {quoted}.new && mv {quoted}.new {quoted}",
            given=content.encode() if isinstance(content, str) else content,
        )

    # the host's parts ------------------------------------------------------------------------

    def set_up(self) -> None:
        self.clean()
        self.run("id alice >/dev/null 2>&1 || useradd -m -u 2001 alice")
        self.run(f"install -d -m 700 -o alice -g $(id -gn alice) {ALICE}")
        self._install()
        for name, content in certificates().items():
            self.write(f"{WORK}/tls/{name}", content)
        self.write(f"{WORK}/node.toml", self._config())
        self.write(f"{WORK}/daemon.py", DAEMON.format(code=CODE, work=WORK))
        self.write(f"{WORK}/manager.py", (ROOT / "tests/lab_node/fake_manager.py").read_bytes())
        self.run(
            "systemd-run --quiet --unit=kcms-nodetest-manager -p Restart=always "
            f"/usr/bin/python3 {WORK}/manager.py {WORK}/tls {PORT} {WORK}"
        )
        self.start_daemon()

    def _config(self) -> str:
        return CONFIG.format(port=PORT, state=STATE, work=WORK) + self.settings

    def _install(self) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path in [*(ROOT / "app/kcms").glob("*.py")]:
                archive.add(path, f"kcms/{path.name}")
            for package in ("jobs", "node"):
                for path in (ROOT / "app/kcms" / package).glob("*.*"):
                    archive.add(path, f"kcms/{package}/{path.name}")
        self.write(f"{CODE}/code.tgz", buffer.getvalue())
        self.run(f"cd {CODE} && tar xzf code.tgz && rm code.tgz")

    def start_daemon(self) -> None:
        options = " ".join(f"-p {each}" for each in HARDENING)
        self.run(
            "systemd-run --quiet --unit=kcms-nodetest -p Type=notify -p Restart=always "
            f"-p RestartSec=0 -p StartLimitBurst=1000 {options} /usr/bin/python3 {WORK}/daemon.py"
        )

    def kill_daemon(self) -> None:
        self.run("systemctl kill -s KILL kcms-nodetest.service")

    def clean(self) -> None:
        """Leave the host as it was: no unit, no file."""
        self.run(
            "systemctl stop kcms-nodetest kcms-nodetest-manager 2>/dev/null;"
            "systemctl stop 'kcms-task-*' 'kcms-move-*' 2>/dev/null;"
            "systemctl reset-failed 2>/dev/null;"
            f"umount {STATE} 2>/dev/null; rm -rf {STATE} {WORK} {ALICE} /opt/kcms-nodetest; true"
        )

    # what the manager wants and hears --------------------------------------------------------

    def want(self, *jobs: dict[str, Any]) -> None:
        for each in jobs:
            self.wanted[(each["job"], each["task"], each["epoch"])] = each
        self.publish()

    def publish(self) -> None:
        self.version += 1
        document = {
            "version": self.version,
            "store": STORE,
            "tasks": list(self.wanted.values()),
            "moves": self.moves,
        }
        self.write(f"{WORK}/desired.json", json.dumps(document))

    def kill(self, job: int, grace: float = 5.0) -> None:
        key = (job, 0, 1)
        self.want({**self.wanted[key], "want": "kill", "grace": grace})

    def last_report(self) -> dict[str, Any]:
        text = self.run(f"tail -n 2 {WORK}/reports 2>/dev/null", check=False)
        lines = text.split("\n")[:-1]  # what has no end yet is still being written
        return dict(json.loads(lines[-1])) if lines else {"tasks": []}

    def task(self, job: int) -> dict[str, Any]:
        for each in self.last_report()["tasks"]:
            if each["job"] == job:
                return dict(each)
        return {"phase": "unknown"}

    def until(self, job: int, *phases: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found = self.task(job)
            return found if found["phase"] in phases else None

        return self.wait(there, f"job {job} to be {' or '.join(phases)}")

    def over(self, job: int) -> dict[str, Any]:
        return self.until(job, "ended", "refused", "lost")

    def wait(self, condition: Callable[[], T | None], what: str, seconds: float = 60) -> T:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s for {what}; last: {self.last_report()}")

    def processes(self, job: int, epoch: int = 1) -> list[str]:
        """Everything that lives in the unit's cgroup."""
        unit = f"kcms-task-{job}.0.{epoch}-{STORE}.service"
        where = f"/sys/fs/cgroup/kcms.slice/kcms-tasks.slice/{unit}"
        return self.run(f"cat {where}/task/cgroup.procs 2>/dev/null; true").split()

    def home(self, name: str) -> str:
        return self.run(f"cat {ALICE}/{name}")


def spec(script: str, **changes: Any) -> dict[str, Any]:
    made = {
        "executable": "/bin/sh",
        "arguments": ["-c", script],
        "base_directory": ALICE,
        "input": None,
        "output": f"{ALICE}/%j.out",
        "error": None,
        "environment": {},
        "time_limit": None,
        "memory": None,
        "rss_limit": None,
    }
    return {**made, **changes}


def job(number: int, script: str, **changes: Any) -> dict[str, Any]:
    """A wanted task; changes that the specification knows go there."""
    known = spec(script)
    specification = {**known, **{k: v for k, v in changes.items() if k in known}}
    made = {
        "job": number, "task": 0, "epoch": 1, "want": "run", "user": "alice", "uid": 2001,
        "gid": 2001, "spec": specification, "grace": 5.0, "store": STORE,
    }  # fmt: skip
    return {**made, **{k: v for k, v in changes.items() if k not in known}}

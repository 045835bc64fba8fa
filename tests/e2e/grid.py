"""A grid on lab hosts as the tests see it: playbooks, ad-hoc commands, shells on hosts."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass
class Play:
    """What a playbook run did: ``recap[host]`` has ok, changed, failed, unreachable …"""

    status: int
    output: str
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        return sum(host["changed"] for host in self.recap.values())

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str]) -> Play:
        recap = {}
        for host, counts in re.findall(r"^(\S+)\s+: (ok=.*)$", done.stdout, re.MULTILINE):
            recap[host] = {key: int(n) for key, n in re.findall(r"(\w+)=(\d+)", counts)}
        return cls(done.returncode, done.stdout + done.stderr, recap)


def run_whole(
    command: Sequence[str], directory: Path, environment: dict[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command; one that takes too long is ended with all it started, and fails the test
    with what it said until then."""
    running = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = running.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(running.pid, signal.SIGKILL)
        output, errors = running.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        said = f"{shlex.join(command)}\nwas not over after {seconds:g} s\n{output}{errors}"
        raise AssertionError(said) from error
    return subprocess.CompletedProcess(command, running.returncode, output, errors)


@dataclass
class Answer:
    """What an ad-hoc module run on one host answered."""

    status: int
    result: dict[str, Any]
    output: str


class Grid:
    """Lab ``name`` with ``hosts`` (as LAB_HOSTS)."""

    def __init__(self, name: str, hosts: str, clusters: tuple[str, ...]) -> None:
        self.name = name
        self.clusters = clusters
        self.first: Play | None = None
        self.environment = {
            **os.environ,
            "LAB": name,
            "LAB_HOSTS": hosts,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.inventory = ""

    def run(
        self, *command: str, check: bool = True, seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        done = run_whole(command, ROOT, self.environment, seconds)
        if check:
            assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done

    def lab(self, *words: str, check: bool = True) -> str:
        return self.run(sys.executable, "-m", "lab", *words, check=check).stdout

    def up(self, fresh: bool = True) -> None:
        """Make the lab, anew if ``fresh``: a run that was killed may have left a grid there."""
        self.lab("up", *(["--fresh"] if fresh else []))
        self.inventory = self.lab("inventory").strip()

    def down(self) -> None:
        self.lab("down")

    def playbook(self, name: str, *options: str, check: bool = True) -> Play:
        path = name if "/" in name else f"playbooks/{name}"
        command = ("ansible-playbook", "-i", self.inventory, path, *options)
        play = Play.of(self.run(*command, check=False, seconds=900))
        assert not check or play.status == 0, play.output
        return play

    def adhoc(
        self, host: str, module: str, *options: str, check: bool = True, **args: Any
    ) -> Answer:
        command = ["ansible", "-i", self.inventory, host, "-m", module, "-a", json.dumps(args)]
        environment = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "0"}
        self.environment.update(environment)
        done = self.run(*command, *options, check=False)
        found = re.search(r"=> (\{.*\})", done.stdout, re.DOTALL)
        result = json.loads(found.group(1)) if found else {}
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return Answer(done.returncode, result, done.stdout + done.stderr)

    def shell(
        self, host: str, script: str, user: str = "root", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script on a host as a user with a login's environment."""
        inner = ["sh", "-c", script]
        if user != "root":
            inner = [
                "setpriv",
                "--reuid",
                user,
                "--regid",
                user,
                "--init-groups",
                "env",
                f"HOME=/shared/home/{user}",
                f"USER={user}",
                *inner,
            ]
        return self.run(sys.executable, "-m", "lab", "exec", host, *inner, check=check)

    @contextmanager
    def login(self, host: str, user: str) -> Iterator[paramiko.SSHClient]:
        """An ssh session as a user has one; a host whose key is not the known one is refused."""
        keys = Path(self.inventory).parent.parent / "ssh"
        client = paramiko.SSHClient()
        client.load_host_keys(str(keys / "known_hosts"))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            self.address(host),
            username=user,
            key_filename=str(keys / "id_ed25519"),
            allow_agent=False,
            look_for_keys=False,
            timeout=30,
        )
        try:
            yield client
        finally:
            client.close()

    def address(self, host: str) -> str:
        variables = self.run("ansible-inventory", "-i", self.inventory, "--host", host).stdout
        return str(json.loads(variables)["ansible_host"])

    def kcms(
        self, host: str, *words: str, user: str = "root", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.shell(host, "kcms " + shlex.join(words), user=user, check=check)

    @contextmanager
    def managed(self, settings: str) -> Iterator[None]:
        """The manager of alpha with other settings, lines of TOML; then with its own again.

        The rollout would write them as well, and take half a minute for it.
        """
        path, unit = "/etc/kcms/manager-alpha.toml", "kcms-manager@alpha"
        names = "|".join(line.partition(" ")[0] for line in settings.splitlines())
        change = (
            f"cp -p {path} {path}.kept && grep -Ev '^({names}) ' {path}.kept > {path}; "
            f"cat >> {path} <<'END'\n{settings}\nEND\nsystemctl restart {unit}"
        )
        self.shell("head", change)
        try:
            yield
        finally:
            self.shell("head", f"mv {path}.kept {path} && systemctl restart {unit}")

    def program(self, user: str, name: str, text: str) -> str:
        """Put a program into a user's home on the shared directory, as that user; its path."""
        path = f"/shared/home/{user}/{name}"
        script = f"cat > {path} <<'END'\n{text}\nEND\nchmod 755 {path}"
        self.shell("alpha1", script, user=user)
        return path

    def submit(self, user: str, *words: str, host: str = "alpha1") -> dict[str, Any]:
        done = self.kcms(host, "submit", "--json", *words, user=user)
        return dict(json.loads(done.stdout))

    def job(self, number: int, cluster: str = "alpha") -> dict[str, Any]:
        done = self.kcms("head", "job", str(number), "--cluster", cluster, "--json")
        return dict(json.loads(done.stdout))

    def jobs(self, cluster: str) -> list[dict[str, Any]]:
        """All jobs on record."""
        return self._listed(cluster, "--all")

    def _listed(self, cluster: str, *words: str) -> list[dict[str, Any]]:
        """Jobs, once the manager can be asked."""
        said = ""

        def answered() -> bool:
            nonlocal said
            done = self.kcms("head", "jobs", *words, "--cluster", cluster, "--json", check=False)
            said = done.stdout
            return done.returncode == 0

        self.wait(answered, f"the manager of {cluster} to answer")
        return list(json.loads(said)["jobs"])

    def nodes(self, cluster: str = "alpha") -> list[dict[str, Any]]:
        """The nodes as their manager tells of them; none when it cannot be asked."""
        done = self.kcms("head", "nodes", "--cluster", cluster, "--json", check=False)
        return list(json.loads(done.stdout)["nodes"]) if done.returncode == 0 else []

    def await_idle(self, *names: str) -> None:
        """Wait until nodes of alpha are there for jobs: up, in use, and with no task left.  One
        that was started anew, or whose manager was, is not until it has reported."""

        def idle() -> bool:
            found = {each["name"] for each in self.nodes() if each["availability"] == "idle"}
            return found.issuperset(names)

        self.wait(idle, f"{' and '.join(names)} to be idle")

    @contextmanager
    def drained(self, *names: str) -> Iterator[None]:
        """Nodes of alpha get nothing new meanwhile."""
        try:
            for name in names:
                self.kcms("head", "drain", name, "--cluster", "alpha", "--reason", "for the test")
            yield
        finally:
            for name in names:
                self.kcms("head", "resume", name, "--cluster", "alpha")

    def active_jobs(self) -> list[dict[str, Any]]:
        """Those of every cluster that are not yet over."""
        return [job for cluster in self.clusters for job in self._listed(cluster)]

    def wait_job(self, number: int, *states: str, cluster: str = "alpha") -> dict[str, Any]:
        job: dict[str, Any] = {}

        def reached() -> bool:
            job.update(self.job(number, cluster))
            return job["state"] in states

        self.wait(reached, f"job {number} to be {' or '.join(states)}")
        return job

    def wait(self, reached: Callable[[], object], what: str, seconds: float = 90) -> None:
        """Wait for something to become true; a wait, not a measure of speed."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, f"waited {seconds} s for {what}"
            time.sleep(0.5)

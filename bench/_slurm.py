"""Debian's Slurm on this machine, for measurements: installed, brought up, taken down.

Everything lies below one directory and is found by ``SLURM_CONF``; no service of the system is
used or started.  What is cited as *tuned* are the settings of :data:`TUNED`, under which Slurm
drains short jobs five times as fast as with its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = {
    "sbatch": "slurm-wlm",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "munged": "munge",
    "slurmrestd": "slurmrestd",
}
TOKENS = Path("/usr/lib/x86_64-linux-gnu/slurm-wlm/auth_jwt.so")
POLICY = Path("/usr/sbin/policy-rc.d")
SECONDS = 30.0  # for daemons to come up
TUNED = "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1\n"
CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={home}/munge.sock
SlurmctldPort={ctld}
SlurmdPort={ctld}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=1
MaxJobCount=50000
MaxArraySize=20000
SlurmdParameters=config_overrides
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName=n{at} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=512\n"
REST = "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={home}/jwt.key\n"
MUNGE_FILES = (
    ("key-file", "key"),
    ("socket", "sock"),
    ("pid-file", "pid"),
    ("seed-file", "seed"),
    ("log-file", "log"),
)


@dataclass
class Slurm:
    """One that runs.  ``nodes`` is how many, of one slot each."""

    home: Path
    nodes: int
    environment: dict[str, str]
    rest_port: int = 0
    token: str = ""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *command: str, name: str = "") -> None:
        """One daemon in the foreground, as a child."""
        name = name or command[0]
        with (self.home / f"{name}.out").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self.home
            )

    def run(self, *command: str) -> str:
        """What a command printed.  :raises SystemExit: it failed"""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, cwd="/"
        )
        if done.returncode:
            raise SystemExit(f"bench: {command[0]} failed: {done.stderr.strip()[:500]}")
        return done.stdout

    def stop(self) -> None:
        """The last first, each by its own pid."""
        for process in reversed(self.running.values()):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def install(*programs: str) -> None:
    """The programs, unless they are there; they stay, and no service of theirs is started."""
    missing = {PROGRAMS[each] for each in programs if not shutil.which(each)}
    if "slurmrestd" in programs and not TOKENS.exists():
        missing.add("slurm-wlm-jwt-plugin")
    if not missing:
        return
    print(f"bench: installing {' '.join(sorted(missing))}")
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *sorted(missing)]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        if ours:
            POLICY.unlink()
    if done.returncode:
        raise SystemExit(f"bench: cannot install {' '.join(missing)}: {done.stderr.strip()[-300:]}")


def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not come up within {SECONDS:g} s")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def slurm(home: Path, nodes: int = 1, rest: bool = False, more: str = "") -> Iterator[Slurm]:
    """A Slurm with idle nodes of one slot, below ``home``.

    :param rest: with a slurmrestd, over TCP and with tokens, as it is meant to be run
    :param more: lines of its configuration, as :data:`TUNED`
    """
    made = Slurm(home, nodes, {"PATH": "/usr/bin:/bin:/usr/sbin"})
    made.environment["SLURM_CONF"] = str(home / "slurm.conf")
    _configure(made, rest, more)
    try:
        files = [f"--{name}={home}/munge.{end}" for name, end in MUNGE_FILES]
        made.start("munged", "-F", *files)
        until(lambda: (home / "munge.sock").exists(), "munged")
        made.start("slurmctld", "-D", "-c")
        for at in range(1, nodes + 1):
            made.start("slurmd", "-D", "-N", f"n{at}", name=f"slurmd.n{at}")
        until(lambda: _idle(made) == nodes, "slurmd")
        if rest:
            _start_rest(made)
        yield made
    finally:
        made.stop()


def _configure(made: Slurm, rest: bool, more: str) -> None:
    home, host = made.home, socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (home / name).mkdir()
    for name, size in (("munge.key", 1024), ("jwt.key", 32)):
        (home / name).write_bytes(os.urandom(size))
        (home / name).chmod(0o400)
    text = CONFIGURATION.format(host=host, home=home, ctld=free_port()) + more
    text += REST.format(home=home) if rest else ""
    for at in range(1, made.nodes + 1):
        text += NODE.format(at=at, host=host, port=free_port())
    (home / "slurm.conf").write_text(text)


def _idle(made: Slurm) -> int:
    done = subprocess.run(
        ["sinfo", "-h", "-t", "idle", "-o", "%D"],
        env=made.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout.strip() or 0)


def _start_rest(made: Slurm) -> None:
    """It refuses to run as root, so it is nobody's."""
    made.rest_port = free_port()
    nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    made.start(
        *(*nobody, "env", "SLURM_JWT=daemon", "slurmrestd", "-a", "rest_auth/jwt"),
        *("-s", "openapi/v0.0.38", f"127.0.0.1:{made.rest_port}"),
        name="slurmrestd",
    )
    until(lambda: _listens(made.rest_port), "slurmrestd")
    told = made.run("scontrol", "token", "lifespan=36000", "username=root")
    made.token = told.strip().partition("=")[2]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True

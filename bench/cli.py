"""One ``kcms submit`` and one ``kcms jobs`` beside sbatch and squeue of Debian's Slurm.

    make bench NAME=cli

Both sides run here at once, on loopback and local sockets, with as many jobs: a manager and a
gateway of ours, and munged, slurmctld and slurmd.  No job runs (ours have no node, Slurm's are
held), so nothing but the commands is measured.  They take turns; times are of the whole process,
from its start to its end.  Ours starts as on a host: the role's own launcher and a byte-compiled
copy.

What a call of ours does and one of Slurm's does not: it is answered when the job is on the disk
(fsync), and a forked child that has become the user looks at the files first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [each for each in (str(ROOT), str(ROOT / "app")) if each not in sys.path]

from tests.certificates import make_site  # noqa: E402
from tests.integration import test_face_daemons as face  # noqa: E402

ROUNDS = 60
WARM = 3
PACKAGES = ("slurm-wlm", "munge")
AIM = 10.0
SECONDS = 30.0  # for daemons to come up
POLICY = Path("/usr/sbin/policy-rc.d")
LAUNCHER = ROOT / "roles/common/templates/kcms.py.j2"
RELEASE = "/opt/kcms/current"
SLURM = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={home}/munge.sock
SlurmctldPort={ctld}
SlurmdPort={node}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs=1 RealMemory=512
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Call:
    """A command and how long it took each time, in milliseconds."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.took: list[float] = []

    def run(self) -> None:
        begun = time.perf_counter()
        done = subprocess.run(
            self.command, env=self.environment, cwd="/", capture_output=True, text=True, check=False
        )
        self.took.append((time.perf_counter() - begun) * 1000)
        if done.returncode:
            raise SystemExit(f"bench: {self.name} failed: {done.stderr.strip()[:500]}")


def install() -> None:
    """Slurm, unless it is there; it stays, and none of its services is started."""
    if all(shutil.which(each) for each in ("sbatch", "slurmctld", "slurmd", "munged")):
        return
    print(f"bench: installing {' '.join(PACKAGES)}")
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *PACKAGES]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        if ours:
            POLICY.unlink()
    if done.returncode:
        raise SystemExit(
            f"bench: cannot install {' '.join(PACKAGES)}: {done.stderr.strip()[-300:]}"
        )


@contextlib.contextmanager
def slurm(home: Path) -> Iterator[dict[str, str]]:
    """A Slurm of one node; the environment of its commands."""
    for name in ("state", "spool"):
        (home / name).mkdir()
    key = home / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    text = SLURM.format(host=host, home=home, ctld=face.free_port(), node=face.free_port())
    (home / "slurm.conf").write_text(text)
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "SLURM_CONF": str(home / "slurm.conf")}
    files = [f"--{name}={home}/munge.{end}" for name, end in MUNGE_FILES]
    commands = [["munged", "-F", *files], ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "n1"]]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (home / f"{command[0]}.out").open("wb") as log:
                running.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
                )
            if command[0] == "munged":
                until(lambda: (home / "munge.sock").exists(), "munged")
        until(lambda: "idle" in output(["sinfo", "-h", "-o", "%T"], environment), "slurmd")
        yield environment
    finally:
        end(running)


MUNGE_FILES = (
    ("key-file", "key"),
    ("socket", "sock"),
    ("pid-file", "pid"),
    ("seed-file", "seed"),
    ("log-file", "log"),
)


def output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def until(ready: Callable[[], bool], what: str) -> None:
    end_time = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > end_time:
            raise SystemExit(f"bench: {what} did not come up within {SECONDS:g} s")
        time.sleep(0.05)


def end(running: list[subprocess.Popen[bytes]]) -> None:
    """The last first, each by its own pid."""
    for process in reversed(running):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def ours(home: Path) -> Iterator[list[str]]:
    """A manager and gateways; the beginning of every command line."""
    grid = face.Grid(home, make_site(home / "site"))
    face.prepare_files(grid)
    app = home / "app"
    shutil.copytree(ROOT / "app/kcms", app / "kcms", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", str(app)], check=True)
    launcher = home / "kcms"
    launcher.write_text(LAUNCHER.read_text().replace(RELEASE, str(app)))
    launcher.chmod(0o755)
    try:
        face.start_daemons(grid)
        yield [str(launcher)]
    finally:
        grid.stop()


def calls(home: Path, kcms: list[str], slurm_environment: dict[str, str]) -> list[Call]:
    plain = {"PATH": "/usr/bin:/bin", "KCMS_SOCKET": str(home / "head.sock")}
    alice, folder = face.ALICE, home / face.ALICE
    submit = ["submit", "--user", alice, "--base-directory", str(folder), str(folder / "own.sh")]
    held = ["sbatch", "--hold", "-o", "/dev/null", "--wrap", "true"]
    return [
        Call("kcms submit", [*kcms, *submit], plain),
        Call("sbatch", held, slurm_environment),
        Call("kcms jobs", [*kcms, "jobs"], plain),
        Call("squeue", ["squeue"], slurm_environment),
        Call("kcms version", [*kcms, "version"], plain),
        Call("python3 -IS -c pass", ["/usr/bin/python3", "-IS", "-c", "pass"], plain),
    ]


def report(found: list[Call]) -> str:
    lines = [f"{'milliseconds':<20}{'median':>8}{'min':>8}{'max':>8}"]
    for each in found:
        took = each.took
        lines.append(
            f"{each.name:<20}{statistics.median(took):>8.1f}{min(took):>8.1f}{max(took):>8.1f}"
        )
    lines.append("")
    for left, right in zip(found[0:4:2], found[1:4:2], strict=True):
        rates = [a / b for a, b in zip(left.took, right.took, strict=True)]
        middle = statistics.median(left.took) / statistics.median(right.took)
        lines.append(
            f"{left.name} / {right.name}: {middle:.1f} (turn by turn {min(rates):.1f} to "
            f"{max(rates):.1f}), aim {AIM:.0f}"
        )
    return "\n".join(lines)


def main() -> int:
    if os.geteuid() != 0:
        raise SystemExit("bench: the gateway and slurmd need root")
    install()
    with tempfile.TemporaryDirectory(prefix="kcms-bench-") as scratch:
        Path(scratch).chmod(0o755)
        homes = [Path(scratch) / name for name in ("kcms", "slurm")]
        for home in homes:
            home.mkdir(mode=0o755)
        with slurm(homes[1]) as environment, ours(homes[0]) as kcms:
            found = calls(homes[0], kcms, environment)
            for turn in range(WARM + ROUNDS):
                for each in found:
                    each.run()
                    if turn < WARM:
                        each.took.clear()
    print(report(found))
    print(
        f"\n{ROUNDS} turns, lists of up to {WARM + ROUNDS} jobs; {os.cpu_count()} processors, "
        f"load average afterwards {os.getloadavg()[0]:.1f}"
    )
    return 0

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

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench import _ours, _slurm

ROUNDS = 60
WARM = 3
AIM = 10.0


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


def calls(home: Path, launcher: str, slurm_environment: dict[str, str]) -> list[Call]:
    plain = {"PATH": "/usr/bin:/bin", "KCMS_SOCKET": str(home / "head.sock")}
    alice, folder = _ours.ALICE, home / _ours.ALICE
    submit = ["submit", "--user", alice, "--base-directory", str(folder), str(folder / "own.sh")]
    held = ["sbatch", "--hold", "-o", "/dev/null", "--wrap", "true"]
    return [
        Call("kcms submit", [launcher, *submit], plain),
        Call("sbatch", held, slurm_environment),
        Call("kcms jobs", [launcher, "jobs"], plain),
        Call("squeue", ["squeue"], slurm_environment),
        Call("kcms version", [launcher, "version"], plain),
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
    _slurm.install("sbatch", "slurmctld", "slurmd", "munged")
    with tempfile.TemporaryDirectory(prefix="kcms-bench-") as scratch:
        Path(scratch).chmod(0o755)
        homes = [Path(scratch) / name for name in ("kcms", "slurm")]
        for home in homes:
            home.mkdir(mode=0o755)
        launcher = _ours.command(homes[0])
        with _slurm.slurm(homes[1]) as slurm, _ours.ours(homes[0]):
            found = calls(homes[0], launcher, slurm.environment)
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

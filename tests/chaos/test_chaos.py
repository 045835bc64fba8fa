"""Random faults over a grid with jobs: `make chaos`, KCMS_CHAOS_MINUTES long (default 10).

The seed is printed; KCMS_CHAOS_SEED plays the same faults again.  Every job counts its own starts,
so that one that ran twice, or was lost without a verdict, is seen at the end.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.e2e.grid import Grid

HOSTS = ("head", "alpha1", "alpha2")
NODES = HOSTS[1:]
DAEMONS = ("kcms-node", "kcms-gateway", "kcms-monitor", "'kcms-manager@*'", "kcms-aggregator")
COUNTED = """#!/bin/sh
echo "$KCMS_JOB_ID" >> /shared/home/alice/chaos
sleep "$1"
exit "$2"
"""


class Faults:
    """Faults at random; each leaves a grid that can heal."""

    def __init__(self, grid: Grid, dice: random.Random) -> None:
        self.grid = grid
        self.dice = dice
        self.powered_off: set[str] = set()

    def strike(self) -> None:
        fault = self.dice.choice((self.kill, self.kill, self.kill, self.cut, self.power_off))
        fault()

    def kill(self) -> None:
        host, daemon = self.dice.choice(HOSTS), self.dice.choice(DAEMONS)
        print("kill", daemon, "on", host, flush=True)
        self.grid.shell(host, f"systemctl kill -s KILL {daemon}", check=False)

    def cut(self) -> None:
        host, seconds = self.dice.choice(HOSTS), self.dice.uniform(1, 20)
        print(f"cut {host} for {seconds:.0f} s", flush=True)
        self.grid.lab("cut", host)
        time.sleep(seconds)
        self.grid.lab("heal", host)

    def power_off(self) -> None:
        host = self.dice.choice(NODES)
        print("power failure of", host, flush=True)
        self.powered_off.add(host)
        self.grid.lab("power-off", host)
        self.grid.lab("start", host)


def submit(grid: Grid, dice: random.Random, program: str, codes: dict[int, int]) -> None:
    """One job from any host.  A refusal is allowed; what was acknowledged is kept in ``codes``."""
    code = dice.randrange(4)
    words = ("submit", program, str(dice.randrange(1, 8)), str(code))
    done = grid.kcms(dice.choice(NODES), *words, user="alice", check=False)
    if done.returncode == 0:
        codes[int(done.stdout.split()[1])] = code


@pytest.mark.chaos
def test_no_job_is_lost_doubled_or_wrong(quiet: Grid) -> None:
    seed = int(os.environ.get("KCMS_CHAOS_SEED", time.time()))
    print("seed", seed, flush=True)
    dice = random.Random(seed)
    program = quiet.program("alice", "chaos.sh", COUNTED)
    quiet.shell("alpha1", "rm -f /shared/home/alice/chaos", user="alice")
    faults, codes = Faults(quiet, dice), dict[int, int]()
    end = time.monotonic() + 60 * float(os.environ.get("KCMS_CHAOS_MINUTES", "10"))
    while time.monotonic() < end:
        for _ in range(dice.randrange(1, 4)):
            submit(quiet, dice, program, codes)
        faults.strike()
        time.sleep(dice.uniform(0, 5))
    quiet.wait(lambda: not quiet.active_jobs(), "every job to end", seconds=600)
    check(quiet, codes, faults.powered_off)


def check(grid: Grid, codes: dict[int, int], powered_off: set[str]) -> None:
    """Every acknowledged job has its verdict, and none started twice."""
    starts = grid.shell("alpha1", "cat /shared/home/alice/chaos", user="alice").stdout.split()
    assert len(starts) == len(set(starts)), "a job was started twice"
    lost = 0
    for number, code in codes.items():
        job = grid.job(number)
        if job["state"] == "NODE_FAIL":
            lost += 1
            assert job["tasks"][0]["node"] in powered_off, job
        else:
            assert job["tasks"][0]["exit"]["code"] == code, job
            assert str(number) in starts
    print(f"{len(codes)} jobs, {lost} lost with their node, the others right")

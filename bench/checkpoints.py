"""What checkpoints cost the job that they are made of, against the same job without any.

    make bench NAME=checkpoints

A program computes a fixed amount, and says how long that took; it holds memory of which half is
random.  The two sides take turns on one lab host: without checkpoints, and with COUNT of them, one
after another.  The difference for each of them is what one costs, which is set beside what the
manager takes it for (:func:`kcms.jobs.intervals.cost`); and both are set against the interval that
the manager then chooses for a job of ``auto``, on a cluster that has not lost a node yet.

``KCMS_BENCH_ROUNDS`` are the rounds, 5 by default, ``KCMS_BENCH_MB`` the sizes, "50 250 1000".
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
import tomllib
from collections import defaultdict

from bench import _lab
from bench._ours import ours
from bench.migration import HOME, ROUNDS, SIZES, SOURCE, TARGET, Hosts, Manager, wait
from kcms.jobs.intervals import Losses, cost, interval

COUNT = 4
UNITS = 2000
PAUSE = 1.0
"""Seconds between two checkpoints."""

Figures = defaultdict[tuple[str, int], list[float]]
"""Seconds, of each kind of figure and size."""


def run(hosts: Hosts, manager: Manager, megabytes: int, count: int, found: Figures) -> float:
    """Seconds that the work took, with so many checkpoints."""
    result = hosts.files / "work.result"
    words = ["work", str(megabytes), str(UNITS), f"{HOME}/work.result"]
    spec = {
        "executable": f"{HOME}/still",
        "arguments": words,
        "base_directory": HOME,
        "output": "/dev/null",
        "error": "/dev/null",
    }
    number = int(manager.post("/v1/jobs", {"spec": spec})["id"])
    wait(lambda: bool(manager.job(number)["start_time"]), 0.05)
    for _ in range(count):
        time.sleep(PAUSE)
        _save(manager, number, megabytes, found)
    wait(lambda: manager.job(number)["state"] == "COMPLETED", 0.1)
    took = int(result.read_text()) / 1e9
    result.unlink()
    return took


def _save(manager: Manager, number: int, megabytes: int, found: Figures) -> None:
    before = (manager.job(number)["checkpoint"]["last"] or {"number": 0})["number"]
    told = manager.post(f"/v1/jobs/{number}/checkpoint", {})
    if "checkpoint" not in told:
        raise SystemExit(f"bench: no checkpoint was made: {told}")
    wait(lambda: not manager.job(number)["checkpoint"]["under_way"], 0.05)
    shown = manager.job(number)["checkpoint"]
    if shown["failure"] or shown["last"]["number"] <= before:
        raise SystemExit(f"bench: no checkpoint was made: {shown['failure']}")
    found["froze", megabytes].append(shown["last"]["freeze_seconds"])
    found["took", megabytes].append(shown["last"]["seconds"])


def report(found: Figures) -> str:
    names = ("without, s", f"with {COUNT}, s", "freeze, s", "until it is kept, s")
    lines = [f"{'':8}" + "".join(f"{each:>22}" for each in names)]
    lines[0] += "".join(f"{each:>14}" for each in ("one costs, s", "taken for, s", "interval, s"))
    lines[0] += f"{'overhead':>10}"
    for size in SIZES:
        cells = [found[side, size] for side in ("none", "some", "froze", "took")]
        none, some, froze, took = (statistics.median(each) for each in cells)
        one, taken = (some - none) / COUNT, cost(froze, took)
        seconds, _ = interval(taken, Losses())
        words = "".join(f"{_cell(each):>22}" for each in cells)
        figures = f"{one:>14.2f}{taken:>14.2f}{seconds:>14.0f}"
        lines.append(f"{size:>5} MB{words}{figures}{100 * one / seconds:>8.2f} %")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    """Median, and between which it lay."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> int:
    if os.geteuid() != 0:
        raise SystemExit("bench: lab hosts need root")
    if shutil.which("gcc") is None:
        raise SystemExit("bench: the program that is saved is in C: apt install gcc libc6-dev")
    found = Figures(list)
    with _lab.lab(hosts=2) as lab:
        hosts = Hosts(lab)
        try:
            measure(lab, hosts, found)
        finally:
            hosts.close()
    print(report(found))
    print(
        f"\nmedian (least-most) of {ROUNDS} rounds; {os.cpu_count()} processors, load average "
        f"afterwards {os.getloadavg()[0]:.1f}"
    )
    return 0


def measure(lab: _lab.Lab, hosts: Hosts, found: Figures) -> None:
    home = lab.shared / "grid"
    home.mkdir()
    nodes = {name: {"roles": ["node", "submit"]} for name in (SOURCE, TARGET)}
    listed = lab.shared / "hosts.json"
    listed.write_text(json.dumps({"hosts": {**nodes, "head": {"roles": ["admin"]}}}))
    with ours(home, address="0.0.0.0", hosts_file=str(listed)) as grid:
        manager = Manager(tomllib.loads((home / "alpha1.toml").read_text()))
        one = _lab.node(lab, grid, manager.port, 2, SOURCE, "/shared")
        with one, _lab.node(lab, grid, manager.port, 2, TARGET, "/shared"):
            wait(manager.can_move, 0.1)
            for turn in range(ROUNDS):
                for size in SIZES:
                    found["none", size].append(run(hosts, manager, size, 0, found))
                    found["some", size].append(run(hosts, manager, size, COUNT, found))
                print(f"round {turn + 1} of {ROUNDS}", file=sys.stderr)

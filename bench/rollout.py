"""How long the rollout takes on six prepared hosts, beside the least Ansible could take.

The floor, taken in the same run on the same hosts: a ping of all hosts over a cold and a warm
connection, and one file copied to all.  Then the first site run, the second, and the join of a
seventh host with ``--limit``; each with the tasks its time went to.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LAB, HOSTS = "bench", "head alpha=4 beta=2"
JOINING = "alpha4"
AIMS = {"first run": 60.0, "second run": 20.0, "join of one host": 15.0}  # seconds, on 2 cores
SHOWN_TASKS = 8


@dataclass
class Measured:
    """One command's wall seconds, and for playbooks those of its tasks, in order."""

    seconds: float
    tasks: list[tuple[str, float]] = field(default_factory=list)
    changed: int = 0


class Bench:
    """The lab of this measurement."""

    def __init__(self) -> None:
        self.environment = {
            **os.environ,
            "LAB": LAB,
            "LAB_HOSTS": HOSTS,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.inventory = ""

    def run(self, *command: str, **more: str) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def lab(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "lab", *words)

    def adhoc(self, *words: str) -> Measured:
        begun = time.monotonic()
        self.run("ansible", "-i", self.inventory, f"all:!{JOINING}", *words)
        return Measured(time.monotonic() - begun)

    def site(self, limit: str) -> Measured:
        with tempfile.TemporaryDirectory() as scratch:
            notes = Path(scratch) / "tasks"
            begun = time.monotonic()
            output = self.run(
                *("ansible-playbook", "-i", self.inventory, "playbooks/site.yml", "-l", limit),
                ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "bench/callback"),
                ANSIBLE_CALLBACKS_ENABLED="task_seconds",
                KCMS_TASK_SECONDS=str(notes),
            )
            seconds = time.monotonic() - begun
            tasks = [json.loads(line) for line in notes.read_text().splitlines()]
        changed = sum(map(int, re.findall(r"\bchanged=(\d+)", output)))
        return Measured(seconds, [(each["task"], each["seconds"]) for each in tasks], changed)


def measure(bench: Bench) -> dict[str, Measured]:
    others = f"all:!{JOINING}"
    return {
        "ping, cold": bench.adhoc("-m", "ansible.builtin.ping"),
        "ping, warm": bench.adhoc("-m", "ansible.builtin.ping"),
        "one file copied": bench.adhoc(
            "-m", "ansible.builtin.copy", "-a", "content=x dest=/root/bench"
        ),
        "first run": bench.site(others),
        "second run": bench.site(others),
        "join of one host": bench.site(JOINING),
    }


def report(found: dict[str, Measured]) -> str:
    """The table, and below it where the time of each run went."""
    floor = found["ping, warm"].seconds
    lines = [f"{'':<20}{'seconds':>8}{'x ping':>8}{'aim':>6}{'changed':>9}"]
    for name, each in found.items():
        aim = f"{AIMS[name]:.0f}" if name in AIMS else ""
        changed = str(each.changed) if each.tasks else ""
        ratio = each.seconds / floor
        lines.append(f"{name:<20}{each.seconds:>8.1f}{ratio:>8.1f}{aim:>6}{changed:>9}")
    for name, each in found.items():
        if each.tasks:
            lines += ["", f"where the time of the {name} went:"]
            longest = sorted(each.tasks, key=lambda task: -task[1])[:SHOWN_TASKS]
            lines += [f"{seconds:>8.1f} s  {task}" for task, seconds in longest]
            rest = sum(s for _, s in each.tasks) - sum(s for _, s in longest)
            lines.append(f"{rest:>8.1f} s  {len(each.tasks) - len(longest)} other tasks")
    return "\n".join(lines)


def main() -> int:
    bench = Bench()
    try:
        bench.lab("up")
        bench.inventory = bench.lab("inventory").strip()
        print(report(measure(bench)))
    finally:
        bench.lab("down")
    return 0

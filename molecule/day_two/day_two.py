"""What an operator does after the first day, with jobs running: day_two.py FRESH

FRESH is what files.py wrote when nothing had been rolled out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from files import listing

PROJECT = Path(__file__).resolve().parents[2]
LAB = os.environ.setdefault("LAB", "mole")
INVENTORY = f"/var/lib/kcms-lab/{LAB}/inventory/hosts.yml"
HOSTS = ("head", "alpha1", "alpha2")
DATA = "/var/lib/kcms"
# Every run of Ansible leaves the first; the others are the system's own copies of its accounts.
NOT_OURS = ("/root/.ansible", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-")
STAY = "#!/bin/sh\nsleep 900 & sleep 900\n"
LEFT = """
pgrep -u alice
systemctl list-units --all --plain --no-legend 'kcms*'
systemctl list-unit-files --no-legend 'kcms*'
grep ^kcms /etc/passwd /etc/group
ls -d /run/kcms* /sys/fs/cgroup/kcms.slice /tmp/*kcms* /var/tmp/*kcms* 2> /dev/null
test ! -d /var/lib/kcms || find /var/lib/kcms ! -user root -o ! -group root
"""

Placed = list[tuple[int, str, int]]


def on(host: str, script: str, user: str = "root") -> str:
    """Run a shell script on a host."""
    inner = ["sh", "-c", script]
    if user != "root":
        inner = ["runuser", "-u", user, "--", *inner]
    command = [sys.executable, "-m", "lab", "exec", host, *inner]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout


def play(name: str, *options: str, fails: bool = False) -> str:
    """Run a playbook of the project, which must end well, or must not."""
    done = subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, f"playbooks/{name}", *options],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout


def placed() -> Placed:
    """(job, node, epoch) of every running job."""
    answer = json.loads(on("head", "kcms jobs --json"))
    jobs = answer["jobs"] if isinstance(answer, dict) else answer
    running = [job for job in jobs if job["state"] == "RUNNING"]
    return sorted((job["id"], t["node"], t["epoch"]) for job in running for t in job["tasks"])


def states() -> dict[str, str]:
    """State of every node at its manager."""
    rows = json.loads(on("head", "kcms nodes --json"))["nodes"]
    return {row["name"]: row["state"] for row in rows}


def start_jobs() -> Placed:
    """A job for each slot of both nodes."""
    wanted = 2 * (os.cpu_count() or 1)
    on("alpha1", f"printf '{STAY}' > ~/stay.sh; chmod 755 ~/stay.sh", user="alice")
    submit = "kcms submit --output /dev/null ~/stay.sh"
    on("alpha1", f"for each in $(seq {wanted}); do {submit}; done", user="alice")
    wait(lambda: len(placed()) == wanted)
    return placed()


def wait(reached: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < end, f"waited {seconds} s"
        time.sleep(1)


def differs(fresh: dict[str, list[str]], host: str, *kept: str) -> list[str]:
    """What came to the files of a host or went, since it was fresh."""
    changed = set(fresh[host]) ^ listing(host)
    return sorted(
        line for line in changed if not line.split("|", 4)[-1].startswith((*NOT_OURS, *kept))
    )


def renewal(jobs: Placed) -> None:
    look = "sha256sum /etc/kcms/tls/node.pem /etc/kcms/tls/node.key"
    before = on("alpha1", look)
    assert re.search(r"they end on \d{4}-\d\d-\d\d", play("renew.yml"))
    after = on("alpha1", look)
    assert not set(before.splitlines()) & set(after.splitlines()), after
    assert placed() == jobs
    assert not re.search(r"changed=[1-9]", play("site.yml"))


def removal_of_a_node(fresh: dict[str, list[str]], jobs: Placed) -> None:
    refused = play("remove.yml", "--limit", "alpha1", fails=True)
    assert "nothing was touched: alpha1: job" in refused, refused
    assert placed() == jobs
    ending = ("--limit", "alpha1", "-e", "kcms_remove_running=true")
    assert "changed=1" in play("remove.yml", *ending, "--check")
    assert placed() == jobs
    assert "take alpha1 out of the inventory" in play("remove.yml", *ending)
    assert differs(fresh, "alpha1", DATA) == []
    assert on("alpha1", LEFT) == ""
    assert "changed=0" in play("remove.yml", "--limit", "alpha1")
    elsewhere = [job for job in jobs if job[1] != "alpha1"]
    play("site.yml", "--limit", "alpha1")
    wait(lambda: states()["alpha1"] == "UP")
    wait(lambda: placed() == elsewhere)  # what ran on alpha1 has ended, nothing started again


def removal_of_everything(fresh: dict[str, list[str]]) -> None:
    forgetting = ("-e", "kcms_remove_data=true")
    refused = play("remove.yml", *forgetting, fails=True)
    assert "the manager of alpha there has" in refused, refused
    play("remove.yml", *forgetting, "-e", "kcms_remove_running=true")
    for host in HOSTS:
        assert differs(fresh, host) == []
        assert on(host, LEFT) == ""


def main() -> None:
    fresh = json.loads(Path(sys.argv[1]).read_text())
    jobs = start_jobs()
    renewal(jobs)
    removal_of_a_node(fresh, jobs)
    removal_of_everything(fresh)


if __name__ == "__main__":
    main()

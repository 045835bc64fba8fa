"""Daemons killed, hosts rebooted, disks full: nothing lost, nothing twice, exit codes right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.grid import Grid

DAEMONS = "kcms-node kcms-gateway kcms-monitor 'kcms-manager@*' kcms-aggregator kcms-web"
COUNTED = """#!/bin/sh
echo "$KCMS_JOB_ID" >> /shared/home/alice/starts
sleep "$1"
exit "$2"
"""


def test_kill_of_every_daemon_loses_and_doubles_nothing(quiet: Grid) -> None:
    program = quiet.program("alice", "counted.sh", COUNTED)
    quiet.shell("alpha1", "rm -f /shared/home/alice/starts", user="alice")
    jobs = [
        quiet.submit("alice", program, str(12 + number % 5), str(number % 4))["id"]
        for number in range(12)
    ]
    quiet.wait_job(jobs[0], "RUNNING")
    for host in ("alpha1", "alpha2", "head"):
        quiet.shell(host, f"systemctl kill -s KILL {DAEMONS}", check=False)
    for host in ("alpha1", "head"):
        quiet.wait(
            lambda host=host: quiet.kcms(host, "clusters", check=False).returncode == 0,
            f"the gateway of {host}",
        )
    for number, job in enumerate(jobs):
        ended = quiet.wait_job(job, "COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL")
        assert ended["tasks"][0]["exit"]["code"] == number % 4, ended
        assert ended["state"] == ("FAILED" if number % 4 else "COMPLETED")
    starts = quiet.shell("alpha1", "cat /shared/home/alice/starts", user="alice").stdout.split()
    assert sorted(map(int, starts)) == sorted(jobs)


def test_a_reboot_brings_the_daemons_back_and_names_what_it_ended(quiet: Grid) -> None:
    program = quiet.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
    job = quiet.submit("alice", program)
    node = quiet.wait_job(job["id"], "RUNNING")["tasks"][0]["node"]
    quiet.lab("power-off", node)
    quiet.lab("start", node)
    ended = quiet.wait_job(job["id"], "NODE_FAIL")
    assert node in ended["reason"]
    quiet.wait(
        lambda: (
            quiet.shell(
                node, "systemctl is-active kcms-node kcms-monitor kcms-gateway", check=False
            ).returncode
            == 0
        ),
        f"the daemons of {node}",
    )
    quiet.await_idle(node)
    nap = quiet.program("alice", "nap.sh", "#!/bin/sh\nsleep 1\n")
    again = [quiet.submit("alice", nap)["id"] for _ in range(8)]
    nodes = {quiet.wait_job(each, "COMPLETED")["tasks"][0]["node"] for each in again}
    assert node in nodes


@contextmanager
def small_disk(grid: Grid) -> Iterator[str]:
    """The job store of alpha on a disk of 8 MB; its directory.  What is there goes along."""
    unit, state = "kcms-manager@alpha", "/var/lib/kcms/manager-alpha"
    steps = (
        f"systemctl stop {unit}",
        f"cp -a {state} /tmp/state",
        f"mount -t tmpfs -o size=8m,mode=0700 none {state}",
        f"cp -a /tmp/state/. {state}/",
        f"systemctl start {unit}",
    )
    try:
        grid.shell("head", " && ".join(steps))
        yield state
    finally:
        undo = (
            f"systemctl stop {unit}",
            f"rm -f {state}/ballast",
            f"if mountpoint -q {state}; then cp -a {state}/. /tmp/state/; umount {state}; fi",
            f"cp -a /tmp/state/. {state}/",
            "rm -rf /tmp/state",
            f"systemctl start {unit}",
        )
        grid.shell("head", "; ".join(undo))


def submit_until_refused(grid: Grid, program: str) -> str:
    """What the command line says when the store takes no more; at most 200 submissions."""
    for _ in range(200):
        done = grid.kcms("alpha1", "submit", program, user="alice", check=False)
        if done.returncode:
            return done.stderr
    raise AssertionError("nothing was refused on a full disk")


def test_a_full_disk_refuses_submissions_and_loses_none(quiet: Grid) -> None:
    program = quiet.program("alice", "nap.sh", "#!/bin/sh\nsleep 1\n")
    before = quiet.submit("alice", program)["id"]
    quiet.wait_job(before, "COMPLETED")
    with small_disk(quiet) as state:
        assert quiet.job(before)["state"] == "COMPLETED"
        quiet.shell("head", f"dd if=/dev/zero of={state}/ballast bs=4k 2>/dev/null", check=False)
        refused = submit_until_refused(quiet, program)
        assert "disk" in refused
        assert len(refused.strip().splitlines()) == 1
        quiet.shell("head", f"rm {state}/ballast")
        after = quiet.submit("alice", program)["id"]
        assert quiet.wait_job(after, "COMPLETED")["id"] == after
        quiet.wait(lambda: not quiet.active_jobs(), "the jobs accepted meanwhile")
    assert quiet.wait_job(after, "COMPLETED")["id"] == after


def test_a_node_that_is_cut_off_is_shown_down_and_comes_back(quiet: Grid) -> None:
    quiet.wait(lambda: set(states(quiet).values()) == {"UP"}, "every node to be UP")
    quiet.lab("cut", "alpha2")
    try:
        quiet.wait(lambda: states(quiet)["alpha2"] == "DOWN", "alpha2 to be DOWN")
        assert states(quiet)["alpha1"] == "UP"
    finally:
        quiet.lab("heal", "alpha2")
    quiet.wait(lambda: states(quiet)["alpha2"] == "UP", "alpha2 to be UP")


def states(grid: Grid) -> dict[str, str]:
    return {node["name"]: node["state"] for node in grid.nodes()}

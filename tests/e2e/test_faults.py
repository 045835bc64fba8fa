"""Daemons killed, hosts rebooted, disks full: nothing lost, nothing twice, exit codes right."""

from __future__ import annotations

import json

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
        quiet.submit("alice", program, str(4 + number % 5), str(number % 4))["id"]
        for number in range(12)
    ]
    quiet.wait_job(jobs[0], "RUNNING")
    for host in ("alpha1", "alpha2", "head"):
        quiet.shell(host, f"systemctl kill -s KILL {DAEMONS}", check=False)
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
    nap = quiet.program("alice", "nap.sh", "#!/bin/sh\nsleep 1\n")
    again = [quiet.submit("alice", nap)["id"] for _ in range(4)]
    nodes = {quiet.wait_job(each, "COMPLETED")["tasks"][0]["node"] for each in again}
    assert nodes == {"alpha1", "alpha2"}


def test_a_full_disk_refuses_submissions_and_loses_none(quiet: Grid) -> None:
    state = "/var/lib/kcms/manager/alpha"
    program = quiet.program("alice", "nap.sh", "#!/bin/sh\nsleep 1\n")
    before = quiet.submit("alice", program)["id"]
    quiet.wait_job(before, "COMPLETED")
    unit = "kcms-manager@alpha"
    quiet.shell(
        "head",
        f"systemctl stop {unit} && cp -a {state} /tmp/state && mount -t tmpfs -o size=2m none {state}"
        f" && cp -a /tmp/state/. {state}/ && chown --reference=/tmp/state {state}"
        f" && systemctl start {unit}",
    )
    try:
        quiet.wait_job(before, "COMPLETED")
        quiet.shell("head", f"dd if=/dev/zero of={state}/ballast bs=4k 2>/dev/null", check=False)
        refused = None
        for _ in range(200):
            done = quiet.kcms("alpha1", "submit", program, user="alice", check=False)
            if done.returncode:
                refused = done.stderr
                break
        assert refused is not None
        assert "disk" in refused
        assert len(refused.strip().splitlines()) == 1
        quiet.shell("head", f"rm {state}/ballast")
        after = quiet.submit("alice", program)["id"]
        assert quiet.wait_job(after, "COMPLETED")["id"] == after
        quiet.wait(lambda: not quiet.active_jobs(), "the jobs accepted meanwhile")
    finally:
        quiet.shell(
            "head",
            f"systemctl stop {unit}; rm -f {state}/ballast; cp -a {state}/. /tmp/state/;"
            f" umount {state}; cp -a /tmp/state/. {state}/; rm -rf /tmp/state;"
            f" systemctl start {unit}",
        )
    assert quiet.wait_job(before, "COMPLETED")["id"] == before


def test_a_node_that_is_cut_off_is_shown_down_and_comes_back(quiet: Grid) -> None:
    quiet.lab("cut", "alpha2")
    try:
        quiet.wait(lambda: states(quiet)["alpha2"] == "DOWN", "alpha2 to be DOWN")
        assert states(quiet)["alpha1"] == "UP"
    finally:
        quiet.lab("heal", "alpha2")
    quiet.wait(lambda: states(quiet)["alpha2"] == "UP", "alpha2 to be UP")


def states(grid: Grid) -> dict[str, str]:
    document = json.loads(grid.kcms("head", "nodes", "--cluster", "alpha", "--json").stdout)
    return {node["name"]: node["state"] for node in document["nodes"]}

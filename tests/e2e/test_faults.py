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
        quiet.submit("alice", program, str(5 + number % 3), str(number % 4))["id"]
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
    assert sorted(started(quiet)) == sorted(jobs)


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
def small_disk(grid: Grid, host: str, unit: str, state: str) -> Iterator[str]:
    """What a daemon keeps on a disk of 8 MB; the file that fills it.  What is there goes along."""
    steps = (
        f"systemctl stop {unit}",
        f"cp -a {state} /tmp/state",
        f"mount -t tmpfs -o size=8m,mode=0700 none {state}",
        f"cp -a /tmp/state/. {state}/",
        f"systemctl start {unit}",
    )
    try:
        grid.shell(host, " && ".join(steps))
        yield f"{state}/ballast"
    finally:
        undo = (
            f"systemctl stop {unit}",
            f"rm -f {state}/ballast",
            f"if mountpoint -q {state}; then cp -a {state}/. /tmp/state/; umount {state}; fi",
            f"cp -a /tmp/state/. {state}/",
            "rm -rf /tmp/state",
            f"systemctl start {unit}",
        )
        grid.shell(host, "; ".join(undo))


def fill(grid: Grid, host: str, ballast: str) -> None:
    grid.shell(host, f"dd if=/dev/zero of={ballast} bs=4k 2>/dev/null", check=False)


def submit_until_refused(grid: Grid, program: str) -> str:
    """What the command line says when the store takes no more; at most 200 submissions."""
    for _ in range(200):
        done = grid.kcms("alpha1", "submit", program, user="alice", check=False)
        if done.returncode:
            return done.stderr
    raise AssertionError("nothing was refused on a full disk")


def test_a_full_disk_refuses_submissions_and_loses_none(quiet: Grid) -> None:
    program = quiet.program("alice", "counted.sh", COUNTED)
    quiet.shell("alpha1", "rm -f /shared/home/alice/starts", user="alice")
    before = quiet.submit("alice", program, "0", "0")["id"]
    quiet.wait_job(before, "COMPLETED")
    store = ("head", "kcms-manager@alpha", "/var/lib/kcms/manager-alpha")
    with small_disk(quiet, *store) as ballast:
        assert quiet.job(before)["state"] == "COMPLETED"
        meanwhile = quiet.submit("alice", program, "4", "5")["id"]
        quiet.wait_job(meanwhile, "RUNNING")
        quiet.wait(lambda: len(started(quiet)) == 2, "the job to begin")
        fill(quiet, "head", ballast)
        refused = submit_until_refused(quiet, program)
        assert "disk" in refused
        assert len(refused.strip().splitlines()) == 1
        node = quiet.job(meanwhile)["tasks"][0]["node"]
        alive = "pgrep -u alice -f 'counted.sh 4'"
        quiet.wait(lambda: quiet.shell(node, alive, check=False).returncode == 1, "it to be over")
        quiet.shell("head", f"rm {ballast}")
        after = quiet.submit("alice", program, "0", "0")["id"]
        assert quiet.wait_job(after, "COMPLETED")["id"] == after
        assert quiet.wait_job(meanwhile, "FAILED", "NODE_FAIL")["reason"] == "exit status 5"
        quiet.wait(lambda: not quiet.active_jobs(), "the jobs accepted meanwhile")
    assert quiet.wait_job(after, "COMPLETED")["id"] == after
    assert started(quiet).count(meanwhile) == 1


def started(grid: Grid) -> list[int]:
    """The jobs that began, once for each time that they did."""
    path = "/shared/home/alice/starts"
    return list(map(int, grid.shell("alpha1", f"cat {path} 2>/dev/null; true").stdout.split()))


def test_a_full_disk_of_a_node_keeps_jobs_waiting_and_loses_none(quiet: Grid) -> None:
    program = quiet.program("alice", "counted.sh", COUNTED)
    quiet.shell("alpha1", "rm -f /shared/home/alice/starts", user="alice")
    records = ("alpha1", "kcms-node", "/var/lib/kcms/node")
    with quiet.drained("alpha2"), small_disk(quiet, *records) as ballast:
        runs = quiet.submit("alice", program, "3", "6")["id"]
        quiet.wait(lambda: started(quiet) == [runs], "the job to begin")
        fill(quiet, "alpha1", ballast)
        waits = quiet.submit("alice", program, "0", "7")["id"]
        reason = "alpha1: cannot keep the node's record of the task: No space left on device"
        quiet.wait(lambda: quiet.job(waits)["reason"] == reason, "the reason to be told")
        assert started(quiet) == [runs]
        assert quiet.wait_job(runs, "FAILED", "NODE_FAIL")["reason"] == "exit status 6"
        quiet.shell("alpha1", f"rm {ballast}")
        assert quiet.wait_job(waits, "FAILED", "NODE_FAIL")["reason"] == "exit status 7"
        quiet.await_idle("alpha1")
    assert started(quiet) == [runs, waits]


def test_a_node_that_is_cut_off_is_shown_down_and_its_job_is_found_again(quiet: Grid) -> None:
    program = quiet.program("alice", "counted.sh", COUNTED)
    quiet.shell("alpha1", "rm -f /shared/home/alice/starts", user="alice")
    with quiet.managed("node_timeout = 6.0"):
        quiet.await_idle("alpha1", "alpha2")
        with quiet.drained("alpha1"):
            jobs = [quiet.submit("alice", program, seconds, "4")["id"] for seconds in ("3", "600")]
            quiet.wait(lambda: sorted(started(quiet)) == jobs, "both jobs to begin")
        quiet.lab("cut", "alpha2")
        try:
            quiet.wait(lambda: states(quiet)["alpha2"] == "DOWN", "alpha2 to be DOWN")
            assert states(quiet)["alpha1"] == "UP"
            assert [quiet.job(each)["state"] for each in jobs] == ["RUNNING", "RUNNING"]
        finally:
            quiet.lab("heal", "alpha2")
        quiet.wait(lambda: states(quiet)["alpha2"] == "UP", "alpha2 to be UP")
        assert quiet.wait_job(jobs[0], "FAILED", "NODE_FAIL")["reason"] == "exit status 4"
        assert quiet.job(jobs[1])["state"] == "RUNNING"
        quiet.kcms("alpha1", "kill", str(jobs[1]), user="alice")
        assert quiet.wait_job(jobs[1], "CANCELLED")["tasks"][0]["exit"]["processes_left"] == 0
    assert sorted(started(quiet)) == jobs


def states(grid: Grid) -> dict[str, str]:
    return {node["name"]: node["state"] for node in grid.nodes()}

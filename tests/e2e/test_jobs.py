"""Jobs on real hosts: as their user, in her closed home, ended without a survivor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.grid import Grid
from tests.e2e.watch import Watch

STUBBORN = """#!/usr/bin/python3
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for each in range(10):
    if os.fork() == 0:
        if each % 2:
            os.setsid()
            if os.fork():
                os._exit(0)
        while True:
            time.sleep(1)
open(sys.argv[1], "w").write("ready")
while True:
    time.sleep(1)
"""
TAKES = """#!/usr/bin/python3
import sys, time
taken = b"x" * (150 << 20)
time.sleep(float(sys.argv[1]))
"""


def shared(grid: Grid) -> str:
    """Where the machine keeps what the hosts see as /shared."""
    return str(Path(grid.inventory).parent.parent / "shared")


def test_a_module_runs_a_program_as_alice_and_root_never_looks(quiet: Grid) -> None:
    program = quiet.program("alice", "whoami.sh", "#!/bin/sh\nid -un; pwd; echo $KCMS_JOB_ID $1\n")
    with Watch(f"{shared(quiet)}/home/alice") as watch:
        answer = quiet.adhoc(
            "alpha1",
            "job_submit",
            executable=program,
            user="alice",
            wait=True,
            output="/shared/home/alice/whoami.%j",
            arguments=["x y"],
        )
    job = answer.result["job"]
    assert answer.result["changed"] is True
    assert (job["state"], job["user"], job["uid"]) == ("COMPLETED", "alice", 2001)
    text = quiet.shell("alpha2", f"cat /shared/home/alice/whoami.{job['id']}", user="alice").stdout
    assert text.split("\n")[:3] == ["alice", "/shared/home/alice", f"{job['id']} x y"]
    assert {access.uid for access in watch.accesses} == {2001}, watch.accesses
    assert any("whoami.sh" in access.path for access in watch.accesses)


@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_a_stubborn_job_is_killed_with_nothing_left(quiet: Grid, cluster: str) -> None:
    program = quiet.program("alice", "stubborn.py", STUBBORN)
    flag = "/shared/home/alice/stubborn.ready"
    job = quiet.submit("alice", program, flag, host=f"{cluster}1")
    quiet.wait_job(job["id"], "RUNNING", cluster=cluster)
    quiet.wait(
        lambda: quiet.shell("alpha1", f"test -s {flag}", user="alice", check=False).returncode == 0,
        "the job to have forked",
    )
    node = quiet.job(job["id"], cluster)["tasks"][0]["node"]
    count = "pgrep -u alice -fc stubborn.py"
    assert int(quiet.shell(node, count).stdout) == 11
    quiet.kcms(f"{cluster}1", "kill", str(job["id"]), user="alice")
    ended = quiet.wait_job(job["id"], "CANCELLED", cluster=cluster)
    record = ended["tasks"][0]["exit"]
    assert record["processes_left"] == 0
    assert record["processes_killed"] >= 10
    assert ended["killed_by"] == "alice"
    assert quiet.shell(node, count, check=False).stdout.strip() == "0"
    quiet.shell("alpha1", f"rm {flag}", user="alice")


def test_a_job_that_ran_for_as_long_as_it_may_ends_with_nothing_left(quiet: Grid) -> None:
    program = quiet.program("alice", "stubborn.py", STUBBORN)
    flag = "/shared/home/alice/stubborn.ready"
    quiet.shell("alpha1", f"rm -f {flag}", user="alice")
    job = quiet.submit("alice", "--time-limit", "00:00:03", program, flag)["id"]
    ended = quiet.wait_job(job, "TIMEOUT", "FAILED", "NODE_FAIL")
    assert ended["reason"] == "the time limit of 00:00:03 was reached"
    record = ended["tasks"][0]["exit"]
    assert (record["signal"], record["processes_left"]) == (9, 0)
    assert record["processes_killed"] >= 10
    node = ended["tasks"][0]["node"]
    assert quiet.shell(node, "pgrep -u alice -fc stubborn.py", check=False).stdout.strip() == "0"
    answer = quiet.adhoc(
        "alpha1", "job_submit", executable=program, user="alice", time_limit="90", check=False
    )
    assert "time_limit must have its unit, such as 90s" in answer.result["msg"]
    answer = quiet.adhoc(
        "alpha1",
        "job_submit",
        executable=quiet.program("alice", "nap.sh", "#!/bin/sh\nsleep 1\n"),
        user="alice",
        time_limit=90,
        wait=True,
    )
    assert answer.result["job"]["spec"]["time_limit"] == 90


def test_jobs_are_held_follow_others_and_begin_when_it_is_time(quiet: Grid) -> None:
    program = quiet.program("alice", "code.sh", "#!/bin/sh\nexit $1\n")
    first = quiet.submit("alice", "--hold", program, "3")["id"]
    after = quiet.submit("alice", "--dependency", f"afterany:{first}", program, "0")["id"]
    never = quiet.submit("alice", "--dependency", f"afterok:{first}", program, "0")["id"]
    later = quiet.submit("alice", "--begin-time", "+4s", program, "0")["id"]
    quiet.wait_job(later, "COMPLETED")
    begun = quiet.job(later)
    assert begun["start_time"] >= begun["spec"]["begin_time"]
    assert quiet.job(first)["reason"] == "held by alice"
    assert quiet.job(after)["reason"] == f"waits for job {first} (afterany)"
    refused = quiet.kcms("alpha1", "release", str(first), user="bob", check=False)
    assert "there is no job" in refused.stderr
    done = quiet.adhoc("alpha1", "job_hold", id=first, state="released", user="alice")
    assert done.result["changed"] is True
    assert quiet.wait_job(first, "FAILED")["reason"] == "exit status 3"
    assert quiet.wait_job(after, "COMPLETED")
    assert "ended as FAILED" in quiet.wait_job(never, "CANCELLED")["reason"]


def test_memory_is_promised_once_and_kept_to(quiet: Grid) -> None:
    program = quiet.program("alice", "take.py", TAKES)
    small = quiet.submit("alice", "--memory", "100M", program, "600")["id"]
    ended = quiet.wait_job(small, "FAILED", "COMPLETED")
    assert ended["reason"].endswith("MiB of memory, and its limit is 100 MiB")
    assert ended["tasks"][0]["exit"]["processes_left"] == 0
    resident = quiet.submit("alice", "--rss-limit", "100M", program, "600")["id"]
    large = quiet.submit("alice", "--memory", "300M", "--rss-limit", "300M", program, "2")["id"]
    ended = quiet.wait_job(resident, "FAILED", "COMPLETED")
    assert ended["reason"].endswith("and its RSS limit is 100 MiB")
    assert quiet.wait_job(large, "FAILED", "COMPLETED")["state"] == "COMPLETED"
    never = quiet.submit("alice", "--memory", "16T", program, "0")["id"]
    reason = f"no node in use has {1 << 24} MiB of memory"
    quiet.wait(lambda: quiet.job(never)["reason"] == reason, "the reason to be told")


def test_a_job_is_suspended_by_its_owner_and_goes_on(quiet: Grid) -> None:
    script = "#!/bin/sh\ni=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.1; done\n"
    program = quiet.program("alice", "count.sh", script)
    number = quiet.submit("alice", "--output", "/shared/home/alice/count.%j", program)["id"]

    def lines() -> str:
        file = f"cat /shared/home/alice/count.{number}"
        return quiet.shell("alpha1", file, user="alice", check=False).stdout

    quiet.wait(lambda: "5" in lines(), "the count to begin")
    refused = quiet.kcms("alpha1", "suspend", str(number), user="bob", check=False)
    assert "there is no job" in refused.stderr
    quiet.kcms("alpha1", "suspend", str(number), user="alice")
    quiet.wait(
        lambda: quiet.job(number)["reason"] == "suspended by alice", "the job to stand still"
    )
    assert quiet.job(number)["state"] == "SUSPENDED"
    before = lines()
    quiet.shell("head", "systemctl restart kcms-manager@alpha")
    quiet.wait(lambda: quiet.job(number)["state"] == "SUSPENDED", "the manager to be back")
    quiet.shell("head", "sleep 2")
    assert lines() == before
    done = quiet.adhoc("alpha1", "job_hold", id=number, state="resumed", user="alice")
    assert done.result["changed"] is True
    quiet.wait(lambda: lines() != before, "the count to go on")
    quiet.kcms("alpha1", "suspend", str(number), user="alice")
    quiet.kcms("alpha1", "resume", str(number), user="alice")
    assert quiet.wait_job(number, "COMPLETED")
    assert lines().split() == [str(each) for each in range(100)]


def test_exit_codes_and_both_output_files(quiet: Grid) -> None:
    program = quiet.program("bob", "three.sh", "#!/bin/sh\necho out; echo err >&2; exit 3\n")
    job = quiet.submit(
        "bob", "--output", "/shared/home/bob/o.%j", "--error", "/shared/home/bob/e.%j", program
    )
    ended = quiet.wait_job(job["id"], "FAILED", "COMPLETED")
    assert ended["state"] == "FAILED"
    assert ended["tasks"][0]["exit"]["code"] == 3
    files = f"cat /shared/home/bob/o.{job['id']} /shared/home/bob/e.{job['id']}"
    assert quiet.shell("alpha2", files, user="bob").stdout == "out\nerr\n"


def test_a_background_child_does_not_outlive_its_job(quiet: Grid) -> None:
    program = quiet.program("alice", "leave.sh", "#!/bin/sh\nsetsid sleep 777 &\nsleep 1\nexit 0\n")
    job = quiet.submit("alice", program)
    ended = quiet.wait_job(job["id"], "COMPLETED")
    record = ended["tasks"][0]["exit"]
    assert (record["code"], record["processes_killed"], record["processes_left"]) == (0, 1, 0)
    for node in ("alpha1", "alpha2"):
        assert quiet.shell(node, "pgrep -fc '[s]leep 777'", check=False).stdout.strip() == "0"


def test_jobs_wait_for_a_slot_by_priority_then_age(quiet: Grid) -> None:
    program = quiet.program("alice", "nap.sh", "#!/bin/sh\nsleep ${1:-3}\n")
    slots = sum(node["slots"] for node in quiet.nodes() if not node["drained"])
    fillers = [quiet.submit("alice", program, "600") for _ in range(slots)]
    low = quiet.submit("alice", program, "1")
    high = quiet.submit("alice", "--priority", "5", program, "1")
    assert quiet.job(low["id"])["state"] == "PENDING"
    assert quiet.job(low["id"])["reason"]
    quiet.wait_job(fillers[0]["id"], "RUNNING")
    quiet.kcms("head", "kill", str(fillers[0]["id"]), "--cluster", "alpha")
    first = quiet.wait_job(high["id"], "COMPLETED")
    second = quiet.wait_job(low["id"], "COMPLETED")
    assert first["start_time"] < second["start_time"]


def test_bad_requests_get_one_line(quiet: Grid) -> None:
    quiet.shell("alpha1", "echo data > /shared/home/alice/plain.txt", user="alice")
    cases = {
        ("submit", "/shared/home/alice/missing"): "missing",
        ("submit", "/shared/home/alice/plain.txt"): "execut",
        ("submit", "/bin/true"): "shared",
        ("submit", "--priority", "9999", "/shared/home/alice/x"): "priority",
        ("submit", "--cluster", "gamma", "/shared/home/alice/x"): "gamma",
        ("job", "999999"): "999999",
        ("kill", "999999"): "999999",
    }
    for words, expected in cases.items():
        done = quiet.kcms("alpha1", *words, user="alice", check=False)
        assert done.returncode != 0, words
        assert expected in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr

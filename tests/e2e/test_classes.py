"""Jobs of several tasks on real hosts: batch, parallel, and what is begun anew elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.grid import Grid

HOME = "/shared/home/alice"
TELL = """#!/bin/sh
echo "$KCMS_RANK of $KCMS_SIZE on $KCMS_NODE, $KCMS_LOCAL_RANK of $KCMS_LOCAL_SIZE: $KCMS_HOSTS"
"""
DIES = f"""#!/bin/sh
if [ "$KCMS_RANK" = 4 ]; then
    until [ "$(ls {HOME}/dies.$KCMS_JOB_ID.* 2>/dev/null | wc -l)" = 5 ]; do sleep 0.1; done
    kill -SEGV $$
fi
(trap '' TERM; sleep 1000) &
touch {HOME}/dies.$KCMS_JOB_ID.$KCMS_RANK
wait
"""
ONCE = f"""#!/bin/sh
echo "$KCMS_RESTART_COUNT $KCMS_NODE" >> {HOME}/once.$KCMS_JOB_ID
[ "$KCMS_RESTART_COUNT" = 0 ] || exit 0
while echo . >> {HOME}/ticks.$KCMS_JOB_ID; do sleep 0.5; done
"""


def text(grid: Grid, name: str) -> str:
    return grid.shell("alpha1", f"cat {HOME}/{name}", user="alice").stdout


def test_a_batch_job_runs_each_index_once_in_a_file_of_its_own(three: Grid) -> None:
    program = three.program("alice", "square.sh", "#!/bin/sh\necho $((KCMS_TASK_INDEX * $1))\n")
    words = ("--class", "batch", "--total-tasks", "12", "--output", f"{HOME}/sq.%j.%t.%u")
    job = three.submit("alice", *words, "--argument-count", "1", program, "7")["id"]
    ended = three.wait_job(job, "COMPLETED", "FAILED")
    assert (ended["state"], ended["task_counts"]) == ("COMPLETED", {"COMPLETED": 12})
    assert len({task["node"] for task in ended["tasks"]}) == 3
    assert all(task["exit"]["usage"]["cpu_seconds"] >= 0 for task in ended["tasks"])
    found = [text(three, f"sq.{job}.{index}.alice").strip() for index in range(12)]
    assert found == [str(7 * index) for index in range(12)]
    assert three.kcms("alpha2", "output", f"{job}.11", user="alice").stdout == "77\n"
    asked = ("submit", *words, "--argument-count", "2", program, "7")
    answer = three.kcms("alpha1", *asked, user="alice", check=False)
    assert answer.stderr == "kcms: argument_count is 2, and 1 arguments are given\n"


def test_one_task_of_a_batch_job_is_killed_and_the_others_go_on(three: Grid) -> None:
    program = three.program("alice", "nap3.sh", "#!/bin/sh\nsleep 3\n")
    words = ("--class", "batch", "--total-tasks", "8", "--output", "/dev/null")
    job = three.submit("alice", *words, program)["id"]
    three.wait_job(job, "RUNNING")
    told = three.kcms("alpha2", "kill", f"{job}.0", f"{job}.7", user="alice").stdout
    assert told == f"task 0 of job {job} is being killed\ntask 7 of job {job} is being killed\n"
    ended = three.wait_job(job, "CANCELLED", "COMPLETED", "FAILED")
    assert ended["task_counts"] == {"COMPLETED": 6, "CANCELLED": 2}
    assert "2 of 8 tasks did not complete" in ended["reason"]
    answer = three.kcms("alpha2", "kill", f"{job}.1", user="bob", check=False)
    assert answer.stderr == f"kcms: there is no job {job} that bob may see\n"


def test_six_ranks_on_three_hosts_know_each_other(three: Grid) -> None:
    program = three.program("alice", "tell.sh", TELL)
    answer = three.adhoc(
        "alpha1",
        "job_submit",
        executable=program,
        user="alice",
        total_tasks=6,
        tasks_per_node=2,
        output=f"{HOME}/tell.%j.%t",
        wait=True,
        **{"class": "parallel"},
    )
    job = answer.result["job"]
    hosts = [task["node"] for task in job["tasks"]]
    assert sorted(hosts) == ["alpha1", "alpha1", "alpha2", "alpha2", "alpha3", "alpha3"]
    for rank, host in enumerate(hosts):
        said = f"{rank} of 6 on {host}, {rank % 2} of 2: {','.join(hosts)}\n"
        assert text(three, f"tell.{job['id']}.{rank}") == said
    starts = [task["start_time"] for task in job["tasks"]]
    assert max(starts) - min(starts) < 5
    assert {task["exit"]["code"] for task in job["tasks"]} == {0}


@pytest.mark.parametrize("policy", ["end", "continue"])
def test_the_death_of_one_rank_does_what_the_policy_says(three: Grid, policy: str) -> None:
    program = three.program("alice", "dies.sh", DIES)
    words = ("--class", "parallel", "--total-tasks", "6", "--task-failure", policy)
    job = three.submit("alice", *words, "--output", "/dev/null", program)["id"]

    def dead() -> bool:
        return any(task["state"] == "FAILED" for task in three.job(job)["tasks"])

    three.wait(dead, "rank 4 to have died")
    if policy == "continue":
        states = [task["state"] for task in three.job(job)["tasks"]]
        assert states == ["RUNNING"] * 4 + ["FAILED", "RUNNING"]
        three.kcms("alpha1", "kill", str(job), user="alice")
    ended = three.wait_job(job, "FAILED", "CANCELLED")
    if policy == "end":
        assert (ended["state"], ended["reason"]) == ("FAILED", "task 4: ended by signal 11")
        assert ended["task_counts"] == {"FAILED": 1, "CANCELLED": 5}
    assert all(task["exit"] for task in ended["tasks"])
    for host in ("alpha1", "alpha2", "alpha3"):
        assert three.shell(host, "pgrep -u alice -c sleep", check=False).stdout.strip() == "0"


def restarts(grid: Grid, job: int) -> list[list[str]]:
    return [line.split() for line in text(grid, f"once.{job}").splitlines()]


def begun(grid: Grid, *words: str) -> tuple[int, str]:
    """A job that runs until it is begun anew, and the node that it runs on."""
    program = grid.program("alice", "once.sh", ONCE)
    job = grid.submit("alice", *words, program)["id"]
    grid.wait(
        lambda: grid.shell("alpha1", f"test -s {HOME}/once.{job}", check=False).returncode == 0,
        "the job to have begun",
    )
    return job, str(grid.job(job)["tasks"][0]["node"])


def test_a_job_whose_node_lost_its_power_is_begun_anew(three: Grid) -> None:
    job, node = begun(three, "--requeue")
    three.lab("power-off", node)
    three.lab("start", node)
    ended = three.wait_job(job, "COMPLETED", "NODE_FAIL", "FAILED")
    assert (ended["state"], ended["tasks"][0]["restarts"]) == ("COMPLETED", 1)
    assert [each[0] for each in restarts(three, job)] == ["0", "1"]


def test_a_job_that_is_cut_off_ends_there_before_it_is_begun_elsewhere(three: Grid) -> None:
    times: dict[str, Any] = {"lease": 12.0, "node_lost": 15.0, "node_timeout": 6.0}
    settings = json.dumps({"kcms_config": {"manager": times}})
    three.playbook("site.yml", "-e", settings, "--limit", "head")
    try:
        job, node = begun(three, "--requeue")
        three.lab("cut", node)
        elsewhere = "alpha1" if node != "alpha1" else "alpha2"
        three.wait(
            lambda: len(three.shell(elsewhere, f"cat {HOME}/once.{job}").stdout.split("\n")) > 2,
            "the job to be begun anew",
        )
        ticks = f"wc -l < {HOME}/ticks.{job}"
        before = three.shell(elsewhere, ticks).stdout
        left = three.lab("exec", node, "pgrep", "-u", "alice", "-c", "once.sh", check=False)
        assert left.strip() in ("0", "")
        ended = three.wait_job(job, "COMPLETED", "NODE_FAIL")
        assert ended["state"] == "COMPLETED"
        assert three.shell(elsewhere, ticks).stdout == before
        assert ended["tasks"][0]["node"] != node
    finally:
        three.lab("heal", node)
        three.playbook("site.yml", "--limit", "head")
    three.wait(lambda: node in up(three), "the node to be heard again")
    assert [each[0] for each in restarts(three, job)] == ["0", "1"]


def up(grid: Grid) -> set[str]:
    return {each["name"] for each in grid.nodes() if each["state"] == "UP"}


def test_a_program_is_run_when_a_job_is_over(three: Grid) -> None:
    fails = three.program("alice", "code.sh", "#!/bin/sh\nexit $1\n")
    tells = three.program(
        "alice",
        "ended.sh",
        f'#!/bin/sh\necho "$KCMS_ENDED_STATE: $KCMS_ENDED_REASON" > {HOME}/ended.$KCMS_ENDED_JOB\n',
    )
    job = three.submit("alice", "--on-end", tells, "--comment", "a try", fails, "3")["id"]
    three.wait_job(job, "FAILED")
    three.wait_job(job + 1, "COMPLETED")
    assert text(three, f"ended.{job}") == "FAILED: exit status 3\n"
    shown = three.kcms("alpha1", "job", str(job), user="alice").stdout
    assert "a try" in shown
    named = three.kcms("alpha1", "jobs", "--all", "--name", "end-*", user="alice").stdout
    assert f"end-{job}" in named
    assert "code.sh" not in named

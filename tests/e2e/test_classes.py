"""Jobs of several tasks on real hosts: batch, parallel, and what is begun anew elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.grid import Grid

HOME = "/shared/home/alice"
NODES = {"alpha1", "alpha2", "alpha3"}
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
KEEPS = f"""#!/bin/sh
kept={HOME}/kept.$KCMS_JOB_ID
echo "run $KCMS_RESTART_COUNT goes on from $(cat $kept 2>/dev/null)." >> $kept.story
[ "$KCMS_RESTART_COUNT" = 0 ] || exit 3
echo 41 > $kept
kill -KILL $$
"""
TICKS = f"""#!/bin/sh
trap 'echo hup >> {HOME}/hups.$KCMS_JOB_ID.$KCMS_TASK_INDEX' HUP
(trap '' HUP; while echo . >> {HOME}/ticks.$KCMS_JOB_ID.$KCMS_TASK_INDEX; do sleep 0.1; done) &
while :; do wait; done
"""
STAYS = """#!/bin/sh
trap '' TERM HUP
if [ -z "$1" ]; then setsid "$0" away & fi
echo begun
while :; do sleep 0.2; done
"""
TIMES = "lease = 12.0\nnode_lost = 15.0\nnode_timeout = 6.0"
"""Of the manager, so that a test sees what a silent node comes to."""


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


@pytest.mark.parametrize("kind", ["batch", "parallel"])
def test_all_tasks_of_a_job_stand_still_go_on_and_end_and_one_is_signalled(
    three: Grid, kind: str
) -> None:
    program = three.program("alice", "ticks.sh", TICKS)
    words = ("--class", kind, "--total-tasks", "6", "--output", "/dev/null")
    job = three.submit("alice", *words, program)["id"]

    def ticks() -> list[int]:
        found = three.shell("alpha1", f"cd {HOME}; wc -l ticks.{job}.? 2>/dev/null", check=False)
        return [int(line.split()[0]) for line in found.stdout.splitlines()[:6]]

    three.wait(lambda: len(ticks()) == 6, "every task to have begun")
    three.wait(lambda: all(each["start_time"] for each in three.job(job)["tasks"]), "it to be told")
    three.kcms("alpha2", "suspend", str(job), user="alice")
    three.wait(lambda: three.job(job)["reason"] == "suspended by alice", "all to stand still")
    before = ticks()
    three.kcms("alpha3", "signal", "HUP", f"{job}.4", user="alice")
    three.shell("alpha1", "sleep 1")
    assert ticks() == before
    three.kcms("alpha2", "resume", str(job), user="alice")
    three.wait(lambda: all(a > b for a, b in zip(ticks(), before, strict=True)), "all to go on")
    hups = f"cd {HOME}; ls hups.{job}.?"
    three.wait(lambda: three.shell("alpha1", hups, check=False).stdout, "the signal")
    assert three.shell("alpha1", hups).stdout == f"hups.{job}.4\n"
    three.kcms("alpha2", "kill", str(job), user="alice")
    ended = three.wait_job(job, "CANCELLED")
    assert ended["task_counts"] == {"CANCELLED": 6}
    assert {task["exit"]["processes_left"] for task in ended["tasks"]} == {0}
    for host in sorted(NODES):
        assert three.shell(host, "pgrep -u alice -c ticks.sh", check=False).stdout == "0\n"


def test_ranks_that_ran_for_as_long_as_they_may_end_with_nothing_left(three: Grid) -> None:
    """Each with one that left its session and its parent; none of them ends when it is asked to."""
    program = three.program("alice", "stays.sh", STAYS)
    words = ("--class", "parallel", "--total-tasks", "6", "--time-limit", "2s")
    job = three.submit("alice", *words, "--output", f"{HOME}/stays.%j.%t", program)["id"]
    ended = three.wait_job(job, "TIMEOUT", "FAILED", "CANCELLED", "NODE_FAIL")
    assert ended["reason"].endswith("the time limit of 00:00:02 was reached")
    assert ended["task_counts"] == {"TIMEOUT": 6}
    found = [task["exit"] for task in ended["tasks"]]
    assert {(each["signal"], each["processes_left"]) for each in found} == {(9, 0)}
    began = three.shell("alpha1", f"cat {HOME}/stays.{job}.?", user="alice").stdout.split()
    assert began == ["begun"] * 12
    for host in sorted(NODES):
        assert three.shell(host, "pgrep -u alice -c stays.sh", check=False).stdout == "0\n"


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


def test_a_job_that_keeps_checkpoints_goes_on_from_them_after_a_signal(quiet: Grid) -> None:
    program = quiet.program("alice", "keeps.sh", KEEPS)
    job = quiet.submit("alice", "--restart-from-checkpoint", program)["id"]
    ended = quiet.wait_job(job, "FAILED", "COMPLETED")
    assert (ended["reason"], ended["tasks"][0]["restarts"]) == ("exit status 3", 1)
    assert text(quiet, f"kept.{job}.story") == "run 0 goes on from .\nrun 1 goes on from 41.\n"


def test_a_job_is_begun_anew_when_its_user_says_so(quiet: Grid) -> None:
    job, _ = begun(quiet)
    refused = quiet.kcms("alpha2", "requeue", str(job), user="bob", check=False)
    assert refused.stderr == f"kcms: there is no job {job} that bob may see\n"
    quiet.kcms("alpha2", "requeue", str(job), user="alice")
    quiet.wait_job(job, "COMPLETED")
    assert [each[0] for each in restarts(quiet, job)] == ["0", "1"]


@contextmanager
def one_way(grid: Grid, host: str, other: str) -> Iterator[None]:
    """Nothing that a host sends to another arrives; what the other sends does."""
    route = f"blackhole {grid.address(other)}/32"
    grid.shell(host, f"ip route add {route}")
    try:
        yield
    finally:
        grid.shell(host, f"ip route del {route}")


def test_jobs_that_are_cut_off_end_there_before_they_are_begun_elsewhere(three: Grid) -> None:
    """One node is not heard, and another hears nothing."""
    with three.managed(TIMES):
        three.await_idle("alpha1", "alpha2", "alpha3")
        jobs = dict(begun(three, "--requeue", "--cpus-per-task", "2") for _ in range(2))
        (mute, deaf), (third,) = jobs.values(), NODES - set(jobs.values())
        with one_way(three, mute, "head"), one_way(three, "head", deaf):
            three.wait(lambda: all(len(restarts(three, job)) == 2 for job in jobs), "both to be")
            for job, node in jobs.items():
                ticks = text(three, f"ticks.{job}")
                assert three.shell(node, "pgrep -u alice -c once.sh", check=False).stdout == "0\n"
                ended = three.wait_job(job, "COMPLETED", "NODE_FAIL")
                assert (ended["state"], ended["tasks"][0]["node"]) == ("COMPLETED", third)
                assert text(three, f"ticks.{job}") == ticks
    three.wait(lambda: up(three) == NODES, "the nodes to be heard again")
    assert [[each[0] for each in restarts(three, job)] for job in jobs] == [["0", "1"]] * 2


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

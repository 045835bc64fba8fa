"""Checkpoints: jobs go on from them on other nodes, and lose no more than what came after."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.grid import Grid
from tests.e2e.test_migration import HOME, leftovers, node_of, other, started

INTERVAL = 10
QUICK = "node_timeout = 5.0\nnode_lost = 20.0\nlease = 10.0"
"""Settings of a manager that gives nodes up soon."""

COUNT = """#!/usr/bin/python3
# Each step is written to the output, which goes back with the job, and counted in a file that is
# never open while the job stands still, which cannot.
import hashlib, os, sys, time
name, steps = sys.argv[1], int(sys.argv[2])
digest = hashlib.sha256()
for step in range(steps):
    digest.update(str(step).encode())
    print(step, digest.hexdigest(), flush=True)
    with open(name + ".steps", "a") as file:
        file.write("%d\\n" % step)
    if not os.path.exists(name + ".go"):
        time.sleep(0.1)
"""
OWN = """#!/usr/bin/python3
# It saves its step when it gets SIGUSR1, and goes on from there.
import os, signal, sys, time
name = sys.argv[1]
step = int(open(name + ".saved").read()) if os.path.exists(name + ".saved") else 0
began, due = step, []
signal.signal(signal.SIGUSR1, lambda *_: due.append(1))
print("begun", os.environ.get("KCMS_RESTART_COUNT"), "at", began, flush=True)
while step < 150 or not os.path.exists(name + ".go"):
    step += 1
    if due:
        due.clear()
        with open(name + ".new", "w") as file:
            file.write(str(step))
        os.replace(name + ".new", name + ".saved")
    time.sleep(0.1)
print("end", flush=True)
"""
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")


def read(grid: Grid, name: str) -> str:
    return grid.shell("alpha3", f"cat {HOME}/{name}", user="alice").stdout


def counting(grid: Grid, name: str, steps: int, *options: str) -> dict[str, Any]:
    """A job that counts, from files that are not there."""
    program = grid.program("alice", "count.py", COUNT)
    grid.shell("alpha1", f"rm -f {HOME}/{name}.*", user="alice")
    words = (*options, "--output", f"{HOME}/{name}.out", program, f"{HOME}/{name}", str(steps))
    number = grid.submit("alice", *words)["id"]
    grid.wait(lambda: grid.job(number)["start_time"], "the job to start")
    return grid.job(number)


def undisturbed(grid: Grid, steps: int) -> str:
    path = f"{HOME}/undisturbed"
    command = f"touch {path}.go; {HOME}/count.py {path} {steps}"
    return grid.shell("alpha3", command, user="alice").stdout


def checkpoint(grid: Grid, number: int | str) -> dict[str, Any]:
    """Make one of a job that runs; what its document says of it then."""
    grid.kcms("alpha1", "checkpoint", str(number), "--wait", user="alice")
    found = grid.job(int(str(number).partition(".")[0]))["checkpoint"]
    return dict(found)


def await_image(grid: Grid, number: int) -> dict[str, Any]:
    grid.wait(lambda: grid.job(number)["checkpoint"]["last"], "a checkpoint to be made")
    return dict(grid.job(number)["checkpoint"]["last"])


def completed(grid: Grid, number: int) -> dict[str, Any]:
    job = grid.wait_job(number, *FINAL)
    assert job["state"] == "COMPLETED", job["reason"]
    return job


def nothing_is_left(grid: Grid) -> None:
    grid.wait(lambda: leftovers(grid) == "", "every image to be removed")


def test_a_job_whose_node_loses_its_power_loses_one_interval_at_the_most(movers: Grid) -> None:
    steps = 600
    with movers.managed(QUICK):
        job = counting(movers, "lost", steps, "--checkpoint-interval", f"{INTERVAL}s")
        saved = await_image(movers, job["id"])
        node = node_of(job)
        movers.wait(lambda: steps_done(movers, "lost") > 150, "some work to come after it")
        movers.lab("power-off", node)
        try:
            movers.wait(lambda: movers.job(job["id"])["tasks"][0]["node"] == other(node), "it")
            ended = completed(movers, job["id"])
        finally:
            movers.lab("start", node)
    assert read(movers, "lost.out") == undisturbed(movers, steps)
    assert ended["tasks"][0]["restarts"] == 1
    assert "it went on from checkpoint" in ended["checkpoint"]["note"]
    redone = steps_done(movers, "lost") - steps
    assert redone > 0
    assert redone * 0.1 <= INTERVAL + saved["seconds"] + 2
    movers.await_idle("alpha1", "alpha2")
    nothing_is_left(movers)


def steps_done(grid: Grid, name: str) -> int:
    return len(read(grid, f"{name}.steps").splitlines())


def test_a_job_goes_back_to_its_checkpoint_by_command_and_by_module(movers: Grid) -> None:
    job = counting(movers, "back", 300)
    refused = movers.kcms("alpha1", "restart", str(job["id"]), user="alice", check=False)
    assert refused.returncode == 1
    assert "kcms requeue begins it from its beginning" in refused.stderr
    told = checkpoint(movers, job["id"])
    assert (told["rung"], told["last"]["node"]) == ("transparent", node_of(job))
    movers.wait(lambda: steps_done(movers, "back") > 60, "work to come after the checkpoint")
    movers.kcms("alpha1", "restart", str(job["id"]), user="alice")
    again = movers.wait_job(job["id"], "RUNNING", "COMPLETED")
    movers.wait(lambda: movers.job(job["id"])["tasks"][0]["restarts"] == 1, "it to be begun anew")
    movers.wait(lambda: movers.job(job["id"])["tasks"][0]["start_time"], "it to go on")
    made = movers.adhoc("head", "job_checkpoint", id=job["id"], cluster="alpha").result
    assert made["changed"] is True
    movers.adhoc("head", "job_restart", id=job["id"], cluster="alpha")
    movers.wait(lambda: movers.job(job["id"])["tasks"][0]["restarts"] == 2, "it to be begun anew")
    movers.shell("alpha1", f"touch {HOME}/back.go", user="alice")
    ended = completed(movers, again["id"])
    assert read(movers, "back.out") == undisturbed(movers, 300)
    assert steps_done(movers, "back") > 300
    assert ended["tasks"][0]["checkpoint"]["made"] == 2
    nothing_is_left(movers)


def test_a_job_that_a_signal_ended_goes_on_from_its_checkpoint(movers: Grid) -> None:
    job = counting(movers, "shot", 200, "--checkpoint-interval", "1h")
    checkpoint(movers, job["id"])
    movers.kcms("alpha1", "signal", "SEGV", str(job["id"]), user="alice")
    movers.wait(lambda: movers.job(job["id"])["tasks"][0]["restarts"] == 1, "it to be begun anew")
    movers.shell("alpha1", f"touch {HOME}/shot.go", user="alice")
    ended = completed(movers, job["id"])
    assert read(movers, "shot.out") == undisturbed(movers, 200)
    assert "it went on from checkpoint" in ended["checkpoint"]["note"]
    nothing_is_left(movers)


def test_a_job_that_saves_itself_is_signalled_and_begun_anew(movers: Grid) -> None:
    program = movers.program("alice", "own.py", OWN)
    movers.shell("alpha1", f"rm -f {HOME}/own.saved {HOME}/own.go", user="alice")
    options = ("--checkpoint-signal", "USR1", "--checkpoint-interval", f"{INTERVAL}s")
    words = (*options, "--output", f"{HOME}/own.out", program, f"{HOME}/own")
    job = movers.wait_job(movers.submit("alice", *words)["id"], "RUNNING")
    saved = f"test -e {HOME}/own.saved"
    movers.wait(
        lambda: movers.shell("alpha1", saved, user="alice", check=False).returncode == 0,
        "it to save itself",
    )
    told = movers.job(job["id"])["checkpoint"]
    assert (told["rung"], told["last"]) == ("own", None)
    assert told["signalled"] is not None
    movers.kcms("alpha1", "restart", str(job["id"]), user="alice")
    movers.wait(lambda: "begun 1" in read(movers, "own.out"), "it to be begun anew")
    movers.shell("alpha1", f"touch {HOME}/own.go", user="alice")
    completed(movers, job["id"])
    begun, end = read(movers, "own.out").splitlines()
    assert begun.startswith("begun 1 at ")
    assert int(begun.rpartition(" ")[2]) > 50
    assert end == "end"


def test_one_task_of_a_batch_goes_back_and_the_others_do_not(movers: Grid) -> None:
    program = movers.program("alice", "count.py", COUNT)
    movers.shell("alpha1", f"rm -f {HOME}/part.*", user="alice")
    options = ("--class", "batch", "--total-tasks", "2", "--output", f"{HOME}/part.%t.out")
    wrapper = movers.program(
        "alice", "part.sh", f"#!/bin/sh\nexec {program} {HOME}/part.$KCMS_TASK_INDEX 150\n"
    )
    number = movers.submit("alice", *options, wrapper)["id"]

    def tasks() -> list[dict[str, Any]]:
        return list(movers.job(number)["tasks"])

    movers.wait(lambda: [bool(each["start_time"]) for each in tasks()] == [True] * 2, "both")
    checkpoint(movers, f"{number}.1")
    assert [len((each["checkpoint"] or {"images": []})["images"]) for each in tasks()] == [0, 1]
    movers.kcms("alpha1", "restart", f"{number}.1", user="alice")
    movers.wait(lambda: [each["restarts"] for each in tasks()] == [0, 1], "one to be begun anew")
    movers.shell("alpha1", f"touch {HOME}/part.0.go {HOME}/part.1.go", user="alice")
    completed(movers, number)
    for index in range(2):
        assert read(movers, f"part.{index}.out") == undisturbed(movers, 150)
    nothing_is_left(movers)


ASKING = """#!/bin/sh
# Work, a checkpoint that the job asks for itself, and work after it.
i=0
while [ $i -lt 120 ]; do
  echo "line $i"
  [ $i = 20 ] && kcms checkpoint "$KCMS_JOB_ID" > "$1.told" 2>&1
  [ -e "$1.go" ] || sleep 0.1
  i=$((i+1))
done
"""


def test_a_job_asks_for_its_own_checkpoint_and_one_that_stands_still_is_saved(
    movers: Grid,
) -> None:
    program = movers.program("alice", "asking.sh", ASKING)
    movers.shell("alpha1", f"rm -f {HOME}/asking.go", user="alice")
    job = started(movers, program, "asking", f"{HOME}/asking")
    await_image(movers, job["id"])
    movers.kcms("alpha1", "suspend", str(job["id"]), user="alice")
    assert checkpoint(movers, job["id"])["last"]["number"] > 1
    assert movers.job(job["id"])["state"] == "SUSPENDED"
    movers.kcms("alpha1", "restart", str(job["id"]), user="alice")
    movers.wait(lambda: movers.job(job["id"])["tasks"][0]["restarts"] == 1, "it to be begun anew")
    movers.kcms("alpha1", "release", str(job["id"]), user="alice", check=False)
    movers.shell("alpha1", f"touch {HOME}/asking.go", user="alice")
    completed(movers, job["id"])
    assert read(movers, "asking.out") == "".join(f"line {each}\n" for each in range(120))
    nothing_is_left(movers)


@pytest.mark.parametrize("user", ["bob"])
def test_an_image_is_its_owners_alone(movers: Grid, user: str) -> None:
    job = counting(movers, "mine", 400)
    checkpoint(movers, job["id"])
    command = f"cd /; find {HOME}/.kcms -type f -printf '%u %m %s\\n'"
    (found,) = movers.shell("alpha1", command, user="alice").stdout.splitlines()
    owner, mode, size = found.split()
    assert (owner, mode) == ("alice", "600")
    assert int(size) == movers.job(job["id"])["checkpoint"]["last"]["size"]
    refused = movers.shell("alpha1", command, user=user, check=False)
    assert refused.stdout == ""
    for act in ("checkpoint", "restart"):
        done = movers.kcms("alpha1", act, str(job["id"]), user=user, check=False)
        assert done.returncode != 0
        assert f"there is no job {job['id']}" in done.stderr
    took = json.loads(movers.kcms("alpha1", "job", str(job["id"]), "--json", user="alice").stdout)
    assert took["checkpoint"]["last"]["size"] == int(size)
    movers.kcms("alpha1", "kill", str(job["id"]), user="alice")
    movers.wait_job(job["id"], "CANCELLED")
    nothing_is_left(movers)

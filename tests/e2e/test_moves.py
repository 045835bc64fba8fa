"""Programs of several kinds are moved ten times in a row, and nobody can tell from what they wrote.

Every program does the same work in an undisturbed run, without pauses, as in the one that is moved,
which pauses a little after each step until it is let go: so what both wrote can be compared byte by
byte, and no test waits for longer than its moves take.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.grid import Grid
from tests.e2e.test_migration import HOME, leftovers, started

NODES = ("alpha1", "alpha2", "alpha3")
MOVES = 10
LARGE_MIB = int(os.environ.get("KCMS_E2E_LARGE_MIB", "256"))
"""Memory of the large program; 1024 for the whole proof, which takes minutes more."""

SHELL = """#!/bin/sh
# A shell with children, a pipe between them and files that stay open.
exec 3>>"$1.log"
pause() { [ -e "$1.go" ] || sleep 0.1; }
i=0
while [ $i -lt 1500 ]; do echo "line $i"; i=$((i+1)); pause "$1"; done |
  while read -r line; do echo "read $line"; done &
reader=$!
j=0
while [ $j -lt 1500 ]; do echo "log $j" >&3; j=$((j+1)); pause "$1"; done
wait $reader
echo end
exit 3
"""

PYTHON = """#!/usr/bin/python3
import hashlib, os, sys, threading, time
name, steps = sys.argv[1], 1500
last = [time.monotonic()]

def pause():
    now = time.monotonic()
    if not 0 <= now - last[0] < 60:
        print("the clock jumped by", now - last[0], flush=True)
    last[0] = now
    if not os.path.exists(name + ".go"):
        time.sleep(0.1)

def end():
    with open(name + ".cpu", "w") as file:
        file.write(str(time.process_time()))
    print("end", flush=True)
    sys.exit(3)
"""

THREADED = f"""{PYTHON}
turn, digests = threading.Barrier(4), [hashlib.sha256(bytes([each])) for each in range(4)]

def work(mine):
    for step in range(steps):
        digests[mine].update(step.to_bytes(4, "big") * 1000)
        if turn.wait() == 0:
            for each in range(4):
                digests[each].update(digests[each - 1].digest())
            print(step, *(each.hexdigest()[:8] for each in digests), flush=True)
            pause()
        turn.wait()

threads = [threading.Thread(target=work, args=(each,)) for each in range(4)]
for each in threads: each.start()
for each in threads: each.join()
end()
"""

NUMBERS = f"""{PYTHON}
import numpy
start = numpy.arange(1.0, 40001.0).reshape(200, 200)
row, turn = numpy.sin(start), numpy.linalg.qr(numpy.cos(start))[0]
for step in range(steps):
    row = turn @ row
    row[step % 200] += numpy.tanh(row.mean(axis=0))
    print(step, float(row.sum()).hex(), float(numpy.abs(row).max()).hex(), flush=True)
    pause()
end()
"""

BATCH = f"""{PYTHON}
index = os.environ["KCMS_TASK_INDEX"]
name = f"{{name}}.{{index}}"
digest = hashlib.sha256(index.encode())
with open(name + ".log", "a") as log:
    for step in range(steps):
        digest.update(step.to_bytes(4, "big"))
        print(step, digest.hexdigest(), flush=True)
        print(index, step, file=log, flush=True)
        pause()
end()
"""
TASKS = 3

SMALL = 4 << 20
"""Bytes that an image has beside memory, and that a shell's next child may bring."""

PROGRAMS = {"shell": SHELL, "threaded": THREADED, "numbers": NUMBERS}
LARGE = Path(__file__).with_name("large.c")


def written(grid: Grid, name: str, *ends: str) -> dict[str, str]:
    files = {end: f"cat {HOME}/{name}.{end} 2>/dev/null; true" for end in ends}
    return {end: grid.shell("alpha1", each, user="alice").stdout for end, each in files.items()}


def undisturbed(grid: Grid, program: str, name: str) -> dict[str, str]:
    """What the program writes when nobody moves it, and that it ends as it should."""
    path = f"{HOME}/{name}"
    command = f"touch {path}.go; cd {HOME}; {program} {path} > {path}.out; echo $? > {path}.status"
    grid.shell("alpha1", f"rm -f {path}.*; {command}", user="alice")
    assert written(grid, name, "status") == {"status": "3\n"}
    return written(grid, name, "out", "log")


def next_node(job: dict[str, Any], task: int) -> str:
    """Of the other two nodes the one with fewer tasks of the job, else the next one."""
    nodes = [each["node"] for each in job["tasks"]]
    here = NODES.index(nodes[task])
    others = [NODES[here - 2], NODES[here - 1]]
    return min(others, key=nodes.count)


def move_on(grid: Grid, job: dict[str, Any], task: int = 0) -> dict[str, Any]:
    """Move a task to another node; the job after that."""
    target = next_node(job, task)
    which = f"{job['id']}.{task}" if len(job["tasks"]) > 1 else str(job["id"])
    moved = grid.kcms("alpha1", "migrate", "--json", which, target, user="alice")
    after = dict(json.loads(moved.stdout))
    assert (after["state"], after["tasks"][task]["node"]) == ("RUNNING", target)
    assert after["migration"]["phase"] == "done"
    return after


def move_ten_times(grid: Grid, job: dict[str, Any], task: int = 0) -> list[dict[str, Any]]:
    """The records of the moves."""
    done = []
    for _ in range(MOVES):
        job = move_on(grid, job, task)
        done.append(job["migration"])
    return done


def nothing_is_left(grid: Grid) -> bool:
    alive = [grid.shell(each, "pgrep -u alice; true").stdout for each in NODES]
    frozen = "find /var/lib/kcms/node/moves /run/kcms-images -mindepth 1 2>/dev/null; "
    frozen += "systemctl list-units --all --plain --no-legend 'kcms-move-*'"
    records = [grid.shell(each, frozen).stdout for each in NODES]
    return not leftovers(grid) and not any(alive) and not any(records)


@pytest.mark.parametrize(
    "name", ["shell", "threaded", pytest.param("numbers", marks=pytest.mark.long)]
)
def test_ten_moves_in_a_row_leave_no_trace_in_what_it_does(
    three: Grid, movers: Grid, name: str
) -> None:
    assert_unmoved(three, name, three.program("alice", f"moves-{name}", PROGRAMS[name]))


@pytest.mark.long
def test_ten_moves_in_a_row_leave_no_trace_in_a_large_program(three: Grid, movers: Grid) -> None:
    name, home = "moves-large", Path(three.inventory).parent.parent / "shared/home/alice"
    subprocess.run(["gcc", "-O2", "-o", home / name, LARGE], check=True)
    (home / name).chmod(0o755)
    done = assert_unmoved(three, "large", f"{HOME}/{name}", str(LARGE_MIB))
    assert done[-1]["bytes"] > LARGE_MIB << 20


def assert_unmoved(three: Grid, name: str, program: str, *arguments: str) -> list[dict[str, Any]]:
    """The records of ten moves of a job, of which nothing shows in what the program wrote."""
    wanted = undisturbed(three, " ".join([program, *arguments]), f"{name}-still")
    moved = f"{name}-moved"
    three.shell("alpha1", f"rm -f {HOME}/{moved}.*", user="alice")
    job = started(three, program, moved, *arguments, f"{HOME}/{moved}")
    done = move_ten_times(three, job)
    three.shell("alpha1", f"touch {HOME}/{moved}.go", user="alice")
    ended = three.wait_job(job["id"], "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED")
    assert (ended["state"], ended["reason"]) == ("FAILED", "exit status 3")
    assert written(three, moved, "out", "log") == wanted
    assert_counted(three, moved, ended["tasks"][0]["exit"])
    assert_measured(done)
    three.wait(lambda: nothing_is_left(three), "everything of the moves to be removed")
    return done


@pytest.mark.long
def test_two_tasks_of_a_batch_job_move_ten_times_each_while_the_others_go_on(
    three: Grid, movers: Grid
) -> None:
    program = three.program("alice", "moves-batch", BATCH)
    still, moved = "batch-still", "batch-moved"
    three.shell("alpha1", f"rm -f {HOME}/{moved}.* {HOME}/{still}.*", user="alice")
    wanted = [undisturbed_task(three, program, still, each) for each in range(TASKS)]
    words = ("--class", "batch", "--total-tasks", str(TASKS))
    output = f"{HOME}/{moved}.%t.out"
    job = three.submit("alice", *words, "--output", output, program, f"{HOME}/{moved}")
    three.wait(lambda: all(steps_of(three, moved)), "all tasks to work")
    done = []
    for each in range(2):
        before = steps_of(three, moved)
        done += move_ten_times(three, three.job(job["id"]), each)
        after = steps_of(three, moved)
        assert all(later - sooner > MOVES for sooner, later in zip(before, after, strict=True))
    three.shell("alpha1", f"touch {HOME}/{moved}.0.go {HOME}/{moved}.1.go", user="alice")
    three.shell("alpha1", f"touch {HOME}/{moved}.2.go", user="alice")
    ended = three.wait_job(job["id"], "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED")
    for each, task in enumerate(ended["tasks"]):
        assert written(three, f"{moved}.{each}", "out", "log") == wanted[each]
        assert_counted(three, f"{moved}.{each}", task["exit"])
    assert_measured(done)
    three.wait(lambda: nothing_is_left(three), "everything of the moves to be removed")


def undisturbed_task(grid: Grid, program: str, name: str, index: int) -> dict[str, str]:
    path = f"{HOME}/{name}"
    run = f"KCMS_TASK_INDEX={index} {program} {path} > {path}.{index}.out; [ $? = 3 ]"
    grid.shell("alpha1", f"touch {path}.{index}.go; {run}", user="alice")
    return written(grid, f"{name}.{index}", "out", "log")


def steps_of(grid: Grid, name: str) -> list[int]:
    """How many rows each task wrote until now."""
    files = " ".join(f"{HOME}/{name}.{each}.log" for each in range(TASKS))
    told = grid.shell("alpha1", f"touch {files}; wc -l {files}", user="alice").stdout
    return [int(line.split()[0]) for line in told.splitlines()[:TASKS]]


def assert_counted(grid: Grid, name: str, end: dict[str, Any]) -> None:
    """The accounting has what the program took on all its nodes."""
    assert (end["code"], end["signal"], end["processes_left"]) == (3, None, 0)
    own = written(grid, name, "cpu")["cpu"]
    if own:
        assert end["usage"]["cpu_seconds"] >= 0.9 * float(own)


def assert_measured(done: list[dict[str, Any]]) -> None:
    """Each move was foretold and measured; the image is about as large as was said."""
    for each in done:
        assert 0 < each["freeze_seconds"] < each["end_time"] - each["start_time"] + 1
        assert each["predicted_seconds"] > 0
        assert (
            0.3 * each["predicted_bytes"] < each["bytes"] < 3 * each["predicted_bytes"] + SMALL
        ), each

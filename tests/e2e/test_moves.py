"""Programs of several kinds are moved ten times in a row, and nobody can tell from what they wrote.

Every program does the same work in an undisturbed run, without pauses, as in the one that is moved,
which pauses a little after each step until it is let go: so what both wrote can be compared byte by
byte, and no test waits for longer than its moves take.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.e2e.grid import Grid
from tests.e2e.test_migration import HOME, leftovers, node_of, processes_on, started

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

LARGE = f"""{PYTHON}
import mmap
size, page = {LARGE_MIB} << 20, 1 << 16
memory, noise = mmap.mmap(-1, size, mmap.MAP_PRIVATE), hashlib.shake_128(b"kcms").digest(page)
for at in range(0, size, page):
    memory[at : at + page] = at.to_bytes(8, "big") + noise[8:]
for step in range(steps):
    at = step * 7919 * page % size
    found = memory[at : at + page]
    memory[at : at + 8] = (int.from_bytes(found[:8], "big") + step).to_bytes(8, "big")
    print(step, hashlib.sha256(found).hexdigest()[:16], flush=True)
    pause()
print(hashlib.sha256(memory).hexdigest())
end()
"""

NUMBERS = f"""{PYTHON}
from array import array
row = array("d", (1.0 / (1 + each) for each in range(20000)))
for step in range(steps):
    total = 0.0
    for at in range(0, len(row), 7):
        row[at] = row[at] * 0.999 + 1e-3 * row[at - 1]
        total += row[at]
    print(step, total.hex(), flush=True)
    pause()
end()
"""

SMALL = 4 << 20
"""Bytes that an image has beside memory, and that a shell's next child may bring."""

PROGRAMS = {"shell": SHELL, "threaded": THREADED, "large": LARGE, "numbers": NUMBERS}


def written(grid: Grid, name: str, *ends: str) -> dict[str, str]:
    files = {end: f"cat {HOME}/{name}.{end} 2>/dev/null; true" for end in ends}
    return {end: grid.shell("alpha1", each, user="alice").stdout for end, each in files.items()}


def undisturbed(grid: Grid, program: str, name: str) -> dict[str, str]:
    """What the program writes when nobody moves it, and that it ends as it should."""
    path = f"{HOME}/{name}"
    command = f"cd {HOME}; touch {path}.go; {program} {path} > {path}.out; echo $? > {path}.status"
    grid.shell("alpha1", f"rm -f {path}.*; {command}", user="alice")
    assert written(grid, name, "status") == {"status": "3\n"}
    return written(grid, name, "out", "log")


def move_on(grid: Grid, number: int) -> dict[str, Any]:
    """Move the job to the next node; its record of that."""
    source = node_of(grid.job(number))
    target = {"alpha1": "alpha2", "alpha2": "alpha3", "alpha3": "alpha1"}[source]
    grid.kcms("alpha1", "migrate", str(number), target, user="alice")
    job = grid.job(number)
    assert (job["state"], node_of(job)) == ("RUNNING", target)
    grid.wait(
        lambda: not [each for each in processes_on(grid, source) if each["job"] == number],
        f"what was left of job {number} on {source} to be gone",
    )
    return dict(job["migration"])


def nothing_is_left(grid: Grid) -> bool:
    nodes = ("alpha1", "alpha2", "alpha3")
    alive = [grid.shell(each, "pgrep -u alice; true").stdout for each in nodes]
    frozen = "find /var/lib/kcms/node/moves -mindepth 1; systemctl list-units --all --plain"
    frozen += " --no-legend 'kcms-move-*'"
    records = [grid.shell(each, frozen).stdout for each in nodes]
    return not leftovers(grid) and not any(alive) and not any(records)


@pytest.mark.parametrize("name", PROGRAMS)
def test_ten_moves_in_a_row_leave_no_trace_in_what_it_does(
    three: Grid, movers: Grid, name: str
) -> None:
    program = three.program("alice", f"moves-{name}", PROGRAMS[name])
    wanted = undisturbed(three, program, f"{name}-still")
    moved = f"{name}-moved"
    three.shell("alpha1", f"rm -f {HOME}/{moved}.*", user="alice")
    job = started(three, program, moved, f"{HOME}/{moved}")
    done = [move_on(three, job["id"]) for _ in range(MOVES)]
    assert [each["phase"] for each in done] == ["done"] * MOVES
    three.shell("alpha1", f"touch {HOME}/{moved}.go", user="alice")
    ended = three.wait_job(job["id"], "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED")
    assert (ended["state"], ended["reason"]) == ("FAILED", "exit status 3")
    assert written(three, moved, "out", "log") == wanted
    assert_counted(three, moved, ended["tasks"][0]["exit"])
    assert_measured(name, done)
    three.wait(lambda: nothing_is_left(three), "everything of the moves to be removed")


def assert_counted(grid: Grid, name: str, end: dict[str, Any]) -> None:
    """The accounting has what the program took on all its nodes."""
    assert (end["code"], end["signal"], end["processes_left"]) == (3, None, 0)
    own = written(grid, name, "cpu")["cpu"]
    if own:
        assert end["usage"]["cpu_seconds"] >= 0.9 * float(own)


def assert_measured(name: str, done: list[dict[str, Any]]) -> None:
    """Each move was foretold and measured; the image is about as large as was said."""
    for each in done:
        assert 0 < each["freeze_seconds"] < each["end_time"] - each["start_time"] + 1
        assert each["predicted_seconds"] > 0
        assert (
            0.3 * each["predicted_bytes"] < each["bytes"] < 3 * each["predicted_bytes"] + SMALL
        ), each
    if name == "large":
        assert done[-1]["bytes"] > LARGE_MIB << 20

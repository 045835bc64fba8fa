"""A job of which a process waits in vfork(2) when it is frozen, which criu cannot dump."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab_node.grid import HOME, Grid
from tests.lab_node.host import STORE
from tests.lab_node.test_move import counted, end, goes_on, nothing_left

SOURCE = Path(__file__).with_name("vfork.c")
PROGRAM, GO = f"{HOME}/vfork", f"{HOME}/vfork.go"
SECONDS = 60


@pytest.fixture
def program(grid: Grid, tmp_path: Path) -> str:
    """Waits for a child of its, until the file GO comes."""
    for each in grid.hosts.values():
        each.wanted, each.moves = {}, []
        each.publish()
    subprocess.run(["gcc", "-O2", "-o", tmp_path / "vfork", SOURCE], check=True)
    host = grid.hosts["alpha1"]
    host.run(f"rm -f {GO}")
    host.write(PROGRAM, (tmp_path / "vfork").read_bytes(), "755")
    return PROGRAM


def start(grid: Grid, number: int, program: str) -> None:
    grid.start(number, "", "alpha1", executable=program, arguments=[GO])
    wait = "for i in $(seq 600); do ps -o stat= -C vfork | grep -q ^D && exit; sleep 0.1; done"
    grid.hosts["alpha1"].run(f"{wait}; exit 1")


def test_it_is_frozen_again_until_it_waits_no_more(grid: Grid, program: str) -> None:
    start(grid, 1, program)
    move = grid.move(1, "alpha1", "alpha2", 1)
    told = move.up_to("admit")
    group = f"$(find /sys/fs/cgroup -path '*kcms-task-1.0.1-{STORE}.service/task')"
    frozen = f"f={group}/cgroup.freeze; while read x < $f && [ $x = 0 ]; do :; done"
    go_on = subprocess.Popen(
        [*move.source.prefix, "timeout", str(SECONDS), "sh", "-c", f"{frozen} && touch {GO}"]
    )
    data = move.do("dump", told)
    assert go_on.wait(SECONDS) == 0  # so it was frozen while it waited
    move.do("restore", data)
    move.commit()
    move.source.over(1)
    goes_on(grid, 1)
    end(grid, 1, "alpha2", 2)
    nothing_left(grid)


def test_one_that_waits_on_and_on_is_refused_and_runs(grid: Grid, program: str) -> None:
    start(grid, 2, program)
    move = grid.move(2, "alpha1", "alpha2", 1)
    move.ask("dump", move.up_to("admit"))
    answer = move.answer("dump")
    assert answer["ok"] is False
    assert "a process of the job waits all the time for a child" in answer["message"]
    assert counted(grid, 2) == 0
    move.source.run(f"touch {GO}")
    goes_on(grid, 2)
    move.undo()
    nothing_left(grid)
    end(grid, 2, "alpha1", 1)

"""Jobs that count, and what is seen of them: whether each number came once and in order."""

from __future__ import annotations

import pytest

from tests.lab_node.grid import Grid

COUNT = "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); sleep 0.05; done"
LARGE = """
import itertools, os, time
memory = os.urandom(400 << 20)
for i in itertools.count():
    print(i)
    time.sleep(0.05)
"""


def start_count(
    grid: Grid, number: int, host: str = "alpha1", script: str = COUNT, **more: object
) -> None:
    grid.start(number, script, host, **more)
    grid.hosts[host].wait(lambda: "3" in grid.read(f"{number}.out"), "the count to begin")


def counted(grid: Grid, number: int) -> int:
    """The last number, having seen that each came once and in order."""
    lines = grid.read(f"{number}.out").split()
    assert lines == [str(each) for each in range(len(lines))]
    return len(lines)


def goes_on(grid: Grid, number: int) -> None:
    before = counted(grid, number)
    grid.hosts["alpha1"].wait(lambda: counted(grid, number) > before + 3, "the count to go on")


def stands_still(grid: Grid, number: int) -> None:
    before = counted(grid, number)
    grid.hosts["alpha1"].run("sleep 1")
    assert counted(grid, number) == before


def end(grid: Grid, number: int, host: str, epoch: int) -> dict[str, object]:
    """Kill the count, and see that nothing of it is left."""
    there = grid.hosts[host]
    there.want({**there.wanted[(number, 0, epoch)], "want": "kill", "grace": 2.0})
    over = there.over(number)
    assert over["exit"]["processes_left"] == 0
    assert there.processes(number, epoch) == []
    return over


def nothing_left(grid: Grid) -> None:
    grid.hosts["alpha1"].wait(lambda: grid.leftovers() == "", f"no trace: {grid.leftovers()}")


@pytest.fixture(autouse=True)
def clean(grid: Grid) -> None:
    for each in grid.hosts.values():
        each.wanted, each.moves = {}, []
        each.publish()

"""An image is whole or gone, files are taken back or left alone, whoever dies meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab_node.counts import LARGE, clean, counted, end, goes_on, nothing_left, start_count
from tests.lab_node.grid import HOME, Grid
from tests.lab_node.host import STATE, STORE
from tests.lab_node.saving import PLACE, Checkpoint, images, stat

__all__ = ["clean"]

STAGES = """
import os, sys, time
for stage in range(4):
    with open(f"{sys.argv[1]}.{stage}", "w", buffering=1) as file:
        for at in range(60):
            file.write(f"stage {stage} {at}\\n")
            print(stage, at, flush=True)
            time.sleep(0.05)
            while at == 20 and not os.path.exists(sys.argv[1] + ".go"):
                time.sleep(0.05)
"""


def test_a_full_disk_costs_the_image_and_not_the_job(grid: Grid) -> None:
    start_count(grid, 1)
    there = grid.hosts["alpha1"]
    there.run(f"mkdir {PLACE} && mount -t tmpfs -o size=100k,uid=2001,mode=700 none {PLACE}")
    try:
        saving = Checkpoint(grid, 1, "alpha1")
        assert "No space left on device" in saving.fail("save")["message"]
        assert there.run(f"ls -A {PLACE}") == ""
        goes_on(grid, 1)
        saving.withdraw()
    finally:
        there.run(f"umount {PLACE}; rmdir {PLACE} 2>/dev/null; true")
    end(grid, 1, "alpha1", 1)
    nothing_left(grid)


def test_a_mover_killed_while_it_writes_leaves_no_part_of_an_image(grid: Grid) -> None:
    start_count(grid, 2, script=f"exec python3 -uc '{LARGE}'")
    saving = Checkpoint(grid, 2, "alpha1")
    saving.ask("save")
    saving.await_file("copied")
    saving.host.run(f"systemctl kill -s KILL --kill-whom=main {saving.unit}")
    assert "interrupted" in saving.answer("save")["message"]
    goes_on(grid, 2)
    saving.withdraw()
    assert images(grid) == []
    end(grid, 2, "alpha1", 1)
    nothing_left(grid)


def test_a_daemon_killed_again_and_again_while_a_task_begins(grid: Grid) -> None:
    start_count(grid, 3, script=f"exec python3 -uc '{LARGE}'")
    saving = Checkpoint(grid, 3, "alpha1")
    image = saving.made()
    goes_on(grid, 3)
    saving.end_now()
    there = saving.begin("alpha2", image)
    for _ in range(8):
        there.run("systemctl kill -s KILL kcms-nodetest.service; sleep 0.7")
    there.until(3, "running")
    goes_on(grid, 3)
    end(grid, 3, "alpha2", 2)
    saving.drop(image)
    nothing_left(grid)


def test_a_task_killed_while_its_image_comes_leaves_the_image(grid: Grid) -> None:
    start_count(grid, 4, script=f"exec python3 -uc '{LARGE}'")
    saving = Checkpoint(grid, 4, "alpha1")
    image = saving.made()
    saving.end_now()
    then, record = counted(grid, 4), f"{STATE}/moves/4.0.2-{STORE}_{saving.number}"
    there = saving.begin("alpha2", image)
    saving.await_file("fetch.begun", "alpha2", record)
    there.want({**there.wanted[(4, 0, 2)], "want": "kill", "grace": 0.0})
    assert there.over(4)["phase"] == "refused"
    there.wait(lambda: there.run(f"test -e {record} || echo gone"), "no record of it")
    assert counted(grid, 4) == then
    assert "alice 600" in stat(grid, str(image["path"]))
    saving.drop(image)
    nothing_left(grid)


def start_stages(grid: Grid, number: int) -> tuple[Checkpoint, dict[str, Any]]:
    """A job that was saved in its first stage, and ended in its third."""
    arguments = ["-c", STAGES, f"{HOME}/{number}.out"]
    grid.start(number, "", "alpha1", executable="/usr/bin/python3", arguments=arguments)
    there = grid.hosts["alpha1"]
    there.wait(lambda: "0 20\n" in grid.read(f"{number}.out"), "the first stage")
    saving = Checkpoint(grid, number, "alpha1")
    image = saving.made()
    there.run(f"touch {HOME}/{number}.out.go")
    there.wait(lambda: "2 5\n" in grid.read(f"{number}.out"), "the third stage")
    saving.end_now()
    return saving, image


def test_files_that_were_closed_and_made_since(grid: Grid) -> None:
    saving, image = start_stages(grid, 5)
    there = saving.begin("alpha2", image)
    assert there.over(5)["exit"]["code"] == 0
    for stage in range(4):
        wanted = "".join(f"stage {stage} {at}\n" for at in range(60))
        assert grid.read(f"5.out.{stage}") == wanted
    told = "".join(f"{stage} {at}\n" for stage in range(4) for at in range(60))
    assert grid.read("5.out") == told
    saving.drop(image)
    nothing_left(grid)


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        (6, "mv F F.1; seq 1000 > F; chown alice F", "is another file than at the checkpoint"),
        (7, "rm F", "is no longer there"),
        (8, "truncate -s 1 F", "has 1 bytes, fewer than the"),
    ],
)
def test_files_that_cannot_be_taken_back(grid: Grid, number: int, change: str, says: str) -> None:
    saving, image = start_stages(grid, number)
    saving.host.run(f"cd {HOME}; {change.replace('F', f'{number}.out.0')}")
    files = f"cd {HOME}; sha256sum {number}.*"
    before = saving.host.run(files)
    told = saving.refused("alpha2", image)
    assert told["cause"] == "image"
    assert says in told["message"]
    assert saving.host.run(files) == before
    saving.drop(image)
    nothing_left(grid)

"""A job moves between hosts of a site with a prologue and an epilogue, and its usage adds up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab_node.conftest import reach
from tests.lab_node.grid import HOME, Grid

SITE = "/etc/kcms-nodetest"
LOG = "/shared/home/alice/logues"
SETTINGS = f'prologue = "{SITE}/logue"\nepilogue = "{SITE}/logue"\nlogue_seconds = 5\n'
LOGUE = f"""#!/bin/sh
echo $(hostname) $KCMS_LOGUE $KCMS_STATE >> {LOG}/$KCMS_JOB_ID
[ "$(hostname)$KCMS_LOGUE$KCMS_JOB_ID" != alpha2prologue2 ]
"""
SPENDS = """
import os, sys, time
for at in range(2):
    with open(f"{sys.argv[1]}.{at}", "wb") as file:
        file.write(os.urandom(20 << 20))
        file.flush()
        os.fsync(file.fileno())
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    del file
    print("done", at, flush=True)
    while at == 0 and not os.path.exists(f"{sys.argv[1]}.go"):
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def grid(lab_name: str) -> Iterator[Grid]:
    made = Grid({name: reach(lab_name, name) for name in ("alpha1", "alpha2")}, SETTINGS)
    try:
        for each in made.hosts.values():
            each.write(f"{SITE}/logue", LOGUE, mode="755")
        made.set_up()
        made.hosts["alpha1"].run(f"rm -rf {LOG} {HOME}/spent.*; mkdir -m 777 {LOG}")
        yield made
    finally:
        made.hosts["alpha1"].run(f"rm -rf {LOG} {HOME}/spent.*")
        made.clean()
        for each in made.hosts.values():
            each.run(f"rm -rf {SITE}")


def story(grid: Grid, number: int) -> list[str]:
    return grid.hosts["alpha1"].run(f"cat {LOG}/{number}").splitlines()


def start(grid: Grid, number: int) -> None:
    words = {"executable": "/usr/bin/python3", "arguments": ["-c", SPENDS, f"{HOME}/spent"]}
    grid.start(number, "", "alpha1", **words)
    grid.hosts["alpha1"].wait(lambda: "done 0" in grid.read(f"{number}.out"), "half of the work")


def test_a_move_has_the_targets_prologue_and_the_sources_epilogue(grid: Grid) -> None:
    start(grid, 1)
    move = grid.move(1, "alpha1", "alpha2", 1)
    move.up_to("restore")
    assert story(grid, 1) == ["alpha1 prologue", "alpha2 prologue"]
    move.commit()
    source = move.source.over(1)
    assert (source["exit"]["signal"], source["unfit"]) == (9, "")
    grid.hosts["alpha1"].run(f"touch {HOME}/spent.go")
    took = move.target.over(1)["exit"]["usage"]
    assert story(grid, 1) == [
        "alpha1 prologue",
        "alpha2 prologue",
        "alpha1 epilogue CANCELLED",
        "alpha2 epilogue COMPLETED",
    ]
    assert 1.0 <= took["cpu_seconds"] < 2.5
    assert 40 << 20 <= took["write_bytes"] < 60 << 20
    assert took["read_bytes"] < 30 << 20
    assert took["sources"]["io"] == "wait"
    move.forget()


def test_a_move_to_a_host_whose_prologue_fails_does_not_come_about(grid: Grid) -> None:
    grid.hosts["alpha1"].run(f"rm -f {HOME}/spent.go")
    start(grid, 2)
    move = grid.move(2, "alpha1", "alpha2", 1)
    data = move.up_to("dump")
    move.ask("restore", data)
    answer = move.answer("restore")
    assert not answer["ok"]
    assert answer["message"].startswith("prologue of job 2 failed with exit status 1")
    copy = move.target.over(2)
    assert (copy["phase"], copy["cause"]) == ("refused", "prologue")
    assert copy["unfit"] == copy["message"]
    move.undo()
    grid.hosts["alpha1"].run(f"touch {HOME}/spent.go")
    assert move.source.over(2)["exit"]["code"] == 0
    assert story(grid, 2) == [
        "alpha1 prologue",
        "alpha2 prologue",
        "alpha2 epilogue PENDING",
        "alpha1 epilogue COMPLETED",
    ]

"""The text protocol of 2003 on real hosts: processes of jobs of every class, and ended ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.e2e.grid import Grid

PORT = 8669
OVER = "/shared/home/alice/over"
SLEEPS = f"""#!/bin/sh
if [ "$KCMS_TASK_INDEX$1" = 0first ]; then
    until [ -e {OVER}.$KCMS_JOB_ID ]; do sleep 0.1; done
    exit 0
fi
sleep 600
"""
KINDS = {
    "batch.sh": ("--class", "batch", "--total-tasks", "3"),
    "parallel.sh": ("--class", "parallel", "--total-tasks", "2", "--tasks-per-node", "1"),
    "single.sh": (),
}


class Told(NamedTuple):
    """A process of the answer to REQ; ``state`` is 0 while it runs and 1 when it has ended."""

    node: str
    pid: int
    name: str
    state: int


@pytest.fixture(scope="module")
def port(grid: Grid) -> Iterator[None]:
    with grid.managed(f"text_port = {PORT}"):
        yield


def said(grid: Grid, line: str) -> str:
    """What the port answers to a line, on the manager's host."""
    talk = f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf '%s\\n' '{line}' >&3; cat <&3"
    return grid.shell("head", f'bash -c "{talk}"').stdout


def req(grid: Grid, user: str) -> list[Told]:
    """REQ, read as an interface of 2003 reads it: a field of digits is a pid, others are nodes."""
    rest, node, found = said(grid, f"REQ|{user}"), "", []
    while rest:
        field, _, rest = rest.partition("|")
        if not field.isdigit():
            node = field
            continue
        process, _, rest = rest.partition("&")
        name, state = process.split("|")
        found.append(Told(node, int(field), name, int(state)))
    return found


def of(grid: Grid, program: str) -> list[Told]:
    """The processes that began as a program of alice's, those that ended last."""
    named = [each for each in req(grid, "alice") if each.name == program]
    return sorted(named, key=lambda each: each.state)


def begun(grid: Grid) -> dict[str, int]:
    """A job of each class, whose tasks all run and are all told of."""
    jobs = {}
    for name, words in KINDS.items():
        program = grid.program("alice", name, SLEEPS)
        first = ("first",) if name == "batch.sh" else ()
        jobs[name] = grid.submit("alice", *words, "--output", "/dev/null", program, *first)["id"]

    def counted() -> dict[str, int]:
        names = [each.name for each in req(grid, "alice") if each.state == 0]
        return {name: names.count(name) for name in KINDS}

    expected = {"batch.sh": 3, "parallel.sh": 2, "single.sh": 1}
    grid.wait(lambda: counted() == expected, "every task's process to be told of")
    return {name: int(number) for name, number in jobs.items()}


def test_every_class_is_told_of_and_ended(port: None, three: Grid, movers: Grid) -> None:
    before = {each[:2] for each in req(three, "alice")}
    jobs = begun(three)
    for each in req(three, "alice"):
        if each[:2] not in before and each.state == 0 and each.name in KINDS:
            there = three.shell(each.node, f"ps -o user=,comm= -p {each.pid}").stdout.split()
            assert there == ["alice", each.name]
    assert [each for each in req(three, "bob") if each.name in KINDS] == []
    assert set(of(three, "batch.sh")) <= set(req(three, "root"))

    three.shell("alpha1", f"touch {OVER}.{jobs['batch.sh']}", user="alice")
    three.wait(lambda: [each.state for each in of(three, "batch.sh")] == [0, 0, 1], "task 0 to end")
    ended = of(three, "batch.sh")[2]
    assert said(three, f"KIL|{ended.pid}|{ended.node}") == ""
    kill(three, "parallel.sh", jobs, at=1)
    assert three.job(jobs["batch.sh"])["task_counts"] == {"COMPLETED": 1, "RUNNING": 2}

    (single,) = of(three, "single.sh")
    target = next(
        each["name"]
        for each in three.nodes()
        if each["used"] < each["slots"] and each["name"] != single.node
    )
    assert said(three, f"MIG|{single.pid}|{single.node}|{target}") == ""
    three.wait(lambda: of(three, "single.sh")[0].node == target, "the single job to have moved")
    kill(three, "batch.sh", jobs, at=1)
    assert three.job(jobs["batch.sh"])["task_counts"] == {"COMPLETED": 1, "CANCELLED": 2}
    kill(three, "single.sh", jobs, at=0)
    assert {each.state for each in req(three, "alice")} == {1}


def kill(grid: Grid, program: str, jobs: dict[str, int], at: int) -> None:
    """KIL by one of the processes of a job, whose node is named by its address, ends all of it."""
    chosen = of(grid, program)[at]
    assert chosen.state == 0
    assert said(grid, f"KIL|{chosen.pid}|{grid.address(chosen.node)}") == ""
    assert grid.wait_job(jobs[program], "CANCELLED")["killed_by"] == "root"
    grid.wait(lambda: of(grid, program)[0].state == 1, f"{program} to be told of as ended")
    for node in ("alpha1", "alpha2", "alpha3"):
        left = grid.shell(node, f"pgrep -u alice -fc {program}", check=False).stdout.strip()
        assert left == "0", node

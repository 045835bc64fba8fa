"""A node is emptied: what can leave goes on elsewhere, what cannot is told why and runs on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.grid import Grid
from tests.e2e.test_migration import HOME, leftovers, node_of, other, started

COUNT = """#!/usr/bin/python3
import hashlib, sys, time
digest = hashlib.sha256()
for step in range(int(sys.argv[1])):
    digest.update(str(step).encode())
    print(step, digest.hexdigest(), flush=True)
    time.sleep(float(sys.argv[2]))
"""
TALK = """#!/usr/bin/python3
import socket, sys, time
with socket.create_connection((sys.argv[1], 4711)) as line:
    for step in range(600):
        line.sendall(b".")
        time.sleep(0.5)
"""
LISTEN = """
import socket
with socket.create_server(("0.0.0.0", 4711)) as server:
    line, _ = server.accept()
    while line.recv(4096):
        pass
"""
BATCH = """#!/bin/sh
i=0
while [ $i -lt $((20 + 160 * KCMS_TASK_INDEX)) ]; do
  echo "$KCMS_TASK_INDEX $i"
  i=$((i+1))
  sleep 0.1
done
"""


@pytest.fixture
def wide(movers: Grid) -> Iterator[Grid]:
    """The grid whose first node takes four tasks, and whose other two are there as well."""
    path = "/etc/kcms/node.toml"
    change = f"cp -p {path} {path}.kept && sed -i '/^slots /d; 1i slots = 4' {path}"
    movers.shell("alpha1", f"{change} && systemctl restart kcms-node")
    try:
        movers.wait(lambda: row(movers, "alpha1")["slots"] == 4, "the node to have four slots")
        movers.wait(
            lambda: row(movers, "alpha1")["mover"].get("trouble") == "", "criu to be tried there"
        )
        yield movers
    finally:
        movers.kcms("head", "resume", "alpha1", "--cluster", "alpha", check=False)
        movers.shell("alpha1", f"mv {path}.kept {path} && systemctl restart kcms-node")
        movers.wait(lambda: row(movers, "alpha1")["slots"] != 4, "the node to have its slots again")


def row(grid: Grid, name: str) -> dict[str, Any]:
    return {each["name"]: each for each in grid.nodes()}[name]


def output(grid: Grid, name: str) -> str:
    return grid.shell("alpha1", f"cat {HOME}/{name}.out", user="alice").stdout


def drain(grid: Grid, *words: str) -> Any:
    command = ("drain", "alpha1", "--cluster", "alpha", "--reason", "new fan", "--migrate", *words)
    return grid.kcms("head", *command, check=False)


def test_a_node_is_emptied_but_for_what_talks_to_another_host(wide: Grid) -> None:
    count = wide.program("alice", "count.py", COUNT)
    talk = wide.program("alice", "talk.py", TALK)
    listener = f"systemd-run --unit e2e-listener --collect python3 -c '{LISTEN}'"
    wide.shell("head", listener)
    try:
        with wide.drained("alpha2"):
            two = [started(wide, count, f"counted{each}", "240", "0.1") for each in range(2)]
            third = started(wide, talk, "talked", wide.address("head"))
            assert {node_of(each) for each in (*two, third)} == {"alpha1"}
        done = drain(wide, "--wait")
        assert done.returncode == 1, done.stdout + done.stderr
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith(f"kcms: job {third['id']} of alice stays on alpha1: alpha1: ")
        assert "TCP" in line
        assert {node_of(wide.job(each["id"])) for each in two} == {"alpha2"}
        assert wide.job(third["id"])["state"] == "RUNNING"
        assert (row(wide, "alpha1")["availability"], row(wide, "alpha1")["leaving"]) == (
            "draining",
            True,
        )
        asked = {"node": "alpha1", "cluster": "alpha", "state": "drained", "reason": "new fan"}
        again = wide.adhoc("head", "node_state", **asked, migrate=True).result
        assert (again["changed"], [each["job"] for each in again["leaving"]]) == (
            False,
            [third["id"]],
        )
        checked = wide.adhoc("head", "node_state", "--check", **asked)
        assert checked.result["changed"] is True
        for each in two:
            assert wide.wait_job(each["id"], "COMPLETED", "FAILED")["state"] == "COMPLETED"
        undisturbed = wide.shell("alpha2", f"{count} 240 0", user="alice").stdout
        assert [output(wide, f"counted{each}") for each in range(2)] == [undisturbed] * 2
        assert wide.job(third["id"])["state"] == "RUNNING"
        wide.kcms("alpha1", "kill", str(third["id"]), user="alice")
        wide.wait_job(third["id"], "CANCELLED")
        done = drain(wide, "--wait", "--json")
        assert (done.returncode, json.loads(done.stdout)["tasks"]) == (0, [])
        wide.wait(lambda: leftovers(wide) == "", "every image to be removed")
    finally:
        wide.shell("head", "systemctl stop e2e-listener", check=False)


def test_a_task_of_a_batch_job_moves_while_another_ends(movers: Grid) -> None:
    program = movers.program("alice", "indexed.sh", BATCH)
    words = ("--class", "batch", "--total-tasks", "2", "--output", f"{HOME}/indexed.%t.out")
    job = movers.submit("alice", *words, program)

    def both_run() -> bool:
        tasks = movers.job(job["id"])["tasks"]
        return len(tasks) == 2 and all(each["start_time"] for each in tasks)

    movers.wait(both_run, "both tasks to start")
    source = movers.job(job["id"])["tasks"][1]["node"]
    moved = movers.kcms("alpha1", "migrate", f"{job['id']}.1", other(source), user="alice")
    assert f"task 1 of job {job['id']}" in moved.stdout
    ended = movers.wait_job(job["id"], "COMPLETED", "FAILED", "CANCELLED")
    assert ended["state"] == "COMPLETED", ended["reason"]
    assert ended["tasks"][1]["node"] == other(source)
    assert (ended["migration"]["task"], ended["migration"]["phase"]) == (1, "done")
    for index, lines in ((0, 20), (1, 180)):
        told = movers.shell("alpha1", f"cat {HOME}/indexed.{index}.out", user="alice").stdout
        assert told == "".join(f"{index} {each}\n" for each in range(lines))

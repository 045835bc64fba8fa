"""What people read."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.cli import jobs, nodes, tables


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (-3, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400 * 2 + 3600 * 4, "2d04h"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert tables.duration(seconds) == said


def test_endings() -> None:
    assert tables.ending({"code": 3, "signal": None}) == "exit 3"
    assert tables.ending({"code": None, "signal": 9}) == "signal 9"
    assert tables.ending(None) == "-"


def test_columns_line_up_and_nothing_moves_the_cursor() -> None:
    text = tables.table(("ID", "NAME"), [(7, "a\x1b[2J\n"), (123, None)], right="ID")
    assert text == " ID  NAME\n  7  a?[2J?\n123  -"


def job(**changes: Any) -> dict[str, Any]:
    return {
        "id": 12,
        "cluster": "alpha",
        "user": "alice",
        "name": "sim",
        "state": "RUNNING",
        "reason": "",
        "priority": 0,
        "submit_host": "alpha1",
        "submit_time": 1000.0,
        "start_time": 1060.0,
        "end_time": None,
        "killed_by": None,
        "spec": {
            "executable": "/s/sim",
            "arguments": ["a b"],
            "base_directory": "/s",
            "input": None,
            "output": "/s/o",
            "error": "/s/o",
        },
        "tasks": [{"index": 0, "node": "alpha2", "state": "RUNNING", "exit": None, "message": ""}],
        **changes,
    }


def ended(code: int | None, signal: int | None, message: str = "") -> list[dict[str, Any]]:
    record = {"code": code, "signal": signal, "processes_killed": 10, "processes_left": 0}
    task = {"index": 0, "node": "alpha3", "state": "FAILED", "exit": record, "message": message}
    return [task]


def test_a_list_of_jobs() -> None:
    waiting = job(id=9, state="PENDING", start_time=None, tasks=[], reason="waiting for a slot")
    killed = job(id=10, state="CANCELLED", end_time=1065.0, tasks=ended(None, 9), killed_by="bob")
    failed = job(id=11, state="FAILED", end_time=1065.0, tasks=ended(3, None))
    assert jobs.job_table([waiting, killed, failed, job()], now=1120.0).splitlines() == [
        "JOB  USER   NAME  STATE      PRIORITY  NODE      AGE    RAN  NOTE",
        "  9  alice  sim   PENDING           0  -       2m00s      -  waiting for a slot",
        " 10  alice  sim   CANCELLED         0  alpha3  2m00s     5s  signal 9, killed by bob",
        " 11  alice  sim   FAILED            0  alpha3  2m00s     5s  exit 3",
        " 12  alice  sim   RUNNING           0  alpha2  2m00s  1m00s  -",
    ]


def test_a_job_that_runs_has_not_ended_as_one_of_its_tasks_has() -> None:
    assert tables.note(job(tasks=[*ended(0, None), *job()["tasks"]])) == ""


def test_one_job() -> None:
    page = jobs.job_page(job(state="FAILED", end_time=1065.0, tasks=ended(3, None)), 2000.0)
    lines = dict(line.split("  ", 1) for line in page.splitlines())
    assert lines["command"].strip() == "'/s/sim' 'a b'"
    assert lines["state"].strip() == "FAILED, exit 3"
    assert lines["ran"].strip() == "5s"
    assert lines["input"].strip() == "-"
    assert page.splitlines()[-1].split("  ")[-1].strip() == (
        "FAILED on alpha3, exit 3, 10 processes killed"
    )


def test_nodes_and_clusters() -> None:
    row = {
        "name": "alpha1",
        "state": "UP",
        "slots": 4,
        "used": 1,
        "load": {"load_one": 0.256},
        "heard": 97.0,
        "release": "0.1.0",
    }
    down = {**row, "name": "alpha2", "state": "DOWN", "load": None, "heard": None, "release": None}
    drained = {"drained": True, "drain_reason": "new disk"}
    out = {**row, **drained, "name": "alpha3", "load": 1, "availability": "drained"}
    dead = {**down, **drained, "name": "alpha4", "availability": "down"}
    assert nodes.node_table([row, down, out, dead], now=100.0).splitlines() == [
        "NODE    STATE    SLOTS  USED  LOAD  HEARD   RELEASE  NOTE",
        "alpha1  UP           4     1  0.26  3s ago  0.1.0    -",
        "alpha2  DOWN         4     1     -  never   -        -",
        "alpha3  drained      4     1  1.00  3s ago  0.1.0    new disk",
        "alpha4  down         4     1     -  never   -        drained: new disk",
    ]
    cluster = {
        "name": "alpha",
        "default": True,
        "address": "10.0.0.1",
        "port": 8660,
        "state": "UP",
        "release": "0.1.0",
        "message": "",
    }
    assert nodes.cluster_table([cluster]).splitlines()[1] == (
        "alpha    UP     yes      10.0.0.1 port 8660  0.1.0    -"
    )


@pytest.mark.parametrize("seconds", [1e300, -1e300, float("inf"), float("nan"), 10**40])
def test_an_absurd_moment_is_shown_as_it_is(seconds: float) -> None:
    assert tables.moment(seconds) == str(seconds)

"""Processes, jobs and migrations in words."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.jobs.spec import FIELDS
from kcms.web import words, work

NOW = 1_700_000_000.0


def node(name: str, **changes: Any) -> dict[str, Any]:
    base = {"name": name, "state": "UP", "availability": "idle", "drained": False}
    return {**base, "slots": 2, "used": 0, "drain_reason": "", **changes}


def process(pid: int, where: str, **changes: Any) -> dict[str, Any]:
    base = {"node": where, "pid": pid, "name": "sh", "state": "R", "ended": None}
    return {**base, "job": 7, "user": "alice", "root": True, **changes}


def migrated(phase: str, end: float | None, **changes: Any) -> dict[str, Any]:
    row = {
        "number": 1, "source": "n1", "target": "n2", "epoch": 2, "phase": phase, "by": "alice",
        "start_time": NOW - 20, "check_only": False, "end_time": end, "message": "",
    }  # fmt: skip
    return {"id": 7, "migration": {**row, **changes}}


def test_a_column_for_each_node_in_the_order_of_their_numbers() -> None:
    nodes = [node("n10"), node("n2", state="DOWN"), node("n1", used=1, drained=True,
             availability="draining")]  # fmt: skip
    rows = [process(3, "n10", state="T", ended=NOW - 65), process(9, "n10"), process(1, "gone")]
    found = work.columns(nodes, rows, NOW, "alice")
    assert [(each.node, each.state, each.said) for each in found] == [
        ("gone", "down", "down"),
        ("n1", "up", "1 of 2 slots used · draining"),
        ("n2", "down", "down"),
        ("n10", "up", "0 of 2 slots used"),
    ]
    assert [(row.pid, row.state, row.ended, row.choice) for row in found[3].rows] == [
        (9, "R", "", "7/9"),
        (3, "T", "1 minute ago", ""),
    ]


def test_ended_processes_are_newest_first_and_bounded() -> None:
    many = [process(pid, "n1", state="T", ended=NOW - 600 + pid) for pid in range(1, 301)]
    (column,) = work.columns([node("n1")], [*many, process(999, "n1")], NOW, "alice")
    assert [row.pid for row in column.rows[:3]] == [999, 300, 299]
    assert len(column.rows) == 1 + work.SHOWN_ENDED
    assert column.more == 300 - work.SHOWN_ENDED


def test_only_ones_own_processes_can_be_chosen() -> None:
    rows = [process(1, "n1"), process(2, "n1", user="bob")]
    own = work.columns([node("n1")], rows, NOW, "alice")[0].rows
    assert [row.choice for row in own] == ["7/1", ""]
    everybody = work.columns([node("n1")], rows, NOW, None)[0].rows
    assert [row.choice for row in everybody] == ["7/1", "7/2"]


def test_what_a_process_takes_is_told_when_its_node_says_it() -> None:
    told = {"command": "./sim\x1b 7", "cpu_seconds": 61.0, "rss_kib": 20480}
    rows = [process(1, "n1"), process(2, "n1", **told), process(3, "n1", rss_kib=None)]
    shown = [row.takes for row in work.columns([node("n1")], rows, NOW, "alice")[0].rows]
    assert shown[0] == shown[2] == ""
    assert shown[1].startswith("./sim")
    assert "\x1b" not in shown[1]
    assert shown[1].endswith(" 7 · 1 minute of CPU time · 20 MiB")


def test_targets_are_up_and_in_use_and_elsewhere() -> None:
    nodes = [
        node("n10"), node("n9"), node("n1", state="DOWN"), node("n2", drained=True),
        node("n3", availability="draining"), node("n4"),
    ]  # fmt: skip
    assert work.targets(nodes, without="n4") == ["n9", "n10"]


@pytest.mark.parametrize(
    ("job", "kind", "sentence"),
    [
        (migrated("checking", None), "moving", "Job 7 is moving to n2: looking whether it can be"),
        (migrated("restoring", None), "moving", "being built up on n2."),
        (
            migrated("done", NOW - 15, bytes=5 << 20, freeze_seconds=0.384),
            *("good", "to n2 in 5.0 s (5.0 MiB, stood still for 0.38 s), 15 seconds ago."),
        ),
        (migrated("done", NOW - 15), "good", "Job 7 moved from n1 to n2 in 5.0 s, 15 seconds ago."),
        (
            migrated("refused", NOW - 1, message="it has a TCP socket"),
            "bad",
            "Job 7 was not moved to n2, 1 second ago: it has a TCP socket.",
        ),
        (migrated("failed", NOW - 1, message="x."), "bad", "could not be moved and goes on"),
        (migrated("novel", NOW - 1), "bad", "Migration of job 7 to n2, 1 second ago: novel."),
    ],
)
def test_a_migration_in_a_sentence(job: dict[str, Any], kind: str, sentence: str) -> None:
    found = work.move(job, NOW)
    assert found is not None
    assert (found.kind, found.under_way) == (kind, kind == "moving")
    assert sentence in found.text
    assert not found.text.endswith("..")


def test_checks_and_old_outcomes_are_not_news() -> None:
    assert work.move({"id": 1, "migration": None}, NOW) is None
    assert work.move(migrated("possible", NOW, check_only=True), NOW) is None
    old = migrated("done", NOW - work.SHOWN_MOVES)
    fresh = migrated("done", NOW - work.SHOWN_MOVES + 1)
    assert work.moves([old], NOW) == []
    assert [each.job for each in work.moves([fresh, fresh], NOW)] == [7]


def done(**exit_changes: Any) -> dict[str, Any]:
    usage = {"cpu_seconds": 1.5, "max_rss_kib": 2048}
    ended = {"code": 3, "signal": None, "time": NOW, "usage": usage, **exit_changes}
    task = {"node": "n1", "exit": ended, "message": "", "state": "FAILED"}
    return {
        "id": 5, "name": "a\x1bb", "user": "alice", "state": "FAILED", "reason": "exit status 3",
        "submit_time": NOW - 100, "start_time": NOW - 90, "end_time": NOW - 5, "tasks": [task],
        "submit_host": "head", "killed_by": None,
    }  # fmt: skip


def test_a_job_in_a_row() -> None:
    row = work.job_row(done(), NOW)
    assert (row.id, row.name, row.state, row.kind, row.node) == (5, "a␛b", "FAILED", "bad", "n1")
    assert (row.took, row.exit, row.cpu, row.active) == ("1:25 min", "3", "1.50 s", False)
    assert work.job_row(done(code=None, signal=9), NOW).exit == "signal 9"
    waiting = {**done(), "state": "PENDING", "tasks": [], "start_time": None, "end_time": None}
    row = work.job_row(waiting, NOW)
    assert (row.node, row.took, row.exit, row.cpu, row.active) == ("", "", "", "", True)


def test_facts_leave_out_what_is_not_known() -> None:
    facts = dict(work.job_facts(done(), work.job_row(done(), NOW), NOW))
    assert (facts["Exit"], facts["CPU seconds"], facts["Memory at most"]) == (
        "3", "1.50 s", "2.0 MiB",
    )  # fmt: skip
    assert "Killed by" not in facts


def test_a_specification_by_titles() -> None:
    spec = {"name": "x", "arguments": ["-n", "1"], "environment": {"A": "1"}, "priority": 0}
    assert work.spec_facts(spec, FIELDS) == [
        ("Job Name", ["x"]),
        ("Arguments", ["-n", "1"]),
        ("Priority", ["0"]),
        ("Environment", ["A=1"]),
    ]
    intervals = [600, "auto", 0]
    shown = [work.spec_facts({"checkpoint_interval": each}, FIELDS) for each in intervals]
    assert [each[0][1] for each in shown] == [["00:10:00"], ["auto"], ["none"]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (125, "2:05 min"), (3725, "1:02:05 h"), (90061, "1 day 1:01:01")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_what_cannot_be_seen_is_shown() -> None:
    assert words.visible("a\tb\n\x7f\u202e\xa0z\ud800", keep="\n\t") == "a\tb\n␡\ufffd\xa0z\ufffd"
    assert words.moment(None, NOW) == words.moment(9e99, NOW) == words.moment(True, NOW)[:0]


def test_a_process_of_a_later_task_names_it_and_so_does_its_move() -> None:
    rows = [{**process(1, "n1"), "task": 3}]
    assert work.columns([node("n1")], rows, NOW, "alice")[0].rows[0].choice == "7.3/1"

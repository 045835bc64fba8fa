"""``kcms ps``, ``kcms signal`` and ``kcms kill`` before a scripted gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcms.cli import main, ps
from kcms.client import ClientError
from tests.unit.cli.test_commands import Scripted, scripted
from tests.unit.cli.test_tables import job

__all__ = ["scripted"]


def process(pid: int, ppid: int = 1, **more: Any) -> dict[str, Any]:
    made = {
        "id": f"12.0.{pid}@a2", "node": "a2", "pid": pid, "ppid": ppid, "name": "sim",
        "command": f"./sim {pid}", "state": "R", "status": "S", "ended": None, "job": 12,
        "task": 0, "user": "alice", "root": False, "cpu_seconds": 61.0, "cpu_percent": 97.4,
        "rss_kib": 2048, "threads": 4, "start_time": 1000.0,
    }  # fmt: skip
    return {**made, **more}


def answer(*rows: dict[str, Any], **more: Any) -> None:
    Scripted.answers = {"/v1/processes": {"processes": list(rows), "left_out": 0, **more}}


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["ps", *words]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ps.tables, "moment", lambda seconds: f"at {seconds:g}")


def test_what_is_alive_by_job(capsys: pytest.CaptureFixture[str]) -> None:
    answer(
        process(8, job=13, command="", rss_kib=800),
        process(7),
        process(9, state="T", ended=5.0),
    )
    assert lines(capsys, "--user", "alice", "--node", "a2") == [
        "ID         USER   STATE  %CPU  CPUTIME   RSS  START    COMMAND",
        "12.0.7@a2  alice  S      97.4    1m01s  2.0M  at 1000  ./sim 7",
        "12.0.8@a2  alice  S      97.4    1m01s  800K  at 1000  [sim]",
    ]
    assert Scripted.asked == [("GET /v1/processes", None, None, {"user": "alice", "node": "a2"})]


def test_chosen_columns_and_one_job(capsys: pytest.CaptureFixture[str]) -> None:
    answer(process(7, root=True), process(8, job=13))
    assert lines(capsys, "--job", "12", "-o", "pid, PPID,threads,name") == [
        "PID  PPID  THREADS  NAME",
        "  7     1        4  sim",
    ]
    assert Scripted.asked[0][3] == {"job": 12}


def test_all_has_what_ended_and_so_has_the_older_name(capsys: pytest.CaptureFixture[str]) -> None:
    answer(process(9, state="T", ended=0.0, status="X"))
    (_, row) = lines(capsys, "--all", "-o", "pid,state,ended")
    assert row.split()[:2] == ["9", "X"]
    assert row.endswith(" ago")
    assert main(["processes"]) == 0
    assert "12.0.9@a2" in capsys.readouterr().out
    assert main(["processes", "--json"]) == 0
    assert [each["pid"] for each in json.loads(capsys.readouterr().out)["processes"]] == [9]


def test_a_tree_has_parents_before_their_children(capsys: pytest.CaptureFixture[str]) -> None:
    answer(
        process(70, 1, root=True),
        process(71, 70),
        process(72, 71),
        process(73, 70),
        process(71, 70, node="a3"),
        process(99, 70, state="T", ended=0.0),
    )
    assert lines(capsys, "--tree", "--all", "-o", "node,pid,command") == [
        "NODE  PID  COMMAND",
        "a2     70  ./sim 70",
        "a2     71   \\_ ./sim 71",
        "a2     72      \\_ ./sim 72",
        "a2     73   \\_ ./sim 73",
        "a3     71  ./sim 71",
        "a2     99  ./sim 99",
    ]


def test_a_tree_that_is_none_loses_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    answer(process(7, 8), process(8, 7), process(9, 9))
    found = lines(capsys, "--tree", "-o", "pid,name")
    assert sorted(each.split()[0] for each in found) == ["7", "8", "9", "PID"]
    chain = [process(pid, pid - 1) for pid in range(2, 5000)]
    assert len(ps.tree(chain)) == 4998


def test_an_older_manager_says_less(capsys: pytest.CaptureFixture[str]) -> None:
    old = {"node": "a2", "pid": 47, "state": "R", "name": "s\x1bm", "job": 12, "user": "alice"}
    answer({**old, "ended": None})
    assert lines(capsys, "--tree", "-o", "id,pid,state,cpu,time,rss,command") == [
        "ID  PID  STATE  %CPU  CPUTIME  RSS  COMMAND",
        "-    47  -         -        -    -  [s?m]",
    ]


@pytest.mark.parametrize(
    ("kib", "shown"),
    [
        (0, "0K"),
        (999, "999K"),
        (1000, "1.0M"),
        (20480, "20M"),
        (1 << 21, "2.0G"),
        (1 << 31, "2.0T"),
    ],
)
def test_sizes(kib: int, shown: str) -> None:
    assert ps.COLUMNS["rss"][1](process(7, rss_kib=kib), 0.0) == shown


def test_json_is_json_and_what_is_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answer(process(7), left_out=17)
    assert main(["ps", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"processes": [process(7)], "left_out": 17}
    assert said.err == (
        "kcms: 17 more are not listed; --user, --node and --job make the list shorter\n"
    )


def test_signals_to_jobs_tasks_and_processes(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers = {f"/v1/jobs/{number}/signal": job() for number in (12, 13)}
    Scripted.answers["/v1/jobs/14/signal"] = ClientError("conflict", "job 14 is over", 409)
    words = ["signal", "sigusr1", "12", "14", "13.2", "12.0.47@a2", "--user", "alice"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "USR1 is on its way to job 12",
        "USR1 is on its way to task 2 of job 13",
        "USR1 is on its way to process 12.0.47@a2",
    ]
    assert said.err == "kcms: job 14 is over\n"
    bodies = [{k: v for k, v in each[3].items() if k != "key"} for each in Scripted.asked]
    assert bodies == [
        {"signal": "USR1"},
        {"signal": "USR1"},
        {"signal": "USR1", "task": 2},
        {"signal": "USR1", "task": 0, "process": {"node": "a2", "pid": 47}},
    ]
    assert len({each[3]["key"] for each in Scripted.asked}) == 4
    assert {each[2] for each in Scripted.asked} == {"alice"}


def test_a_lost_answer_is_asked_for_again_by_the_same_key() -> None:
    Scripted.answers = {"/v1/jobs/12/signal": ClientError("unavailable", "gone", 0)}
    assert main(["signal", "USR1", "12"]) == 1
    first, second = Scripted.asked
    assert first == second


def test_kill_of_jobs_and_processes(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers = {
        "/v1/jobs/12/kill": job(),
        "/v1/jobs/13/kill": job(state="CANCELLED"),
        "/v1/jobs/14/signal": job(),
    }
    assert main(["kill", "12", "13", "14.0.47@a2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 12 is being killed",
        "job 13 is cancelled",
        "process 14.0.47@a2 is being killed",
    ]
    body = Scripted.asked[2][3]
    del body["key"]
    process = {"node": "a2", "pid": 47}
    assert body == {"signal": "TERM", "task": 0, "process": process, "kill": True}

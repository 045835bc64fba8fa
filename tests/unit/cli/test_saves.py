"""``kcms checkpoint`` and ``kcms restart`` before a scripted gateway, and what kcms job says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kcms.cli import jobs, main, options, rungs
from kcms.client import Client, ClientError
from tests.unit.cli.test_commands import Scripted
from tests.unit.cli.test_tables import job

IMAGE = {"number": 3, "node": "alpha2", "time": 1500.0, "size": 52_428_800,
         "freeze_seconds": 0.384, "seconds": 2.0}  # fmt: skip
SAVED = {
    "images": [], "saving": None, "failure": "", "failure_time": None, "resume": False,
    "begun_from": None, "restart_by": None, "note": "", "interval": None, "interval_why": "",
    "signalled": None,
}  # fmt: skip
SHOWN = {
    "rung": "beginning", "why": "no checkpoint was asked for", "last": None, "signalled": None,
    "interval": None, "interval_why": "", "under_way": [], "failure": "", "note": "",
}  # fmt: skip
SAVING = {"number": 3, "by": "alice", "start_time": 1490.0, "begun": False}


def saved(*tasks: dict[str, Any], **shown: Any) -> dict[str, Any]:
    """A job with what each of its tasks has on record."""
    (first,) = job()["tasks"]
    rows = [{**first, "index": at, "checkpoint": {**SAVED, **each}} for at, each in
            enumerate(tasks)]  # fmt: skip
    under_way = [{"task": row["index"], **row["checkpoint"]["saving"]} for row in rows
                 if row["checkpoint"]["saving"]]  # fmt: skip
    spec = {**job()["spec"], "total_tasks": len(rows), "checkpoint_signal": None}
    return job(tasks=rows, spec=spec, checkpoint={**SHOWN, "under_way": under_way, **shown})


WAITING, MADE = {"saving": SAVING}, {"images": [IMAGE]}
FAILED = {"failure": "alpha2: it has a TCP socket", "failure_time": 1495.0}
OLD = {"images": [{**IMAGE, "number": 1}]}


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted.answers, Scripted.asked = {}, []
    monkeypatch.setattr(options, "Client", Scripted)
    monkeypatch.setattr("time.sleep", lambda _: None)


def after(monkeypatch: pytest.MonkeyPatch, *documents: Any) -> None:
    """What the job is, each time that it is asked for, the last one for ever."""
    told: Iterator[Any] = iter(documents)
    last = documents[-1]

    def show(self: Client, job_id: int, tasks: int | None = None, task: int | None = None) -> Any:
        found = next(told, last)
        if isinstance(found, ClientError):
            raise found
        return {**found, "tasks": []} if tasks == 0 and task is None else found

    monkeypatch.setattr(Scripted, "job", show)


@pytest.mark.parametrize(
    ("then", "status", "out", "err"),
    [
        (saved(MADE), 0, "checkpoint 3 of job 12 was made: 52 MB, it stood still for 0.38 s\n", ""),
        (
            saved(FAILED),
            *(1, "", "kcms: no checkpoint of job 12 was made: alpha2: it has a TCP socket\n"),
        ),
        (
            {**saved({}), "state": "COMPLETED"},
            *(1, "", "kcms: no checkpoint of job 12 was made: the job is COMPLETED meanwhile\n"),
        ),
        (
            saved(OLD),
            1,
            "",
            "kcms: no checkpoint of job 12 was made: its task was ended, moved or begun anew "
            "meanwhile\n",
        ),
    ],
)
def test_it_is_waited_for_until_it_is_made(
    then: dict[str, Any],
    status: int,
    out: str,
    err: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Scripted.answers = {"/v1/jobs/12/checkpoint": saved(WAITING)}
    away = ClientError("unavailable", "the manager cannot be reached")
    after(monkeypatch, saved(WAITING), away, then)
    assert main(["checkpoint", "12", "--wait", "--user", "alice"]) == status
    assert capsys.readouterr() == (out, err)
    assert Scripted.asked == [("POST /v1/jobs/12/checkpoint", None, "alice", {})]


def test_it_need_not_be_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers = {"/v1/jobs/12/checkpoint": saved(WAITING)}
    assert main(["checkpoint", "12.0"]) == 0
    assert capsys.readouterr().out == "job 12 is being saved\n"
    assert Scripted.asked[0][3] == {"task": 0}


def test_of_several_tasks_each_is_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {"saving": {**SAVING, "number": 4}}
    Scripted.answers = {"/v1/jobs/12/checkpoint": saved(OLD, WAITING, later)}
    bigger = {"images": [{**IMAGE, "number": 4, "freeze_seconds": 2.0}]}
    after(monkeypatch, saved(OLD, MADE, later), saved(OLD, MADE, bigger))
    assert main(["checkpoint", "12", "--wait"]) == 0
    said = "2 tasks of job 12 were saved: 105 MB, it stood still for 2.0 s at the most\n"
    assert capsys.readouterr().out == said
    before = {"failure": "no room", "failure_time": 1000.0}
    after(monkeypatch, saved(before, MADE, bigger))
    assert main(["checkpoint", "12", "--wait"]) == 0
    after(monkeypatch, saved(OLD, MADE, {**OLD, **FAILED}))
    assert main(["checkpoint", "12", "--wait"]) == 1
    assert "no checkpoint of task 2 of job 12 was made: alpha2" in capsys.readouterr().err


def test_what_is_hidden_behind_others_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's document has but few of the checkpoints that are under way."""
    Scripted.answers = {"/v1/jobs/12/checkpoint": saved(WAITING, WAITING)}
    hidden = {**saved(MADE, WAITING), "checkpoint": SHOWN}
    seen = []
    after(monkeypatch, hidden, hidden, hidden, hidden, saved(MADE, MADE))
    show = Scripted.job
    monkeypatch.setattr(
        Scripted, "job", lambda *words, **more: seen.append(1) or show(*words, **more)
    )
    assert main(["checkpoint", "12", "--wait"]) == 0
    assert len(seen) > 4


def test_one_that_saves_itself_was_sent_its_signal(capsys: pytest.CaptureFixture[str]) -> None:
    own = saved({"signalled": 1490.0}, signalled=1490.0)
    own["spec"]["checkpoint_signal"] = "USR1"
    Scripted.answers = {"/v1/jobs/12/checkpoint": own}
    assert main(["checkpoint", "12", "--wait"]) == 0
    assert capsys.readouterr().out == "job 12 was sent SIGUSR1, to save itself\n"


def test_a_refusal_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = ClientError("conflict", "no checkpoint of job 12 can be made: it is PENDING", 409)
    Scripted.answers = {"/v1/jobs/12/checkpoint": refusal}
    assert main(["checkpoint", "12"]) == 1
    assert capsys.readouterr().err == f"kcms: {refusal.message}\n"
    Scripted.answers = {"/v1/jobs/12/restart": ClientError("not_found", "Not Found", 404)}
    assert main(["restart", "12"]) == 1
    assert "is of a release that knows no checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tasks", "words", "said"),
    [
        ([{**MADE, "restart_by": "alice"}], "12", "job 12 is being begun anew, from checkpoint 3"),
        (
            [{"restart_by": "alice"}],
            *("12", "job 12 is being begun anew, and goes on from what it saved itself"),
        ),
        (
            [OLD, {**MADE, "restart_by": "alice"}],
            *("12.1", "task 1 of job 12 is being begun anew, from checkpoint 3"),
        ),
        (
            [{**OLD, "restart_by": "a"}, {**MADE, "restart_by": "a"}],
            *("12", "job 12 is being begun anew, each task from its last checkpoint"),
        ),
    ],
)
def test_a_restart_says_from_where(
    tasks: list[dict[str, Any]], words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Scripted.answers = {"/v1/jobs/12/restart": saved(*tasks)}
    assert main(["restart", words]) == 0
    assert capsys.readouterr().out == f"{said}\n"


def test_the_page_of_a_job_says_how_safe_it_is() -> None:
    told = saved(
        MADE,
        rung="transparent",
        why="it goes on from its last checkpoint",
        last={"task": 0, **IMAGE},
        interval=600.0,
        interval_why="10 minutes as asked for",
        failure="alpha2: no room",
        note="it went on from checkpoint 2",
    )
    lines = dict(line.split("  ", 1) for line in jobs.job_page(told, 1800.0).splitlines())
    assert {name: lines[name].strip() for name in rungs.lines(told, 1800.0)} == {
        "safety": "transparent: it goes on from its last checkpoint",
        "checkpoint": "number 3, 5m00s ago on alpha2: 52 MB, it stood still for 0.38 s",
        "not saved": "alpha2: no room",
        "interval": "00:10:00 (10 minutes as asked for)",
        "begun from": "it went on from checkpoint 2",
    }
    assert rungs.lines({**told, "state": "COMPLETED"}, 1800.0).keys() == {"not saved", "begun from"}
    assert rungs.lines(job(), 1800.0) == {}


def test_the_page_of_a_job_says_what_is_under_way() -> None:
    assert rungs.lines(saved(WAITING), 1500.0)["being saved"] == (
        "waiting for its turn, asked for by alice 10s ago"
    )
    begun = {"saving": {**SAVING, "begun": True}}
    assert rungs.lines(saved(begun, WAITING), 1500.0)["being saved"].startswith(
        "tasks 0, 1, being made"
    )
    own = rungs.lines(saved({}, signalled=1400.0), 1500.0)
    assert own["checkpoint"] == "asked to save itself 1m40s ago"

"""Commands before a scripted gateway: what they ask, say and return."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from kcms.cli import jobs, main, options, output, tables
from kcms.client import Client, ClientError
from tests.unit.cli.test_tables import job

MOVING = {
    "number": 3,
    "source": "alpha1",
    "target": "alpha2",
    "phase": "done",
    "by": "alice",
    "message": "",
    "check_only": False,
    "start_time": 1000.0,
    "end_time": 1002.0,
}


class Scripted(Client):
    """Answers by path, and writes down what it is asked."""

    answers: dict[str, Any]
    asked: list[tuple[str, str | None, str | None, Any]]

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: object
    ) -> tuple[int, dict[str, Any]]:
        given = body if body is not None else {k: v for k, v in query.items() if v is not None}
        Scripted.asked.append((f"{method} {path}", self.cluster, self.as_user, given))
        found = Scripted.answers[f"{path} {self.cluster}" if "password" in path else path]
        if isinstance(found, ClientError):
            raise found
        return 200, found


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted.answers, Scripted.asked = {}, []
    monkeypatch.setattr(options, "Client", Scripted)


def migration(**changes: Any) -> dict[str, Any]:
    return job(migration={**MOVING, **changes})


@pytest.mark.parametrize(
    ("words", "end", "status", "out", "err"),
    [
        ((), {}, 0, "job 12 has moved from alpha1 to alpha2\n", ""),
        (
            (),
            {"bytes": 52_512_345, "freeze_seconds": 0.384, "predicted_seconds": 9.0},
            *(0, "job 12 has moved from alpha1 to alpha2: 53 MB, stood still for 0.38 s\n", ""),
        ),
        (
            ("--check",),
            {
                **{"phase": "possible", "check_only": True},
                **{"predicted_bytes": 2_400_000, "predicted_seconds": 4.25},
            },
            0,
            "job 12 can be moved from alpha1 to alpha2: about 2.4 MB, standing still for about "
            "4.2 s\n",
            "",
        ),
        (
            ("--check",),
            {"phase": "possible", "check_only": True},
            *(0, "job 12 can be moved from alpha1 to alpha2\n", ""),
        ),
        (
            (),
            {"phase": "refused", "message": "alpha1: it has a TCP socket"},
            *(1, "", "kcms: job 12 was not moved to alpha2: alpha1: it has a TCP socket\n"),
        ),
        (
            (),
            {"phase": "failed", "message": "alpha2: disk full"},
            *(1, "", "kcms: job 12 was not moved to alpha2 and goes on where it was: "),
        ),
        (
            ("--check",),
            {"phase": "refused", "check_only": True, "message": "alpha2 is drained"},
            *(1, "", "kcms: job 12 cannot be moved to alpha2: alpha2 is drained\n"),
        ),
        ((), {"number": 4}, 1, "", "kcms: how migration 3 of job 12 ended is not known"),
    ],
)
def test_migrate_waits_for_the_outcome(
    words: tuple[str, ...],
    end: dict[str, Any],
    status: int,
    out: str,
    err: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Scripted.answers = {
        "/v1/jobs/12/migrate": migration(phase="checking", end_time=None),
        "/v1/jobs/12": migration(**end),
    }
    assert main(["migrate", "12", "alpha2", "--user", "alice", *words]) == status
    said = capsys.readouterr()
    assert said.out == out
    assert said.err.startswith(err)
    assert bool(said.err) is bool(err)
    body = {"node": "alpha2", "check": "--check" in words}
    assert Scripted.asked[0] == ("POST /v1/jobs/12/migrate", None, "alice", body)


def test_a_job_is_asked_for_with_the_tasks_that_are_shown() -> None:
    Scripted.answers = {"/v1/jobs/12": job()}
    assert main(["job", "12"]) == 0
    assert main(["job", "12", "--json"]) == 0
    assert [given for *_, given in Scripted.asked] == [{"tasks": jobs.SHOWN_TASKS}, {}]


def test_migrate_need_not_wait(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers = {"/v1/jobs/12/migrate": migration(phase="checking", end_time=None)}
    assert main(["migrate", "12", "alpha2", "--no-wait"]) == 0
    assert capsys.readouterr().out == "job 12 is moving from alpha1 to alpha2\n"


def test_drain_and_resume(capsys: pytest.CaptureFixture[str]) -> None:
    node = {"name": "alpha2", "availability": "draining", "used": 1, "slots": 4, "state": "UP"}
    Scripted.answers = {"/v1/nodes/alpha2/state": node}
    assert main(["drain", "alpha2", "--reason", "new disk", "-M", "alpha"]) == 0
    assert capsys.readouterr().out == "alpha2 is draining, 1 of 4 slots used\n"
    assert main(["resume", "alpha2"]) == 0
    assert Scripted.asked == [
        (
            *("POST /v1/nodes/alpha2/state", "alpha", None),
            {"state": "drain", "reason": "new disk"},
        ),
        ("POST /v1/nodes/alpha2/state", None, None, {"state": "resume", "reason": ""}),
    ]


LEAVING = {"job": 12, "task": 0, "size": 1, "user": "alice", "target": None, "again": None}
NODE = {"name": "alpha2", "availability": "draining", "used": 1, "slots": 4, "state": "UP"}


def leaving(*rows: tuple[str, str], on: bool = True) -> dict[str, Any]:
    tasks = [{**LEAVING, "state": state, "message": message} for state, message in rows]
    return {"node": "alpha2", "leaving": on, "tasks": tasks}


def test_emptying_a_node_says_what_leaves_and_what_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = leaving(("staying", "alpha2: a lock"))
    told["tasks"].append(
        {
            **LEAVING,
            "size": 3,
            "task": 2,
            "state": "moving",
            "target": "a",
            "message": "it moves to a: checking",
        }
    )
    Scripted.answers = {"/v1/nodes/alpha2/state": NODE, "/v1/nodes/alpha2/leaving": told}
    words = ["drain", "alpha2", "--reason", "fan", "--migrate"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "alpha2 is draining, 1 of 4 slots used",
        "TASK  USER   STATE    TARGET  WHY",
        "12    alice  staying  -       alpha2: a lock",
        "12.2  alice  moving   a       it moves to a: checking",
    ]
    assert Scripted.asked[0][3] == {"state": "drain", "reason": "fan", "migrate": True}


@pytest.mark.parametrize(
    ("then", "status", "out", "err"),
    [
        (
            leaving(("staying", "alpha2: a lock")),
            1,
            ["job 12 of alice: staying: alpha2: a lock"],
            "kcms: job 12 of alice stays on alpha2: alpha2: a lock\n",
        ),
        (leaving(), 0, ["job 12 of alice: gone from alpha2"], ""),
        (leaving(on=False), 1, [], "kcms: alpha2 is not to be empty any more\n"),
    ],
)
def test_it_is_waited_for_until_nothing_can_leave(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    then: dict[str, Any],
    status: int,
    out: list[str],
    err: str,
) -> None:
    moving = leaving(("moving", "it moves to a: checking"))
    away = ClientError("unavailable", "the manager cannot be reached")
    told = iter([moving, moving, away, then])
    follow = Scripted.follow_leaving

    def leave(self: Client, node: str) -> dict[str, Any]:
        found = next(told)
        if isinstance(found, ClientError):
            raise found
        return found

    monkeypatch.setattr(Scripted, "leaving", leave)
    monkeypatch.setattr(
        Scripted, "follow_leaving", lambda self, node: follow(self, node, lambda seconds: None)
    )
    Scripted.answers = {"/v1/nodes/alpha2/state": NODE}
    assert main(["drain", "alpha2", "--reason", "fan", "--migrate", "--wait"]) == status
    said = capsys.readouterr()
    first = "job 12 of alice: moving: it moves to a: checking"
    assert said.out.splitlines()[1:] == [first, *out]
    assert said.err == err


def test_waiting_goes_with_emptying_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["drain", "alpha2", "--reason", "fan", "--wait"])
    assert "--wait goes with --migrate" in capsys.readouterr().err
    assert Scripted.asked == []


def test_output_is_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    end = {"path": "/s/12.out", "size": 9, "offset": 4, "text": "a\x1bé\n"}
    Scripted.answers = {"/v1/jobs/12/output": end}
    assert main(["output", "12", "--error", "--bytes", "5"]) == 0
    said = capsys.readouterr()
    assert said.out == "a\x1bé\n"
    assert said.err == "kcms: the last 5 of 9 bytes of /s/12.out:\n"
    assert Scripted.asked[0][3] == {"which": "error", "bytes": 5}


def test_output_is_followed_to_the_end_of_the_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = iter(["one\n", "two\n", ""])

    def follow(self: Client, job_id: int, which: str, limit: int, task: int) -> Any:
        assert (job_id, which, limit, task) == (12, "error", 65536, 3)
        return ({"text": each} for each in parts)

    monkeypatch.setattr(Client, "follow", follow)
    assert main(["output", "12.3", "-f", "--error"]) == 0
    assert capsys.readouterr() == ("one\ntwo\n", "")
    with pytest.raises(SystemExit):
        main(["output", "12", "-f", "--json"])
    assert "no --json with it" in capsys.readouterr().err


def test_a_terminal_is_not_commanded() -> None:
    assert output.shown("a\x1b[2J\tb\r\n", terminal=True) == "a?[2J\tb?\n"


def passwords(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    Scripted.answers = {
        "/v1/clusters": {"clusters": [{"name": "alpha"}, {"name": "beta"}]},
        "/v1/password alpha": {},
        "/v1/password beta": ClientError("unavailable", "beta is out of reach", 503),
    }
    status = main(["web-password", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_password_is_set_everywhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" correct horse\r\nmore")))
    assert passwords(capsys, "--stdin") == (
        *(1, "alpha: password set\n"),
        "kcms: beta: beta is out of reach\n",
    )
    sent = [(path, cluster, body) for path, cluster, _, body in Scripted.asked[1:]]
    body = {"password": " correct horse"}
    assert sent == [("POST /v1/password", name, body) for name in ("alpha", "beta")]


def test_a_password_is_removed_at_one_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert passwords(capsys, "--remove", "-M", "alpha") == (0, "alpha: password removed\n", "")
    assert Scripted.asked == [("POST /v1/password", "alpha", None, {"password": None})]


def test_a_password_is_asked_for_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["one password", "another one"]
    monkeypatch.setattr("getpass.getpass", lambda _: typed.pop(0))
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    assert passwords(capsys)[2] == "kcms: the two passwords differ, and nothing was changed\n"
    assert [path for path, *_ in Scripted.asked] == ["GET /v1/clusters"]


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("given", "said"), [(b"", "no password was given"), (b"\xff\n", "must be UTF-8 text")]
)
def test_an_input_that_is_no_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: bytes, said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    status, _, err = passwords(capsys, "--stdin")
    assert (status, said in err) == (1, True)


def test_the_page_of_a_job_shows_migration_and_files() -> None:
    spec = {**job()["spec"], "output": "/s/%j.out", "error": None}
    moved = {**migration(message="late\nline"), "spec": spec}
    lines = dict(line.split("  ", 1) for line in jobs.job_page(moved, 2000.0).splitlines())
    assert lines["output"].strip() == "/s/12.out"
    assert lines["error"].strip() == "-"
    said = lines["migration"].strip()
    assert said.startswith("alpha1 to alpha2, done (asked for by alice, ")
    assert said.endswith("): late?line")
    checked = tables.migration({**MOVING, "phase": "possible", "check_only": True})
    assert checked.startswith("only checked: alpha1 to alpha2, possible (")
    assert tables.note(migration(phase="dumping", end_time=None)) == "moving to alpha2"


def test_the_page_of_a_job_says_how_many_tasks_it_leaves_out() -> None:
    (one,) = job()["tasks"]
    rows = [{**one, "index": at} for at in range(jobs.SHOWN_TASKS)]
    spec = {**job()["spec"], "class": "batch", "total_tasks": jobs.SHOWN_TASKS + 2}
    page = jobs.job_page(job(spec=spec, tasks=rows), 2000.0)
    assert page.splitlines()[-1].split() == ["and", "2", "more", "tasks,", "which", "--json", "has"]
    spec["total_tasks"] = jobs.SHOWN_TASKS
    assert "more tasks" not in jobs.job_page(job(spec=spec, tasks=rows), 2000.0)


def test_wide_characters_take_two_columns() -> None:
    rows = [("名前", 1), ("é", 2), ("e\u0301", 3), ("ab", 4)]
    assert tables.table(("N", "X"), rows).splitlines() == [
        "N     X",
        "名前  1",
        "é     2",
        "e\u0301     3",
        "ab    4",
    ]


@pytest.mark.parametrize(
    ("words", "err"),
    [
        ((), "kcms: only the newest 1 are listed: name a --state or --user to have fewer\n"),
        (
            ("--limit", "5"),
            "kcms: only the newest 1 are listed: name a --state or --user to have fewer\n",
        ),
        (("--limit", "1"), ""),
    ],
)
def test_jobs_that_the_manager_left_out_are_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], err: str
) -> None:
    Scripted.answers = {"/v1/jobs": {"jobs": [job()], "more": True}}
    assert main(["jobs", *words]) == 0
    assert capsys.readouterr().err == err


def test_holding_and_releasing_say_what_each_job_is_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refusal = ClientError("conflict", "job 13 is RUNNING: only a job that waits can be held", 409)
    Scripted.answers = {
        "/v1/jobs/12/hold": job(state="PENDING", held_by="alice"),
        "/v1/jobs/13/hold": refusal,
        "/v1/jobs/12/release": job(state="PENDING", held_by=None),
    }
    assert main(["hold", "12", "13"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "job 12 is held by alice\n"
    assert captured.err == "kcms: job 13 is RUNNING: only a job that waits can be held\n"
    assert main(["release", "12"]) == 0
    assert capsys.readouterr().out == "job 12 is held no more\n"


def test_suspending_and_resuming_say_what_each_job_is_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Scripted.answers = {
        "/v1/jobs/12/suspend": job(state="SUSPENDED", reason="being suspended by alice"),
        "/v1/jobs/12/resume": job(state="RUNNING", reason="being resumed"),
        "/v1/jobs/13/resume": job(id=13, state="RUNNING", reason=""),
    }
    assert main(["suspend", "12"]) == 0
    assert main(["resume", "12", "13"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 12 is being suspended by alice",
        "job 12 is being resumed",
        "job 13 is running",
    ]
    assert [each[0].split("/", 2)[2] for each in Scripted.asked] == [
        *("jobs/12/suspend", "jobs/12/resume", "jobs/13/resume"),
    ]

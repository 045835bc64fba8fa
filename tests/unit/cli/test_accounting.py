"""``kcms accounting``: which period is asked for, and how rows are summed and shown."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kcms.cli import accounting, main, options, tables
from kcms.client import ClientError
from tests.unit.cli.test_commands import Scripted


def row(day: str, user: str, state: str = "COMPLETED", **figures: float) -> dict[str, Any]:
    zero = dict.fromkeys(
        ("jobs", "tasks", "core_seconds", "cpu_seconds", "user_seconds", "system_seconds",
         "max_rss_kib", "read_bytes", "write_bytes"), 0,
    )  # fmt: skip
    return {"day": day, "user": user, "state": state, **zero, **figures}


ROWS = [
    row("2030-01-01", "alice", jobs=2, cpu_seconds=60.0, max_rss_kib=2048, write_bytes=1 << 30),
    row("2030-01-01", "bob", "FAILED", jobs=1, core_seconds=3600.0),
    row(
        *("2030-01-02", "alice", "FAILED"),
        **{"jobs": 3, "cpu_seconds": 5.5, "max_rss_kib": 1024, "read_bytes": 512},
        checkpoint_bytes=3 << 20,
    ),
]
TOLD = {"since": 0.0, "until": 86400.0, "rows": ROWS, "more": False}


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Scripted.answers, Scripted.asked = {"/v1/accounting": dict(TOLD)}, []
    monkeypatch.setattr(options, "Client", Scripted)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_rows_of_a_user_are_summed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--since", "1970-01-01", "--until", "1970-01-02T00:00", "--user", "alice"]
    assert main(["accounting", *words]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ended from 1970-01-01 00:00:00 to 1970-01-02 00:00:00",
        "USER   JOBS  TASKS    CPU  CORES   MEMORY   READ  WRITTEN    SAVED",
        "alice     5      0  1m05s     0s  2.0 MiB  512 B  1.0 GiB  3.0 MiB",
        "bob       1      0     0s  1h00m      0 B    0 B      0 B      0 B",
        "total     6      0  1m05s  1h00m  2.0 MiB  512 B  1.0 GiB  3.0 MiB",
    ]
    asked = {"since": 0.0, "until": 86400.0, "user": "alice"}
    assert Scripted.asked == [("GET /v1/accounting", None, None, asked)]


def test_by_other_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accounting", "--by", "state,day", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    keys = [(each["state"], each["day"], each["jobs"]) for each in told["rows"]]
    assert keys == [
        ("COMPLETED", "2030-01-01", 2),
        ("FAILED", "2030-01-01", 1),
        ("FAILED", "2030-01-02", 3),
    ]
    assert "user" not in told["rows"][0]
    assert Scripted.asked[0][3] == {}


def test_nothing_has_no_total(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers["/v1/accounting"] = {**TOLD, "rows": []}
    assert main(["accounting", "--by", "day,user"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["DAY", "USER"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ClientError("not_found", "Not Found", 404), "is of a release without accounting"),
        (ClientError("not_found", "there is no user 'x' on this host", 404), "there is no user"),
        (ClientError("forbidden", "alice may list only", 403), "alice may list only"),
    ],
)
def test_what_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], error: ClientError, said: str
) -> None:
    Scripted.answers["/v1/accounting"] = error
    assert main(["accounting"]) == 1
    assert said in capsys.readouterr().err


def test_too_much_is_no_sum(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers["/v1/accounting"] = {**TOLD, "more": True}
    assert main(["accounting"]) == 1
    assert "name a --since" in capsys.readouterr().err


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting.time, "time", lambda: 1e6)
    assert accounting.moment("7d") == 1e6 - 7 * 86400
    assert accounting.moment("90m") == 1e6 - 5400
    assert accounting.moment("2030-12-24T18:00+01:00") == 1924362000.0
    for wrong in ("", "d", "7", "7y", "yesterday", "99999999d", "0001-01-01"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be a time such as"):
            accounting.moment(wrong)


def test_words_that_there_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["accounting", "--by", "node"])
    assert "there is no 'node'; there are day, user, state" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 << 20, "1.5 GiB"),
        (5 << 50, "5.0 PiB"),
        (5 << 60, "5120.0 PiB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    assert tables.size(count) == shown


@pytest.mark.parametrize(
    ("usage", "shown"),
    [
        ({}, ""),
        (
            {
                "cpu_seconds": 1.254,
                "user_seconds": 1.0,
                "system_seconds": 0.254,
                "max_rss_kib": 61440,
                "read_bytes": 0,
                "write_bytes": 50 << 20,
                "sources": {"cpu": "cgroup", "memory": "sampled", "io": "wait"},
            },
            "CPU 1.25 s (1.00 user, 0.25 system; cgroup), memory 60.0 MiB (sampled), "
            "read 0 B and wrote 50.0 MiB (wait)",
        ),
        (
            {"cpu_seconds": 1.5, "max_rss_kib": 2048.0, "source": "cgroup cpu.stat, wait maxrss"},
            "CPU 1.50 s, memory 2.0 MiB",
        ),
    ],
)
def test_what_a_task_took(usage: dict[str, Any], shown: str) -> None:
    assert tables.took(usage) == shown

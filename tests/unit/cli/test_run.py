"""What ``kcms run`` makes of its words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from kcms.cli import main
from kcms.cli import run as command
from kcms.client import Client, ClientError


class Fake(Client):
    """Takes every job, and says of each call that waits what the list has."""

    def __init__(self, *answers: ClientError) -> None:
        super().__init__()
        self.answers = list(answers)
        self.specs: list[dict[str, Any]] = []
        self.killed: list[int] = []

    def submit(self, spec: dict[str, Any], key: str | None = None) -> tuple[dict[str, Any], bool]:
        self.specs.append(spec)
        if self.answers and self.answers[0].code == "invalid_request":
            raise self.answers.pop(0)
        return {"id": 7}, True

    def open(self, path: str, protocol: str, **query: object) -> Any:
        raise self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)

    def kill(self, job_id: int) -> dict[str, Any]:
        self.killed.append(job_id)
        return {}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    made = Fake(ClientError("over", "job 7 is over", 409))
    monkeypatch.setattr(command, "client", lambda options, user: made)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "vt100")
    program = tmp_path / "bin" / "tool"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return made


def test_the_command_is_taken_as_it_stands(fake: Fake, tmp_path: Path) -> None:
    for words in (["tool", "--", "-x", "--wait", "3"], ["--", "tool", "--", "-x", "--wait", "3"]):
        assert main(["run", "-T", *words]) == 125
        assert fake.specs[-1] == {
            "executable": f"{tmp_path}/bin/tool",
            "arguments": ["--", "-x", "--wait", "3"],
            "base_directory": str(tmp_path),
            "interactive": "pipes",
            "environment": {"LANG": "C.UTF-8"},
        }


def test_a_terminal_has_its_kind_told_and_options_are_fields(fake: Fake) -> None:
    main(["run", "-t", "--time-limit", "2m", "--environment", "TERM=x", "./a"])
    spec = fake.specs[-1]
    assert spec["interactive"] == "terminal"
    assert spec["time_limit"] == 120
    assert spec["environment"] == {"LANG": "C.UTF-8", "TERM": "x"}
    main(["run", "-t", "/bin/a"])
    assert fake.specs[-1]["environment"]["TERM"] == "vt100"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "a command is missing"),
        (["--"], 2, "a command is missing"),
        (["--wait", "soon", "tool"], 2, "must be a number of seconds, or forever"),
        (["--output", "/x", "tool"], 2, "--output"),
        (["-t", "-T", "tool"], 2, "not allowed with"),
        (["none"], 125, "there is no program 'none' in PATH here: name its path"),
        (["--time-limit", "90", "tool"], 125, "time_limit must have its unit"),
    ],
)
def test_bad_words_are_one_line(
    fake: Fake, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = main(["run", *words])
    except SystemExit as error:
        found = int(str(error.code))
    assert found == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not fake.specs


def test_what_does_not_begin_in_time_is_killed(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers = [ClientError("waiting", "every slot is taken", 409)]
    assert main(["run", "--wait", "0", "tool"]) == 125
    assert fake.killed == [7]
    assert capsys.readouterr().err == (
        "kcms: job 7 did not begin within 0 s, and is cancelled: every slot is taken\n"
    )


def test_what_is_being_started_has_more_time(fake: Fake) -> None:
    fake.answers = [
        ClientError("starting", "being started", 409),
        ClientError("over", "job 7 is over (FAILED): a2: no such user", 409),
    ]
    assert main(["run", "--wait", "0", "tool"]) == 125


def test_where_it_cannot_begin_here_it_begins_at_home_unless_here_was_asked_for(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ClientError(
        "invalid_request", "base_directory /x is not on a shared directory, and so on", 400
    )
    over = ClientError("over", "it is over", 409)
    fake.answers = [wrong, over]
    main(["run", "tool"])
    assert "base_directory" not in fake.specs[-1]
    assert "it begins in your home directory: base_directory /x is not on a shared" in (
        capsys.readouterr().err
    )
    fake.answers, fake.specs = [wrong, over], []
    assert main(["run", "--base-directory", "/x", "tool"]) == 125
    assert len(fake.specs) == 1


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"code": 7, "signal": None, "why": ""}, 7),
        ({"code": None, "signal": 9, "why": "its time limit"}, 137),
        ({"code": 127, "signal": None, "why": "cannot run /x", "refused": True}, 125),
        ({"code": None, "signal": None}, 125),
    ],
)
def test_the_exit_status_is_the_programs(how: dict[str, Any], status: int) -> None:
    assert command._status(1, how) == status


def test_a_wait_is_seconds_or_forever() -> None:
    assert command._wait("forever") == float("inf")
    assert command._wait("90") == 90.0
    with pytest.raises(argparse.ArgumentTypeError):
        command._wait("-1")

"""``kcms submit``: words to a specification."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from kcms.cli.submit import parser, specification
from kcms.errors import InvalidRequest
from kcms.jobs.spec import FIELDS


def spec(*words: str) -> dict[str, Any]:
    return specification(parser().parse_args(list(words)))


def test_every_field_of_the_table_has_its_option() -> None:
    dests = {action.dest for action in parser()._actions}
    assert {row.name for row in FIELDS} <= dests


def test_only_what_is_given_is_sent() -> None:
    assert spec("/shared/x") == {"executable": "/shared/x", "arguments": []}


def test_all_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    words = (
        "--name n --class single --base-directory /b --input /i --output /o --error /e "
        "--priority -5 --environment A=1 --environment B=x=y --user bob --json --hold "
        "--time-limit 90m --dependency afterok:1 --dependency after:2 --begin-time +2h /shared/x"
    )
    assert spec(*words.split()) == {
        "name": "n",
        "class": "single",
        "base_directory": "/b",
        "input": "/i",
        "output": "/o",
        "error": "/e",
        "priority": -5,
        "environment": {"A": "1", "B": "x=y"},
        "hold": True,
        "time_limit": 5400,
        "dependency": ["afterok:1", "after:2"],
        "begin_time": 8200,
        "executable": "/shared/x",
        "arguments": [],
    }


def test_words_after_the_executable_are_its_own() -> None:
    options = parser().parse_args(["--json", "/x", "--json", "-M", "--", "--name", "a b", ""])
    assert options.json is True
    assert (options.cluster, options.name) == (None, None)
    assert specification(options)["arguments"] == ["--json", "-M", "--", "--name", "a b", ""]


def test_relative_paths_begin_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    got = spec(
        "--output", "./out/o.%j", "--input", "../i", "--base-directory", ".", "run.sh", "./a"
    )
    assert got == {
        "output": f"{tmp_path}/out/o.%j",
        "input": f"{tmp_path}/../i",
        "base_directory": f"{tmp_path}/.",
        "executable": f"{tmp_path}/run.sh",
        "arguments": ["./a"],
    }


def test_a_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidRequest, match=r"run.sh is relative.*directory is gone"):
        spec("run.sh")

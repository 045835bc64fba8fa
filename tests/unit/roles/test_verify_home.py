"""What the verify role has in the home of the user whose jobs it tries."""

from __future__ import annotations

import json
import os
import pwd
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/verify/files/home.py"


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    home = tmp_path / "shared/alice"
    home.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_dir=str(home)))

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["home.py", *words])
        runpy.run_path(str(PROGRAM))
        return capsys.readouterr().out

    mask = os.umask(0o022)
    yield run
    os.umask(mask)


@pytest.mark.parametrize(
    ("shared", "staged"), [("shared", False), ("link", False), ("other", True), ("", True)]
)
def test_a_home_that_every_node_sees_needs_no_staging(
    said: Any, tmp_path: Path, shared: str, staged: bool
) -> None:
    told = json.loads(said("prepare", *([str(tmp_path / shared)] if shared else [])))
    assert bool(told["staged"]) is staged
    assert (Path(told["directory"]) / "job.sh").stat().st_mode & 0o777 == 0o700
    assert said("remove", told["directory"]) == ""
    assert not Path(told["directory"]).exists()

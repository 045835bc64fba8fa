"""What a restored job holds open must be what its owner can open."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from kcms.node import opened
from kcms.node.owner import Ids

US = Ids(os.geteuid(), os.getegid())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("here")
    return tmp_path


def forbidden(home: Path) -> str:
    return opened.forbidden([os.getpid()], [str(home)], US)


def test_what_the_owner_can_open_is_allowed(home: Path) -> None:
    with (home / "file").open("r+"), (home / "file").open():
        held = os.open(home, os.O_RDONLY)
        assert forbidden(home) == ""
        os.close(held)


def test_what_cannot_be_opened_so_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ask(_: object, request: dict[str, list[object]]) -> dict[str, object]:
        asked.extend(request["openable"])
        return {"openable": [[]] * len(request["openable"])}

    monkeypatch.setattr(opened, "ask", ask)
    with (home / "file").open("a"):
        assert forbidden(home) == str(home / "file")
    assert asked == [(str(home / "file"), os.O_WRONLY)]


@pytest.mark.skipif(os.geteuid() != 0, reason="reading map_files takes root")
def test_what_is_mapped_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (home / "file").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4)
    monkeypatch.setattr(opened, "ask", lambda *_: {"openable": [[1, 2]]})
    assert forbidden(home) == str(home / "file")
    mapped.close()
    assert forbidden(home) == ""


def test_a_removed_file_is_nobody_else_s(home: Path) -> None:
    with (home / "file").open():
        (home / "file").unlink()
        assert forbidden(home) == ""

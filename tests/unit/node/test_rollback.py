"""Files are taken back to how they were at a checkpoint, all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kcms.node import rollback


def row(path: Path, use: str = "written") -> dict[str, Any]:
    size, mtime, inode = rollback.look(str(path)) or (0, 0, 0)
    return {"path": str(path), "use": use, "size": size, "mtime": mtime, "inode": inode}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "output.txt"
    path.write_text("hello")
    return path


def test_a_file_that_grew_is_cut(file: Path) -> None:
    then = row(file)
    file.write_text("hello, world")
    assert rollback.answer({"back": [then]}) == {
        "problem": "",
        "notes": [f"{file} was cut from 12 to 5 bytes, as at the checkpoint"],
    }
    assert file.read_text() == "hello"


def test_nothing_is_said_of_a_file_that_is_as_it_was(file: Path) -> None:
    assert rollback.answer({"back": [row(file)]}) == {"problem": "", "notes": []}


def test_no_file_is_cut_when_another_is_gone_or_shorter(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("12345")
    rows = [row(file), row(other)]
    file.write_text("hello, world")
    other.write_text("1")
    assert "fewer than the 5" in rollback.answer({"back": rows})["problem"]
    other.unlink()
    assert "no longer there" in rollback.answer({"back": rows})["problem"]
    assert file.read_text() == "hello, world"


def test_a_file_that_is_only_read_is_never_cut(file: Path) -> None:
    then = row(file, "read")
    file.write_text("hello, world")
    assert "has 12 bytes, not 5" in rollback.answer({"back": [then]})["problem"]
    assert file.read_text() == "hello, world"


def test_a_change_within_the_length_is_told(file: Path) -> None:
    then = row(file) | {"mtime": 1}
    assert "changed within its length" in rollback.answer({"back": [then]})["notes"][0]


def test_no_link_is_followed(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    then = row(file) | {"path": str(link), "size": 1}
    link.symlink_to(file)
    assert "no longer there" in rollback.answer({"back": [then]})["problem"]
    assert file.read_text() == "hello"


def test_many_notes_are_one_line() -> None:
    assert rollback.note(["a", "b", "c", "d", "e"]) == "a; b; c; so were 2 files more"
    assert rollback.note([]) == ""

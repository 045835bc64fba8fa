"""Files are taken back to how they were at a checkpoint, all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kcms.node import rollback


def row(path: Path, use: str = "written") -> dict[str, Any]:
    found = rollback.look(str(path))
    assert found is not None
    return {"path": str(path), "use": use, **found._asdict()}


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
        "lost": "",
        "notes": [f"{file} was cut from 12 to 5 bytes, as at the checkpoint"],
    }
    assert file.read_text() == "hello"


def test_a_stale_answer_to_stat_is_not_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = file.stat()
    file.write_text("hello, world")
    monkeypatch.setattr(rollback.os, "stat", lambda *_, **__: stale)
    assert row(file)["size"] == 12


def test_nothing_is_said_of_a_file_that_is_as_it_was(file: Path) -> None:
    told = rollback.answer({"back": [row(file)]})
    assert told == {"problem": "", "lost": "", "notes": []}


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


def replaced(file: Path, content: str) -> None:
    """Another file takes its name, as when a log is rotated."""
    file.rename(file.with_suffix(".old"))
    file.write_text(content)


@pytest.mark.parametrize(("use", "now"), [("written", "later words"), ("read", "later")])
def test_another_file_of_that_name_is_never_cut(file: Path, use: str, now: str) -> None:
    then = row(file, use)
    replaced(file, now)
    told = rollback.answer({"back": [then]})
    assert told["problem"] == f"{file} is another file than at the checkpoint"
    assert told["lost"] == str(file)
    assert file.read_text() == now


def test_nor_is_one_that_was_closed(file: Path) -> None:
    then = row(file, "closed")
    replaced(file, "later words")
    told = rollback.answer({"back": [then]})
    assert told["notes"] == [f"{file} is another file than at the checkpoint"]
    assert file.read_text() == "later words"


def test_a_copy_is_as_good_as_the_file(file: Path) -> None:
    """Some file servers give a file another inode on each node."""
    then = row(file)
    replaced(file, "hello, world")
    assert "was cut from 12 to 5" in rollback.answer({"back": [then]})["notes"][0]
    assert file.read_text() == "hello"


def test_another_file_that_cannot_be_compared_is_another_one(file: Path) -> None:
    then = row(file) | {"end": rollback.UNKNOWN}
    replaced(file, "hello, world")
    assert "another file" in rollback.answer({"back": [then]})["problem"]


def test_the_end_is_compared_where_the_file_was_long(file: Path) -> None:
    file.write_bytes(b"x" * 10_000)
    then = row(file)
    with file.open("ab") as more:
        more.write(b"y")
    assert rollback.answer({"back": [then]})["notes"] == [
        f"{file} was cut from 10001 to 10000 bytes, as at the checkpoint"
    ]
    file.write_bytes(b"x" * 9_999 + b"zz")
    notes = rollback.answer({"back": [then]})["notes"]
    assert [each.split()[-1] for each in notes] == ["checkpoint", "checkpoint"]
    assert "changed within its length" in notes[1]


def test_what_cannot_be_looked_at_is_nobody_s_loss(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = row(file)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    for name in ("open", "stat"):
        monkeypatch.setattr(rollback.os, name, refuse)
    told = rollback.answer({"back": [then]})
    assert told["lost"] == ""
    assert told["problem"].endswith("at the checkpoint: Permission denied")


def test_no_link_is_followed(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    then = row(file) | {"path": str(link), "size": 1}
    link.symlink_to(file)
    assert "no longer there" in rollback.answer({"back": [then]})["problem"]
    assert file.read_text() == "hello"


def test_many_notes_are_one_line() -> None:
    assert rollback.note(["a", "b", "c", "d", "e"]) == "a; b; c; so were 2 files more"
    assert rollback.note([]) == ""

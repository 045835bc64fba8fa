"""A staged file on its way: parts, locks, links, and what may lie in their place."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from kcms.errors import InvalidRequest
from kcms.stage import here, part, walk
from kcms.stage.part import Part, Place, clear, part_name
from kcms.via.staging import Local

CONTENT = b"#!/bin/sh\necho hello\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "prog.sh"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


def stage(home: Path) -> Path:
    return home / ".kcms/stage"


def place(home: Path) -> Place:
    return Place.below(str(home), NAME, DIGEST, len(CONTENT))


def made(home: Path) -> Path:
    return stage(home) / DIGEST[:32] / NAME


def soon() -> float:
    return time.monotonic() + 0.3


def test_a_part_gets_its_name_when_it_is_whole_and_is_private_until_then(home: Path) -> None:
    with place(home) as where:
        assert not where.is_there(executable=True)
        with Part(where, soon()) as one:
            one.write(CONTENT[:5], 0)
            assert not one.is_right()
            half = stage(home) / part_name(DIGEST)
            assert half.stat().st_mode & 0o777 == 0o600
            one.write(CONTENT[5:], 5)
            assert one.is_right()
            one.finish(0o755)
        assert where.is_there(executable=True)
    assert made(home).read_bytes() == CONTENT
    assert made(home).stat().st_mode & 0o777 == 0o755
    assert not half.exists()
    for each in (home / ".kcms", stage(home), made(home).parent):
        assert each.stat().st_mode & 0o777 == 0o700


def test_only_one_makes_a_part_and_who_waits_finds_the_file(home: Path) -> None:
    with place(home) as where, Part(where, soon()) as one:
        with pytest.raises(TimeoutError):
            Part(where, soon())
        one.write(CONTENT, 0)
        one.finish(0o644)
        with Part(where, soon()) as other:  # the lock is of the file that has its name now
            assert where.is_there(executable=False)
            assert other.begin() == 0


def test_who_waits_does_not_take_the_mode_of_a_file_that_is_about_to_get_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place(home) as where:

        def another_waits(file: int) -> None:
            with pytest.raises(TimeoutError):
                Part(where, soon())

        with Part(where, soon()) as one:
            one.write(CONTENT, 0)
            monkeypatch.setattr(os, "fsync", another_waits)
            one.finish(0o755)
    assert made(home).stat().st_mode & 0o777 == 0o755


def test_who_waited_does_not_take_the_file_itself_for_its_part(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = part._lock

    def late(file: int) -> bool:
        monkeypatch.setattr(part, "_lock", lock)
        (stage(home) / part_name(DIGEST)).rename(made(home))
        return lock(file)

    with place(home) as where:
        monkeypatch.setattr(part, "_lock", late)
        with Part(where, soon()) as one:
            one.write(b"spoiled", 0)
    assert made(home).read_bytes() == b""


def test_what_there_is_of_a_part_is_gone_on_with_but_not_with_too_much(home: Path) -> None:
    with place(home) as where:
        with Part(where, soon()) as one:
            one.write(CONTENT[:7], 0)
        with Part(where, soon()) as one:
            assert one.begin() == 7
            one.write(b"x" * 100, 0)
            assert one.begin() == 0


@pytest.mark.parametrize("kind", ["link", "hard link", "directory's link"])
def test_a_part_that_is_another_file_is_not_written_through(home: Path, kind: str) -> None:
    other = home / "precious"
    other.write_text("precious")
    with place(home) as where:
        half = stage(home) / part_name(DIGEST)
        if kind == "link":
            half.symlink_to(other)
        elif kind == "hard link":
            half.hardlink_to(other)
        else:
            half.symlink_to(home)
        with Part(where, soon()) as one:
            one.write(CONTENT, 0)
            one.finish(0o600)
    assert other.read_text() == "precious"
    assert made(home).read_bytes() == CONTENT


@pytest.mark.parametrize("step", [".kcms", ".kcms/stage", f".kcms/stage/{DIGEST[:32]}"])
def test_no_link_is_followed_to_the_stage(home: Path, tmp_path: Path, step: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (home / step).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / step).symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        place(home)
    assert list(elsewhere.iterdir()) == []


def test_a_stage_that_others_may_write_to_is_not_used(home: Path) -> None:
    stage(home).mkdir(parents=True)
    stage(home).chmod(0o770)
    with pytest.raises(walk.WalkError, match="others may write to"):
        place(home)
    if os.getuid() == 0:
        stage(home).chmod(0o700)
        os.chown(stage(home), 1, 1)
        with pytest.raises(walk.WalkError, match="belongs to user id 1"):
            place(home)


def test_a_file_of_another_content_or_kind_is_not_there(home: Path) -> None:
    with place(home) as where:
        made(home).write_bytes(CONTENT[::-1])
        assert not where.is_there(executable=False)
        made(home).unlink()
        made(home).symlink_to("/bin/sh")
        assert not where.is_there(executable=False)
        made(home).unlink()
        made(home).write_bytes(CONTENT)
        made(home).chmod(0o600)
        assert where.is_there(executable=True)
    assert made(home).stat().st_mode & 0o777 == 0o700


def test_what_broken_transfers_left_goes_after_a_week(home: Path) -> None:
    with place(home) as where:
        old, new, other = (stage(home) / each for each in (part_name("a" * 64), "x", "y.part"))
        for each in (old, new, other, stage(home) / part_name("b" * 64)):
            each.write_text("")
        os.utime(old, (1, 1))
        os.utime(other, (1, 1))
        clear(where.stage, time.time())
    assert not old.exists()
    assert (stage(home) / part_name("b" * 64)).exists()
    assert other.exists()


def test_a_full_disk_is_said_before_a_byte_is_written(home: Path) -> None:
    with place(home) as where:
        where.size = 1 << 60
        with Part(where, soon()) as one, pytest.raises(OSError, match="No space left"):
            one.check_room()


def test_a_snapshot_is_the_file_as_it_was_when_it_was_looked_at(home: Path, tmp_path: Path) -> None:
    source = tmp_path / NAME
    source.write_bytes(CONTENT)
    local = Local("executable", str(source), len(CONTENT), 0o750, DIGEST)
    with place(home) as where:
        assert here.snapshot(local, where)
        assert not here.snapshot(local, where)
        assert made(home).stat().st_mode & 0o777 == 0o750
        made(home).unlink()
        source.write_bytes(CONTENT[::-1])
        with pytest.raises(InvalidRequest, match="changed while it was read"):
            here.snapshot(local, where)
    assert [each.name for each in stage(home).iterdir()] == [DIGEST[:32]]

"""Where an image lies: in memory while there is plenty of it, else on the disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kcms.node import image, inmemory, room

SIZE = 1 << 20


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A move's record, on a host with room for an image in memory and no more."""
    monkeypatch.setattr(inmemory, "PLACE", tmp_path / "run")
    monkeypatch.setattr(room, "available_kib", lambda: inmemory.SHARE * SIZE // 1024)
    monkeypatch.setattr(room, "free_kib", lambda _: inmemory.SPARE * SIZE // 1024)
    (tmp_path / "7.0.1").mkdir()
    return tmp_path / "7.0.1"


def test_it_lies_in_memory_and_is_removed_from_there(record: Path) -> None:
    inmemory.make(record / "image", SIZE)
    (record / "image/pages-1.img").write_text("x")
    (place,) = inmemory.PLACE.iterdir()
    assert [each.name for each in place.iterdir()] == ["pages-1.img"]
    assert (
        stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(inmemory.PLACE.stat().st_mode) == 0o700
    )
    inmemory.remove(record / "image")
    assert (list(record.iterdir()), list(inmemory.PLACE.iterdir())) == ([], [])


@pytest.mark.parametrize("lacking", ["available_kib", "free_kib"])
def test_one_that_would_take_too_much_lies_on_the_disk(
    record: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    less = getattr(room, lacking)("") if lacking == "free_kib" else room.available_kib()
    monkeypatch.setattr(room, lacking, lambda *_: less - 1)
    inmemory.make(record / "image", SIZE)
    assert not (record / "image").is_symlink()
    assert list(inmemory.PLACE.iterdir()) == []
    inmemory.remove(record / "image")
    assert list(record.iterdir()) == []


def test_what_others_were_promised_is_not_promised_again(record: Path, tmp_path: Path) -> None:
    (tmp_path / "8.0.1").mkdir()
    inmemory.make(record / "image", SIZE)
    inmemory.make(tmp_path / "8.0.1/image", 1)
    assert not (tmp_path / "8.0.1/image").is_symlink()
    inmemory.remove(record / "image")
    inmemory.remove(tmp_path / "8.0.1/image")
    inmemory.make(tmp_path / "8.0.1/image", SIZE)
    assert (tmp_path / "8.0.1/image").is_symlink()


def test_a_link_that_leads_nowhere_after_a_restart_is_removed(record: Path) -> None:
    inmemory.make(record / "image", SIZE)
    (record / "image").readlink().rmdir()
    for _ in range(2):
        inmemory.remove(record / "image")
        assert list(record.iterdir()) == []


def test_a_link_to_elsewhere_is_removed_alone(record: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (record / "image").symlink_to(tmp_path / "kept")
    inmemory.remove(record / "image")
    assert (tmp_path / "kept").exists()


def test_an_image_that_proves_wrong_is_gone_from_memory(record: Path) -> None:
    with pytest.raises(image.ImageError):
        image.receive(iter([b"x"]), record / "image", image.Digest(1, "00"))
    assert (list(record.iterdir()), list(inmemory.PLACE.iterdir())) == ([], [])

"""The owner's hands on the shared directory, and root's patience with them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kcms.node import carrier, carry
from kcms.node.owner import Ids

US = Ids(os.geteuid(), os.getegid())
NAME = "7.1-5e1f0a2b-00.image"


def image(home: Path) -> Path:
    return home / ".kcms" / NAME


@pytest.fixture
def put(tmp_path: Path) -> Path:
    """A home with an image in it."""
    carry.Carrier(US).put(str(image(tmp_path)), iter([b"abc", b"", b"def"]))
    return tmp_path


def test_what_was_put_is_got_and_removed_with_its_directory(put: Path) -> None:
    ours = carry.Carrier(US)
    assert (image(put).stat().st_mode & 0o777, b"".join(ours.get(str(image(put))))) == (
        0o600,
        b"abcdef",
    )
    for _ in range(2):
        ours.remove(str(image(put)))
        assert list(put.iterdir()) == []


def test_another_s_image_stays_with_the_directory(put: Path) -> None:
    other = image(put).with_name("8.1-5e1f0a2b-00.image")
    other.write_text("x")
    carry.Carrier(US).remove(str(image(put)))
    assert list((put / ".kcms").iterdir()) == [other]


def test_nothing_is_written_over_or_through_a_link(put: Path) -> None:
    with pytest.raises(carry.CarryError, match="File exists"):
        carry.Carrier(US).put(str(image(put)), iter([b"x"]))
    image(put).rename(put / "kept")
    image(put).symlink_to(put / "kept")
    with pytest.raises(carry.CarryError, match="symbolic links"):
        list(carry.Carrier(US).get(str(image(put))))
    assert (put / "kept").read_bytes() == b"abcdef"


def test_a_fifo_in_the_image_s_place_is_refused_at_once(put: Path) -> None:
    image(put).unlink()
    os.mkfifo(image(put))
    with pytest.raises(carry.CarryError, match="no regular file"):
        list(carry.Carrier(US).get(str(image(put))))


@pytest.mark.parametrize("way", ["link", "file", "directory"])
def test_what_the_owner_put_in_the_way_ends_the_tidying(put: Path, way: str) -> None:
    if way == "directory":
        image(put).unlink()
        image(put).mkdir()
    else:
        (put / ".kcms").rename(put / "kept")
        place = put / ".kcms"
        place.symlink_to(put / "kept") if way == "link" else place.write_text("x")
    carry.Carrier(US).remove(str(image(put)))
    assert (put / ".kcms").exists()


def test_what_was_started_beforehand_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = carry.Carrier(US)
    ours.prepare("put", str(image(tmp_path)))
    ours.prepare("sync")
    unused = ours._ready[("sync",)]
    monkeypatch.setattr(carry, "PYTHON", "/nowhere/python")
    ours.put(str(image(tmp_path)), iter([b"abc"]))
    assert image(tmp_path).read_bytes() == b"abc"
    with pytest.raises(carry.CarryError, match="No such file"):
        ours.put(str(image(tmp_path)), iter([b"abc"]))
    ours.dismiss()
    assert unused.returncode == -9


def test_a_trouble_of_the_server_is_tried_again(
    put: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("os.unlink", broken)
    monkeypatch.setattr("os.umask", lambda _: 0o022)  # which is this process's own
    assert carrier.main(["remove", str(image(put))]) == 1
    assert capsys.readouterr().err == "Stale file handle\n"


def test_a_child_that_goes_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may stop or trace it: its output is closed, its errors stay open."""
    started: list[subprocess.Popen[bytes]] = []

    def silent(*_: object) -> subprocess.Popen[bytes]:
        pipe: Any = subprocess.PIPE
        command = ["/bin/sh", "-c", "exec sleep 60 >&-"]
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0))
        return started[0]

    monkeypatch.setattr(carry, "SECONDS", 0.3)
    monkeypatch.setattr(carry.Carrier, "_start", silent)
    with pytest.raises(carry.CarryError, match="does not answer"):
        list(carry.Carrier(US).get("/x/.kcms/y"))
    assert started[0].wait(5) == -9

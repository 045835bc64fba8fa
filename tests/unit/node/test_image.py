"""An image on its way: packed, carried by the owner, verified, unpacked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcms.node import image, inmemory
from kcms.node.carry import Carrier, CarryError
from kcms.node.image import Counting, Digest, ImageError
from kcms.node.owner import Ids

ME = Ids(os.geteuid(), os.getegid())


@pytest.fixture(autouse=True)
def on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inmemory, "PLACE", tmp_path / "no/such")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "core-2.img").write_bytes(b"x" * 3000)
    (directory / "pages-1.img").write_bytes(os.urandom(2 * image.CHUNK + 17))
    (directory / "empty.img").write_bytes(b"")
    (directory / "dump.log").write_text("left behind")
    return directory


def packed(source: Path) -> tuple[bytes, Digest]:
    counting = Counting()
    data = b"".join(counting.add(each) for each in image.pack(source, ("dump.log",)))
    return data, counting.digest


def test_what_is_packed_comes_out_again(source: Path, tmp_path: Path) -> None:
    data, digest = packed(source)
    image.receive(iter([data[:10], data[10:]]), tmp_path / "out", digest)
    there = {each.name: each.read_bytes() for each in (tmp_path / "out").iterdir()}
    assert there == {
        each.name: each.read_bytes() for each in source.iterdir() if each.name != "dump.log"
    }
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "out").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


@pytest.mark.parametrize("size", [1, 7, 4096, image.CHUNK + 1])
def test_it_comes_in_chunks_of_any_size(source: Path, tmp_path: Path, size: int) -> None:
    (source / "pages-1.img").write_bytes(os.urandom(50_000))
    data, digest = packed(source)
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    image.receive(chunks, tmp_path / "out", digest)
    pages = (tmp_path / "out/pages-1.img").read_bytes()
    assert pages == (source / "pages-1.img").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "less than"),
        (lambda data: data + b"x", "more than"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "not the one"),
    ],
)
def test_any_other_bytes_are_refused(source: Path, tmp_path: Path, change, says) -> None:
    data, digest = packed(source)
    with pytest.raises(ImageError, match=says):
        image.receive(iter([change(data)]), tmp_path / "out", digest)
    assert not (tmp_path / "out").exists()


def test_no_more_is_taken_than_the_source_packed(source: Path, tmp_path: Path) -> None:
    data, digest = packed(source)
    taken = []

    def endless() -> Iterator[bytes]:
        yield data
        while len(taken) < 100:
            taken.append(1)
            yield b"x" * 1000

    with pytest.raises(ImageError, match="more than"):
        image.receive(endless(), tmp_path / "out", digest)
    assert len(taken) == 1


def test_what_is_wrong_within_an_image_of_somebody_else_is_not_told(
    source: Path, tmp_path: Path
) -> None:
    data, digest = packed(source)
    forged = image.MAGIC + b"[" * 100_000
    with pytest.raises(ImageError, match="not the one that was written there"):
        image.receive(iter([forged.ljust(len(data), b"x")]), tmp_path / "out", digest)


def received(data: bytes, directory: Path) -> None:
    """As an image that the source packed so."""
    counting = Counting()
    counting.add(data)
    image.receive(iter([data]), directory, counting.digest)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".hidden", "a\\u0000b", "x" * 200])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    row = f'[["{name}", 1]]\n'.encode()
    with pytest.raises(ImageError, match="name"):
        received(image.MAGIC + row + b"x", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", [b"", b"[1]\n", b'[["a", -1]]\n', b'[["a", true]]\n', b'[["a", 9]]\nshort', b"[]\nmore"]
)
def test_damage_is_an_error_and_no_traceback(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ImageError):
        received(image.MAGIC + text, tmp_path / "out")


# the owner's hands -------------------------------------------------------------------------------


def test_the_owner_carries_and_clears_away(tmp_path: Path) -> None:
    carrier, data = Carrier(ME), [os.urandom(image.CHUNK) for _ in range(3)]
    path = tmp_path / ".kcms" / "7.1-x.image"
    carrier.make_place(str(tmp_path))
    carrier.put(str(path), iter(data))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"".join(carrier.get(str(path))) == b"".join(data)
    carrier.remove(str(path))
    assert list(tmp_path.iterdir()) == []
    carrier.remove(str(path))  # again is no error


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / ".kcms").mkdir()
    (tmp_path / ".kcms" / "a.image").write_text("mine")
    with pytest.raises(CarryError, match="File exists"):
        Carrier(ME).put(str(tmp_path / ".kcms/a.image"), [b"x"])
    assert (tmp_path / ".kcms" / "a.image").read_text() == "mine"


@pytest.mark.parametrize("link", [".kcms", ".kcms/a.image"])
def test_no_link_is_followed(tmp_path: Path, link: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.image").write_text("secret")
    place = tmp_path / "home"
    place.mkdir()
    if link == ".kcms":
        (place / ".kcms").symlink_to(other)
    else:
        (place / ".kcms").mkdir()
        (place / link).symlink_to(other / "a.image")
    with pytest.raises(CarryError):
        list(Carrier(ME).get(str(place / ".kcms/a.image")))


@pytest.mark.parametrize("path", ["/etc/passwd", "relative/.kcms/x", "/tmp/.kcms/"])
def test_only_images_are_carried(path: str) -> None:
    with pytest.raises(CarryError, match="no image's name"):
        list(Carrier(ME).get(path))


def test_a_fifo_is_no_image(tmp_path: Path) -> None:
    (tmp_path / ".kcms").mkdir()
    os.mkfifo(tmp_path / ".kcms" / "a.image")
    with pytest.raises(CarryError, match="no regular file"):
        list(Carrier(ME).get(str(tmp_path / ".kcms/a.image")))


def test_whoever_watches_can_end_it(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Carrier(ME, stop).put(str(tmp_path / ".kcms/a.image"), [b"x" * image.CHUNK] * 8)

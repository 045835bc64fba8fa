"""Transfers to a head that is a directory of this machine, and what breaks on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.errors import InvalidRequest, NotFound
from kcms.via import transfer
from kcms.via.errors import ViaError
from kcms.via.staging import STALE_SECONDS, Local, Place, part_name, place

OTHER = os.getuid() + 1
MODES = {"rb": "rb", "r+b": "r+b", "wx": "xb"}
"""As paramiko names them, and Python; there is none that follows a link to make a file."""

CONTENT = bytes(range(256)) * 4096  # 8 blocks


class File:
    """A file as paramiko opens it; breaks off after ``most`` bytes."""

    def __init__(self, path: Path, mode: str, head: Disk) -> None:
        self._file = path.open(MODES[mode])
        self._path = path
        self._head = head
        head.opened.append(self)

    def seek(self, offset: int) -> None:
        self._file.seek(offset)
        self._head.begun.append(offset)

    def set_pipelined(self, _: bool) -> None:
        pass

    def prefetch(self, _: int) -> None:
        pass

    def chmod(self, mode: int) -> None:
        self._path.chmod(mode)

    def write(self, data: bytes) -> None:
        self._head.count(len(data))
        self._file.write(self._head.damaged(data))

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._head.count(len(data))
        return self._head.damaged(data)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Disk:
    """A head whose files are those of this machine."""

    name = "head"

    def __init__(self) -> None:
        self.files = self
        self.opened: list[File] = []
        self.begun: list[int] = []
        self.left: int | None = None  # bytes until the way breaks
        self.damages = 0  # blocks that arrive damaged
        self.closed = False
        self.others: set[str] = set()  # paths of somebody else's files

    def count(self, size: int) -> None:
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise EOFError("the way is broken")

    def damaged(self, data: bytes) -> bytes:
        if self.damages == 0 or not data:
            return data
        self.damages -= 1
        return bytes(len(data))

    def open(self, path: str, mode: str) -> File:
        return File(Path(path), mode, self)

    def stat(self, path: str) -> Any:
        found = Path(path).stat() if path != "." else SimpleNamespace(st_uid=os.getuid())
        if path not in self.others:
            return found
        return SimpleNamespace(st_mode=found.st_mode, st_size=found.st_size, st_uid=OTHER)

    def lstat(self, path: str) -> Any:
        found = Path(path).lstat()
        if path not in self.others:
            return found
        return SimpleNamespace(st_mode=found.st_mode, st_size=found.st_size, st_uid=OTHER)

    def mkdir(self, path: str, mode: int) -> None:
        Path(path).mkdir(mode)

    def chmod(self, path: str, mode: int) -> None:
        Path(path).chmod(mode)

    def remove(self, path: str) -> None:
        Path(path).unlink()

    def posix_rename(self, path: str, to: str) -> None:
        Path(path).rename(to)

    def listdir_attr(self, path: str) -> list[Any]:
        found = Path(path).iterdir()
        return [SimpleNamespace(filename=e.name, st_mtime=e.stat().st_mtime) for e in found]

    def digest(self, path: str, size: int) -> str:
        return hashlib.sha256(Path(path).read_bytes()[:size]).hexdigest()

    def close(self) -> None:
        self.closed = True
        for each in self.opened:
            each.close()

    @contextlib.contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except EOFError as error:
            raise ViaError(f"cannot {doing}: {error}") from error


@pytest.fixture
def head() -> Iterator[Disk]:
    mask = os.umask(0o022)
    yield Disk()
    os.umask(mask)


@pytest.fixture
def local(tmp_path: Path) -> Local:
    path = tmp_path / "prog"
    path.write_bytes(CONTENT)
    path.chmod(0o750)
    return transfer.look("executable", str(path))


@pytest.fixture
def goes(local: Local, tmp_path: Path) -> Place:
    return place(local, f"{tmp_path}/home/stage", by_content=True)


def test_a_file_arrives_whole_with_its_mode(head: Disk, local: Local, goes: Place) -> None:
    assert transfer.put(head, local, goes) is True
    assert Path(goes.path).read_bytes() == CONTENT
    assert Path(goes.path).stat().st_mode & 0o777 == 0o750
    assert not Path(goes.part).exists()
    assert Path(goes.path).parent.parent.stat().st_mode & 0o777 == 0o700


def test_it_is_sent_once(head: Disk, local: Local, goes: Place) -> None:
    transfer.put(head, local, goes)
    Path(goes.path).chmod(0o600)
    assert transfer.put(head, local, goes) is False
    assert len(head.opened) == 1
    assert Path(goes.path).stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("there", [b"", b"x" * len(CONTENT), CONTENT + b"x"])
def test_another_content_there_is_replaced(
    head: Disk, local: Local, goes: Place, there: bytes
) -> None:
    Path(goes.path).parent.mkdir(parents=True)
    Path(goes.path).write_bytes(there)
    assert transfer.put(head, local, goes) is True
    assert Path(goes.path).read_bytes() == CONTENT


def test_a_broken_transfer_leaves_no_file_and_goes_on(
    head: Disk, local: Local, goes: Place
) -> None:
    head.left = transfer.BLOCK * 3
    with pytest.raises(ViaError, match="the way is broken"):
        transfer.put(head, local, goes)
    assert head.closed  # a request may be half sent
    assert not Path(goes.path).exists()
    assert Path(goes.part).stat().st_mode & 0o777 == 0o600
    head.left = None
    transfer.put(head, local, goes)
    assert head.begun == [0, transfer.BLOCK * 3]
    assert Path(goes.path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"y" * 5000, CONTENT + b"more"])
def test_a_part_that_is_not_ours_is_begun_anew(
    head: Disk, local: Local, goes: Place, part: bytes
) -> None:
    Path(goes.part).parent.mkdir(parents=True)
    Path(goes.part).write_bytes(part)
    transfer.put(head, local, goes)
    assert head.begun[-1] == 0
    assert Path(goes.path).read_bytes() == CONTENT


def test_what_arrives_damaged_is_not_named(head: Disk, local: Local, goes: Place) -> None:
    head.damages = 1
    with pytest.raises(ViaError, match="did not arrive as it was"):
        transfer.put(head, local, goes)
    assert not Path(goes.path).exists()
    assert not Path(goes.part).exists()


def test_an_empty_file_is_staged(head: Disk, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    local = transfer.look("input", str(path))
    goes = place(local, f"{tmp_path}/s", by_content=False)
    assert transfer.put(head, local, goes) is True
    assert Path(goes.path).read_bytes() == b""


@pytest.mark.parametrize(
    ("make", "field", "said"),
    [
        (lambda path: path.mkdir(), "input", "is a directory"),
        (lambda path: None, "input", r"cannot be read on this machine: No such file.*a : before"),
        (lambda path: path.touch(0o644), "executable", "may not be executed: chmod"),
        (lambda path: path.symlink_to("/dev/null"), "input", "is no regular file"),
        (lambda path: os.mkfifo(path), "input", "is no regular file"),
    ],
)
def test_what_cannot_be_staged_is_one_line(
    tmp_path: Path, make: Any, field: str, said: str
) -> None:
    path = tmp_path / "x"
    make(path)
    with pytest.raises(InvalidRequest, match=said):
        transfer.look(field, str(path))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "kcms-1.out"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "here"
    path.mkdir()
    return path


def test_a_file_is_fetched_once(head: Disk, output: Path, here: Path) -> None:
    assert transfer.get(head, str(output), here) == (here / "kcms-1.out", True)
    assert (here / "kcms-1.out").read_bytes() == CONTENT
    assert (here / "kcms-1.out").stat().st_mode & 0o777 == 0o640
    assert transfer.get(head, str(output), here) == (here / "kcms-1.out", False)
    assert [each.name for each in here.iterdir()] == ["kcms-1.out"]


def test_a_broken_fetch_goes_on(head: Disk, output: Path, here: Path) -> None:
    head.left = transfer.BLOCK * 3
    with pytest.raises(ViaError, match="the way is broken"):
        transfer.get(head, str(output), here)
    (part,) = here.iterdir()
    assert part.name == part_name(hashlib.sha256(CONTENT).hexdigest())
    assert part.stat().st_mode & 0o777 == 0o600
    head.left = None
    transfer.get(head, str(output), here)
    assert head.begun == [0, transfer.BLOCK * 3]
    assert (here / "kcms-1.out").read_bytes() == CONTENT


def test_a_part_here_that_is_not_its_beginning_is_begun_anew(
    head: Disk, output: Path, here: Path
) -> None:
    (here / part_name(hashlib.sha256(CONTENT).hexdigest())).write_bytes(b"z" * 77)
    transfer.get(head, str(output), here)
    assert head.begun == [77, 0]
    assert (here / "kcms-1.out").read_bytes() == CONTENT


def test_what_is_fetched_damaged_takes_the_place_of_nothing(
    head: Disk, output: Path, here: Path
) -> None:
    (here / "kcms-1.out").write_text("mine")
    head.damages = 1
    with pytest.raises(ViaError, match="did not arrive as it is on head"):
        transfer.get(head, str(output), here, force=True)
    assert [(each.name, each.read_text()) for each in here.iterdir()] == [("kcms-1.out", "mine")]


def test_what_is_not_there_or_no_file_is_one_line(head: Disk, here: Path) -> None:
    with pytest.raises(NotFound, match="no file /nonexistent on head"):
        transfer.get(head, "/nonexistent", here)
    with pytest.raises(InvalidRequest, match="no regular file"):
        transfer.get(head, str(here), here)


def test_old_leftovers_are_cleared(head: Disk, tmp_path: Path) -> None:
    left = tmp_path / part_name("ab" * 32)
    for name in (left.name, "keep"):
        (tmp_path / name).touch()
    transfer.clear(head, str(tmp_path), lambda: left.stat().st_mtime + 10)
    assert left.exists()
    transfer.clear(head, str(tmp_path), lambda: left.stat().st_mtime + STALE_SECONDS + 10)
    assert [each.name for each in tmp_path.iterdir()] == ["keep"]
    transfer.clear(head, "/nonexistent")


@pytest.mark.parametrize("by_content", [True, False])
def test_a_part_that_somebody_made_a_link_harms_no_file(
    head: Disk, local: Local, tmp_path: Path, by_content: bool
) -> None:
    goes = place(local, f"{tmp_path}/stage", by_content)
    (tmp_path / "stage").mkdir(0o700)
    precious = tmp_path / ".bashrc"
    precious.write_text("precious")
    Path(goes.part).symlink_to(precious)
    assert transfer.put(head, local, goes) is True
    assert precious.read_text() == "precious"
    assert Path(goes.path).read_bytes() == CONTENT


def test_a_file_that_is_a_link_is_replaced_and_not_followed(
    head: Disk, local: Local, goes: Place, tmp_path: Path
) -> None:
    Path(goes.path).parent.mkdir(parents=True)
    (tmp_path / "same").write_bytes(CONTENT)
    (tmp_path / "same").chmod(0o600)
    Path(goes.path).symlink_to(tmp_path / "same")
    assert transfer.put(head, local, goes) is True
    assert not Path(goes.path).is_symlink()
    assert (tmp_path / "same").stat().st_mode & 0o777 == 0o600


def test_a_part_of_somebody_else_is_not_gone_on_with(head: Disk, local: Local, goes: Place) -> None:
    Path(goes.part).parent.mkdir(parents=True)
    Path(goes.part).write_bytes(CONTENT[: transfer.BLOCK])
    head.others.add(goes.part)
    before = Path(goes.part).stat().st_ino
    keep = os.open(goes.part, os.O_RDONLY)  # as they would, to read what comes
    transfer.put(head, local, goes)
    assert head.begun[0] == 0
    assert os.fstat(keep).st_nlink == 0
    assert Path(goes.path).stat().st_ino != before
    os.close(keep)


def test_a_part_is_private_before_more_is_sent(head: Disk, local: Local, goes: Place) -> None:
    Path(goes.part).parent.mkdir(parents=True)
    Path(goes.part).write_bytes(CONTENT[: transfer.BLOCK])
    Path(goes.part).chmod(0o666)
    head.left = 0
    with pytest.raises(ViaError):
        transfer.put(head, local, goes)
    assert Path(goes.part).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_nothing_is_staged_where_others_may_write(
    head: Disk, local: Local, tmp_path: Path, mode: int
) -> None:
    stage = tmp_path / "project"
    stage.mkdir()
    stage.chmod(mode)
    with pytest.raises(ViaError, match=r"others may write to .* on head \(mode 0.*chmod go-w"):
        transfer.put(head, local, place(local, str(stage), by_content=False))
    assert list(stage.iterdir()) == []


def test_nothing_is_staged_in_a_directory_of_somebody_else_or_behind_a_link(
    head: Disk, local: Local, tmp_path: Path
) -> None:
    stage = tmp_path / "project"
    stage.mkdir(0o755)
    head.others.add(str(stage))
    with pytest.raises(ViaError, match=rf"belongs to user id {OTHER}, and yours is .*--stage-to"):
        transfer.put(head, local, place(local, str(stage), by_content=False))
    (tmp_path / "link").symlink_to(stage)
    with pytest.raises(ViaError, match="is a link: name the directory"):
        transfer.put(head, local, place(local, f"{tmp_path}/link", by_content=False))
    assert list(stage.iterdir()) == []


def test_a_file_here_that_differs_is_replaced_by_force_alone(
    head: Disk, output: Path, here: Path
) -> None:
    (here / "kcms-1.out").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"kcms-1\.out is there already and differs.*--force"):
        transfer.get(head, str(output), here)
    assert [each.read_text() for each in here.iterdir()] == ["mine"]
    assert transfer.get(head, str(output), here, force=True) == (here / "kcms-1.out", True)
    assert (here / "kcms-1.out").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [0, 4711])
def test_what_a_job_had_written_before_is_replaced(
    head: Disk, output: Path, here: Path, size: int
) -> None:
    (here / "kcms-1.out").write_bytes(CONTENT[:size])
    assert transfer.get(head, str(output), here)[1] is True
    assert (here / "kcms-1.out").read_bytes() == CONTENT


def test_a_link_here_is_not_written_through(head: Disk, output: Path, here: Path) -> None:
    precious = here.parent / "precious"
    precious.write_bytes(b"")
    (here / "kcms-1.out").symlink_to(precious)
    with pytest.raises(InvalidRequest, match="is there already"):
        transfer.get(head, str(output), here)
    (here / "kcms-1.out").unlink()
    for make in ("symlink_to", "hardlink_to"):
        part = here / part_name(hashlib.sha256(CONTENT).hexdigest())
        getattr(part, make)(precious)
        transfer.get(head, str(output), here)
        assert precious.read_bytes() == b""
        assert precious.stat().st_nlink == 1
        assert (here / "kcms-1.out").read_bytes() == CONTENT
        (here / "kcms-1.out").unlink()
        precious.write_bytes(CONTENT[:9])
        getattr(part, make)(precious)
        transfer.get(head, str(output), here)
        assert precious.read_bytes() == CONTENT[:9]
        (here / "kcms-1.out").unlink()
        precious.write_bytes(b"")


@pytest.mark.parametrize(("others", "mode"), [(False, 0o755), (True, 0o644)])
def test_a_file_of_somebody_else_is_none_to_execute_here(
    head: Disk, output: Path, here: Path, others: bool, mode: int
) -> None:
    output.chmod(0o6777)
    head.others |= {str(output)} if others else set()
    transfer.get(head, str(output), here)
    assert (here / "kcms-1.out").stat().st_mode & 0o7777 == mode

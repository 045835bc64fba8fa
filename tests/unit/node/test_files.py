"""Standard files of tasks: what is put in their place is not opened, and not written over."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from kcms.node import files

OTHER = pwd.getpwnam("games")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="files of others need root")


def test_a_file_is_begun_anew_and_read(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("old and long")
    file = files.for_writing(str(place))
    os.write(file, b"new")
    os.close(file)
    assert place.read_text() == "new"
    file = files.for_reading(str(place))
    assert os.get_blocking(file)
    assert os.read(file, 9) == b"new"
    os.close(file)
    os.close(files.for_writing("/dev/null"))
    os.close(files.for_reading("/dev/zero"))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo, place = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as channel:
        channel.bind(str(place))
        for path in (fifo, tmp_path):
            with pytest.raises(OSError, match="neither a file nor a device"):
                files.for_reading(str(path))
        for path in (fifo, place, tmp_path):
            with pytest.raises(OSError, match=r"No such device|Is a directory"):
                files.for_writing(str(path))
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="neither a file nor a device"):
        files.for_writing(str(fifo))
    os.close(reader)


@needs_root
def test_what_another_made_in_a_directory_open_to_all_is_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("bob's")
    place.chmod(0o666)
    os.chown(place, OTHER.pw_uid, OTHER.pw_gid)
    tmp_path.chmod(0o1777)
    link = tmp_path / "link"
    link.symlink_to(place)
    for path in (place, link):
        with pytest.raises(OSError, match="another user made it"):
            files.for_writing(str(path))
    assert place.read_text() == "bob's"
    tmp_path.chmod(0o755)  # who shares a directory of his own with others says whose is what
    os.close(files.for_writing(str(place)))
    assert place.read_text() == ""


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        with pytest.raises(OSError, match="neither"):
            files.for_reading(str(tmp_path / "fifo"))
    assert sorted(Path("/proc/self/fd").iterdir()) == before

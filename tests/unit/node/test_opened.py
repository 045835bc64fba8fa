"""What a restored job holds open must be what its owner can open, and what root can."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kcms.node import child, opened
from kcms.node.owner import Ids

ROOT = os.geteuid() == 0
OWNER = Ids(65534, 65534) if ROOT else Ids(os.geteuid(), os.getegid())
rooted = pytest.mark.skipif(not ROOT, reason="only root holds what the owner cannot open")

MEMORY = """
import mmap, os, sys, time
shared = mmap.mmap(-1, 4096)
memory = os.memfd_create("x")
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the owner can enter and write, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="kcms-opened-"))
    made.chmod(0o755)
    os.chown(made, OWNER.uid, OWNER.gid)
    yield made
    shutil.rmtree(made)


def file(path: Path, uid: int, mode: int = 0o600) -> Path:
    path.write_text("here")
    os.chown(path, uid, -1)
    path.chmod(mode)
    return path


@contextlib.contextmanager
def holder(home: Path, *handles: int) -> Iterator[int]:
    """A process that holds these and memory of its own, and nothing else but the system's."""
    null, command = subprocess.DEVNULL, ("/usr/bin/python3", "-I", "-S", "-c", MEMORY)
    with subprocess.Popen(
        command, cwd=home, stdin=null, stdout=subprocess.PIPE, stderr=null, pass_fds=handles
    ) as process:
        for each in handles:
            os.close(each)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_what_the_owner_can_open_is_allowed(home: Path) -> None:
    own = file(home / "own", OWNER.uid)
    gone = file(home / "gone", OWNER.uid)
    os.mkfifo(home / "fifo", 0o600)
    os.chown(home / "fifo", OWNER.uid, -1)
    handles = [
        os.open(own, os.O_RDWR),
        os.open(own, os.O_WRONLY | os.O_APPEND),
        os.open(gone, os.O_RDWR),
        os.open(home / "fifo", os.O_RDWR),
        os.open(home, os.O_RDONLY),
        os.open("/etc/passwd", os.O_RDONLY),
    ]
    gone.unlink()
    with holder(home, *handles) as pid:
        assert opened.forbidden([pid], OWNER) == ""


def _secret(home: Path) -> tuple[int, str]:
    path = file(home / "secret", 0)
    return os.open(path, os.O_RDONLY), str(path)


def _named_like_one_removed(home: Path) -> tuple[int, str]:
    path = file(home / "secret (deleted)", 0)
    return os.open(path, os.O_WRONLY | os.O_APPEND), str(path)


def _to_be_read_only(home: Path) -> tuple[int, str]:
    path = file(home / "readable", 0, 0o644)
    return os.open(path, os.O_RDWR), str(path)


def _removed(home: Path) -> tuple[int, str]:
    path = file(home / "removed", 0)
    handle = os.open(path, os.O_RDONLY)
    path.unlink()
    return handle, f"{path} (deleted)"


def _fifo(home: Path) -> tuple[int, str]:
    path = home / "fifo"
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR), str(path)


def _directory(home: Path) -> tuple[int, str]:
    path = home / "closed"
    path.mkdir(mode=0o700)
    return os.open(path, os.O_RDONLY), str(path)


def _elsewhere(home: Path) -> tuple[int, str]:
    return os.open("/etc/shadow", os.O_RDONLY), "/etc/shadow"


@rooted
@pytest.mark.parametrize(
    "make",
    [_secret, _named_like_one_removed, _to_be_read_only, _removed, _fifo, _directory, _elsewhere],
)
def test_what_the_owner_could_not_open_is_named(
    home: Path, make: Callable[[Path], tuple[int, str]]
) -> None:
    handle, path = make(home)
    with holder(home, handle) as pid:
        assert opened.forbidden([pid], OWNER) == path


@rooted
def test_another_file_in_its_place_is_named(home: Path) -> None:
    own = file(home / "own", OWNER.uid)
    os.link(own, home / "second")  # so that it still has a name
    handle = os.open(own, os.O_RDWR)
    file(home / "other", OWNER.uid).replace(own)
    with holder(home, handle) as pid:
        assert opened.forbidden([pid], OWNER) == f"{own} (deleted)"


@rooted
def test_where_a_process_stands_counts(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    (closed / "inner").mkdir()
    with holder(closed / "inner") as pid:
        assert opened.forbidden([pid], OWNER) == str(closed / "inner")


@rooted
def test_who_looks_cannot_be_traced_and_overrides_nothing() -> None:
    def rights() -> list[str]:
        opened._become(OWNER)
        lines = Path("/proc/self/status").read_text().splitlines()
        return [line for line in lines if line.startswith(("Uid:", "Gid:", "CapEff:"))]

    uid, gid, capabilities = child.in_child(rights)
    assert uid.split()[1:] == ["0", "0", "0", "65534"]
    assert gid.split()[1:] == ["0", "0", "0", "65534"]
    assert int(capabilities.split()[1], 16) & 0b111 == 0


@rooted
def test_what_a_file_server_closes_is_told_from_what_has_gone(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    file(closed / "x", 0)
    file(home / "y", 0)

    def look() -> list[list[int]]:
        opened._become(OWNER)
        paths = (closed / "x", home / "y", home / "gone", closed)
        return [opened._openable(str(each), os.O_RDONLY) for each in paths]

    assert child.in_child(look) == [[0], [0], [], [0]]


def test_root_s_own_view_is_asked_for_what_processes_hold(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(home, os.open(file(home / "own", OWNER.uid), os.O_RDWR)) as pid:
        assert opened.closed_to_root([pid, 4194303], [str(home), "/nowhere"]) == ""
        seen = opened._openable
        monkeypatch.setattr(
            opened, "_openable", lambda *row: [0] if row[0].endswith("own") else seen(*row)
        )
        assert opened.closed_to_root([pid]) == str(home / "own")


def test_a_child_that_hangs_or_dies_is_one_sentence() -> None:
    with pytest.raises(child.ChildError, match=r"took over 0\.1 s; does the shared directory"):
        child.in_child(lambda: time.sleep(30), 0.1)
    with pytest.raises(child.ChildError, match="gave no answer"):
        child.in_child(lambda: os._exit(1))
    assert child.in_child(lambda: ["x" * 300_000]) == ["x" * 300_000]

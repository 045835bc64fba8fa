"""Parts of a bounded size, of round-robin files that are whole, of nothing else."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import tarfile
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils import host_copies
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError

FILES = {
    "alpha/a1/load_one.rrd": b"1" * 3000,
    "alpha/a1/mem_free.rrd": b"2" * 3000,
    "alpha/__SummaryInfo__/load_one.rrd": b"3" * 3000,
    "alpha.b/b1/load_one.rrd": b"4" * 3000,
    "__SummaryInfo__/load_one.rrd": b"5" * 3000,
    "top.rrd": b"6" * 3000,
}


@pytest.fixture
def rrd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setattr(host_copies, "STATE", str(state))
    for name, content in FILES.items():
        path = state / "rrd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return state / "rrd"


def read(part: host_copies.Packed) -> dict[str, bytes]:
    packed = Path(part.path).read_bytes()
    assert part.size == len(packed)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for info in archive:
            source = archive.extractfile(info)
            assert source is not None
            found[info.name] = source.read()
    assert part.files == len(found)
    return found


@pytest.mark.parametrize("most", [1, 1 << 20])
def test_parts_together_have_every_file_once(rrd: Path, most: int) -> None:
    found: dict[str, bytes] = {}
    after, parts = "", 0
    while after or not parts:
        part = host_copies.pack_rrd(str(rrd), after, os.getuid(), most)
        new = read(part)
        assert not new.keys() & found.keys()
        found |= new
        after = part.after
        parts += 1
        assert parts < 20
    assert found == FILES
    assert (parts == 1) == (most == 1 << 20)


def test_links_second_names_and_what_is_kept_aside_stay_out(rrd: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"of root")
    (rrd / "alpha/a1/link.rrd").symlink_to(secret)
    (rrd / "alpha/a1/second.rrd").hardlink_to(secret)
    (rrd / "alpha/linked").symlink_to(tmp_path)
    (tmp_path / "x.rrd").write_bytes(b"elsewhere")
    (rrd / ".before-X").mkdir()
    (rrd / ".before-X/old.rrd").write_bytes(b"old")
    (rrd / "alpha/a1/notes.txt").write_bytes(b"notes")
    os.mkfifo(rrd / "alpha/a1/pipe.rrd")
    part = host_copies.pack_rrd(str(rrd), "", os.getuid())
    assert read(part) == FILES
    names = ("alpha/linked", "alpha/a1/link.rrd", "alpha/a1/pipe.rrd", "alpha/a1/second.rrd")
    assert part.left_out == tuple(str(rrd / each) for each in names)


def test_what_is_left_out_is_named_however_many_parts_there_are(rrd: Path, tmp_path: Path) -> None:
    (rrd / "alpha/a1/link.rrd").symlink_to(tmp_path)
    (rrd / "other_disk").symlink_to(tmp_path)
    (rrd / "alpha/a1/mem_linked.rrd").symlink_to(tmp_path / "nothing")
    named: list[str] = []
    after, parts = "", 0
    while after or not parts:
        part = host_copies.pack_rrd(str(rrd), after, os.getuid(), 1)
        named += part.left_out
        after, parts = part.after, parts + 1
    names = ("alpha/a1/link.rrd", "alpha/a1/mem_linked.rrd", "other_disk")
    assert set(named) == {str(rrd / each) for each in names}
    assert parts > 3


def test_a_file_is_read_only_while_nobody_writes_it(
    rrd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is that of librrd: fcntl's, for writing, over the whole file."""
    monkeypatch.setattr(host_copies, "LOCK_SECONDS", 0.05)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        handle = os.open(rrd / "top.rrd", os.O_RDWR)
        fcntl.lockf(handle, fcntl.LOCK_EX)
        os.write(tell, b"x")
        signal.pause()
    assert os.read(told, 1) == b"x"
    try:
        with pytest.raises(HostError, match=r"top.rrd was locked by another"):
            host_copies.pack_rrd(str(rrd), "", os.getuid())
        left = [each for each in Path(host_copies.STATE).iterdir() if each.name != "rrd"]
        assert left == []
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert read(host_copies.pack_rrd(str(rrd), "", os.getuid())) == FILES


def test_only_parts_are_dropped(rrd: Path, tmp_path: Path) -> None:
    part = host_copies.pack_rrd(str(rrd), "", os.getuid())
    with pytest.raises(HostError, match="no part of a backup"):
        host_copies.drop(str(tmp_path / "state/rrd/top.rrd"))
    with pytest.raises(HostError, match="no part of a backup"):
        host_copies.drop("/var/lib/kcms/.backup-x/../part")
    assert Path(part.path).exists()


def test_what_is_not_there_is_said_before_anything_is_copied(rrd: Path) -> None:
    with pytest.raises(HostError, match=r"manager of alpha has no job store here .*run site.yml"):
        host_copies.check_there(["alpha"], str(rrd))
    with pytest.raises(HostError, match="no directory /nowhere of round-robin files"):
        host_copies.check_there([], "/nowhere")

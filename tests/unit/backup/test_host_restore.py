"""What a host does with a part of a backup: nothing but the expected, and the old kept aside."""

from __future__ import annotations

import gzip
import io
import os
import pwd
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils import host_restore
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_restore import Restore

STAMP = "20261124T040000Z"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a host has its state; commands are recorded, and settling says what it says."""
    monkeypatch.setattr(host_restore, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(host_restore, "_stop", lambda unit: None)
    said = '{"given_up": 1, "kept": 2, "last_job": 1007}'
    monkeypatch.setattr(host_restore, "_run", lambda *command: said)
    return tmp_path / "state"


def part(path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> str:
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content) if kind == tarfile.REGTYPE else 0, kind
            info.linkname, info.mtime = "/etc/passwd", 1000
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def tree(top: Path) -> dict[str, bytes]:
    return {
        each.relative_to(top).as_posix(): each.read_bytes()
        for each in top.rglob("*")
        if each.is_file()
    }


def test_a_store_takes_its_place_and_the_old_one_is_kept(state: Path, tmp_path: Path) -> None:
    old = state / "manager-alpha"
    old.mkdir(parents=True)
    (old / "jobs.sqlite").write_bytes(b"old")
    files = {"jobs.sqlite": b"new", "passwords.json": b"{}", "hosts.json": b"{}"}
    new = part(tmp_path / "part", files)
    restore = Restore(STAMP, replace=True)
    assert restore.unpack_store("alpha", new) == 3
    assert (old / "jobs.sqlite").read_bytes() == b"old"
    assert restore.place_store("alpha", 1.0, False, 1000)["last_job"] == 1007
    assert tree(state) == {
        "manager-alpha/jobs.sqlite": b"new",
        "manager-alpha/passwords.json": b"{}",
        f"before-{STAMP}/manager-alpha/jobs.sqlite": b"old",
    }
    modes = {each.stat().st_mode & 0o777 for each in (state / "manager-alpha").iterdir()}
    assert modes == {0o600}
    assert old.stat().st_mode & 0o777 == 0o700


def test_a_store_that_cannot_be_settled_leaves_the_old_one(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*command: str) -> str:
        raise HostError("schema 9 is newer")

    monkeypatch.setattr(host_restore, "_run", refuse)
    (state / "manager-alpha").mkdir(parents=True)
    (state / "manager-alpha/jobs.sqlite").write_bytes(b"old")
    restore = Restore(STAMP, replace=True)
    restore.unpack_store("alpha", part(tmp_path / "part", {"jobs.sqlite": b"new"}))
    with pytest.raises(HostError, match="schema 9 is newer"):
        restore.place_store("alpha", 1.0, False, 1000)
    restore.drop()
    assert tree(state) == {"manager-alpha/jobs.sqlite": b"old"}


def test_round_robin_files_take_their_place(state: Path, tmp_path: Path) -> None:
    rrd = tmp_path / "rrd"
    (rrd / "alpha/a1").mkdir(parents=True)
    (rrd / "alpha/a1/load_one.rrd").write_bytes(b"old")
    restore = Restore(STAMP, True, str(rrd))
    restore.unpack_rrd(part(tmp_path / "1", {"alpha/a1/load_one.rrd": b"one"}))
    restore.unpack_rrd(part(tmp_path / "2", {"__SummaryInfo__/load_one.rrd": b"two"}))
    assert rrd.stat().st_mode & 0o777 == 0o700
    restore.place_rrd()
    assert tree(rrd) == {
        "alpha/a1/load_one.rrd": b"one",
        "__SummaryInfo__/load_one.rrd": b"two",
        f".before-{STAMP}/alpha/a1/load_one.rrd": b"old",
    }
    assert (rrd / "alpha/a1/load_one.rrd").stat().st_mtime == 1000


def test_one_that_is_given_up_lets_the_aggregator_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rrd, said = tmp_path / "rrd", []
    rrd.mkdir(mode=0o755)
    me = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(host_restore, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(host_restore, "RRD_ACCOUNT", me)
    monkeypatch.setattr(host_restore, "_run", lambda *command: said.append(command[1]) or "")
    restore = Restore(STAMP, replace=True, rrd_directory=str(rrd))
    restore.drop()
    assert said == []
    restore.unpack_rrd(part(tmp_path / "part", {"alpha/x.rrd": b"x"}))
    assert rrd.stat().st_mode & 0o777 == 0o700
    restore.drop()
    assert rrd.stat().st_mode & 0o777 == 0o755
    assert list(rrd.iterdir()) == []
    assert said == ["is-enabled", "start"]


def test_what_is_there_forbids_it_until_told(state: Path, tmp_path: Path) -> None:
    rrd = tmp_path / "rrd"
    fresh = Restore(STAMP, False, str(rrd))
    assert fresh.look(["alpha"]) == []
    (rrd / ".before-X").mkdir(parents=True)
    assert fresh.look(["alpha"]) == []
    (rrd / "alpha").mkdir()
    (state / "manager-alpha").mkdir(parents=True)
    (state / "manager-alpha/jobs.sqlite").touch()
    with pytest.raises(HostError, match=r"job store of alpha and round-robin files .* already"):
        fresh.look(["alpha"])
    assert len(Restore(STAMP, True, str(rrd)).look(["alpha"])) == 2


@pytest.mark.parametrize(
    "name",
    [
        "../x.rrd",
        "/etc/x.rrd",
        "a/../../x.rrd",
        ".hidden/x.rrd",
        "a//x.rrd",
        "a/notes.txt",
        "a\n.rrd",
    ],
)
def test_a_part_may_not_write_elsewhere(state: Path, tmp_path: Path, name: str) -> None:
    restore = Restore(STAMP, True, str(tmp_path / "rrd"))
    with pytest.raises(HostError, match="where it cannot be"):
        restore.unpack_rrd(part(tmp_path / "part", {name: b"x"}))
    restore.drop()
    assert tree(tmp_path / "rrd") == {}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]
)
def test_a_part_has_plain_files_only(state: Path, tmp_path: Path, kind: Any) -> None:
    restore = Restore(STAMP, True, str(tmp_path / "rrd"))
    with pytest.raises(HostError, match="where it cannot be"):
        restore.unpack_rrd(part(tmp_path / "part", {"a/x.rrd": b""}, kind))
    with pytest.raises(HostError, match="where it cannot be"):
        restore.unpack_store("alpha", part(tmp_path / "part", {"jobs.sqlite": b""}, kind))


def test_a_cut_part_is_one_line(state: Path, tmp_path: Path) -> None:
    whole = part(tmp_path / "part", {"a/x.rrd": os.urandom(9000)})
    Path(whole).write_bytes(Path(whole).read_bytes()[:4000])
    with pytest.raises(HostError, match=r"^cannot restore: the backup: "):
        Restore(STAMP, True, str(tmp_path / "rrd")).unpack_rrd(whole)


def test_a_sparse_file_is_no_plain_one(state: Path, tmp_path: Path) -> None:
    """A kilobyte of the part would be a terabyte of zeros on the disk."""
    info = tarfile.TarInfo("jobs.sqlite")
    info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "9000"}
    with gzip.open(tmp_path / "part", "wb") as packed:
        packed.write(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(HostError, match=r"'jobs.sqlite' where it cannot be"):
        Restore(STAMP).unpack_store("alpha", str(tmp_path / "part"))
    assert tree(state) == {}


def test_a_file_that_does_not_fit_is_not_begun(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = type("usage", (), {"free": 8})
    monkeypatch.setattr(host_restore.shutil, "disk_usage", lambda place: room)
    with pytest.raises(HostError, match=r"no room for jobs.sqlite of 9 bytes"):
        Restore(STAMP).unpack_store("alpha", part(tmp_path / "part", {"jobs.sqlite": b"123456789"}))
    assert tree(state) == {}


def test_a_broken_stream_is_one_line(state: Path, tmp_path: Path) -> None:
    whole = bytearray(Path(part(tmp_path / "part", {"jobs.sqlite": os.urandom(9000)})).read_bytes())
    whole[10:60] = b"\xff" * 50
    (tmp_path / "part").write_bytes(whole)
    with pytest.raises(HostError, match=r"^cannot restore: the backup: "):
        Restore(STAMP).unpack_store("alpha", str(tmp_path / "part"))


def test_what_a_restore_that_was_killed_staged_goes_with_the_next(
    state: Path, tmp_path: Path
) -> None:
    """It has passwords in it, and the room of all files."""
    rrd = tmp_path / "rrd"
    for stamp in ("20261124T030000Z", STAMP):
        restore = Restore(stamp, True, str(rrd))
        restore.unpack_store("alpha", part(tmp_path / "part", {"jobs.sqlite": b"s"}))
        restore.unpack_rrd(part(tmp_path / "part", {"x.rrd": b"x"}))
    restore.unpack_store("beta", part(tmp_path / "part", {"jobs.sqlite": b"s"}))
    restore.unpack_rrd(part(tmp_path / "part", {"y.rrd": b"y"}))
    staged = f".restore-{STAMP}"
    assert set(tree(rrd)) == {f"{staged}/x.rrd", f"{staged}/y.rrd"}
    stores = {f"{staged}/manager-{each}/jobs.sqlite" for each in ("alpha", "beta")}
    assert set(tree(state)) == stores


def test_a_stamp_is_a_time(state: Path) -> None:
    with pytest.raises(HostError, match="no time of a restore"):
        Restore("../../x")

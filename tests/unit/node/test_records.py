"""Records on disk: whole or absent, claimed once, readable after any cut."""

from __future__ import annotations

import errno
import json
import os

import pytest

from kcms.jobs.model import Exit, WantedTask
from kcms.node import durable
from kcms.node.account import Account
from kcms.node.core import Kill, Started, TaskId
from kcms.node.records import Records

T = TaskId(7, 0, 1)
SPEC = {"executable": "/bin/true", "arguments": []}
RUN = WantedTask(7, 0, 1, "run", "alice", 2001, 2002, SPEC)
ALICE = Account("/shared/home/alice", "/bin/sh", [2002])


@pytest.fixture
def records(tmp_path):
    made = Records(tmp_path, "alpha", "alpha1", "/run/kcms-node")
    made.open()
    return made


def test_prepare_makes_a_private_whole_record(records):
    records.prepare(RUN, ALICE, None, 1.0)
    path = records.path(T)
    assert path.name == "7.0.1"
    assert [each.stat().st_mode & 0o777 for each in (records.directory, path)] == [0o700, 0o700]
    assert [each.name for each in path.iterdir()] == ["wanted.json"]
    assert json.loads((path / "wanted.json").read_text()) == {
        "wanted": RUN.document(),
        "account": {"home": "/shared/home/alice", "shell": "/bin/sh", "groups": [2002]},
        "cluster": "alpha",
        "node": "alpha1",
        "runtime": "/run/kcms-node",
    }
    (record,) = records.load().values()
    assert record.wanted == RUN
    assert (record.started, record.exit, record.refused, record.kill) == (None,) * 4


def test_full_disk_leaves_nothing_half_made(records, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            records.prepare(RUN, ALICE, None, 1.0)
    assert list(records.directory.iterdir()) == []
    records.prepare(RUN, ALICE, None, 1.0)
    assert list(records.load()) == [T]


def test_half_made_and_half_removed_are_cleared_on_opening(records):
    records.prepare(RUN, ALICE, None, 1.0)
    for name in (".8.0.1.new", ".6.0.1.gone"):
        (records.directory / name).mkdir()
        (records.directory / name / "wanted.json").write_text("{")
    records.open()
    assert [each.name for each in records.directory.iterdir()] == ["7.0.1"]


def test_refusal_and_start_exclude_each_other(records):
    records.prepare(RUN, ALICE, None, 1.0)
    assert records.may_start(T)
    assert records.refuse(T, "killed before it was started", 2.0)
    with pytest.raises(FileExistsError):
        durable.create(str(records.path(T)), "started", {"boot_id": "b", "time": 1.0})
    assert not records.may_start(T)
    assert records.load()[T].refused == "killed before it was started"
    assert records.load()[T].started is None

    records.prepare(WantedTask(**{**RUN.document(), "job": 8}), ALICE, None, 1.0)
    t8 = TaskId(8, 0, 1)
    durable.create(str(records.path(t8)), "started", {"boot_id": "b", "time": 1.0})
    assert not records.refuse(t8, "too late", 2.0)
    assert records.load()[t8].refused is None
    assert records.load()[t8].started == Started("b", 1.0)


def test_prepare_of_a_refusal_can_never_start(records):
    records.prepare(RUN, None, "user alice is unknown on alpha1", 1.0)
    assert not records.may_start(T)
    assert records.load()[T].refused == "user alice is unknown on alpha1"


def test_exit_and_kill_are_read_back(records):
    records.prepare(RUN, ALICE, None, 1.0)
    path = str(records.path(T))
    durable.create(path, "started", {"boot_id": "b", "time": 1.5, "cgroup": "/x", "release": "/r"})
    records.write_kill(T, Kill("b", 100.0), 0)
    records.write_kill(T, Kill("b", 100.0, 101.0), 12)
    reserved = durable.Reserved(path, 4096)
    end = {"code": None, "signal": 9, "time": 2.0, "processes_killed": 12, "processes_left": 0}
    reserved.commit(
        "exit", {**end, "usage": {"cpu_seconds": 0.5}, "stopped": True, "boottime": 102.0}
    )
    record = records.load()[T]
    assert record.kill == Kill("b", 100.0, 101.0)
    assert record.exit == Exit(None, 9, 2.0, 12, 0, {"cpu_seconds": 0.5})
    assert record.stopped
    assert record.exited == 102.0
    assert json.loads((records.path(T) / "kill").read_text())["processes"] == 12
    assert records.signature(T) == {"exit", "kill", "started", "wanted.json"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"wanted": {"job": 7}}', b"\xff"])
def test_damaged_record_says_so_and_the_others_are_read(records, content):
    records.prepare(RUN, ALICE, None, 1.0)
    records.prepare(WantedTask(**{**RUN.document(), "job": 8}), ALICE, None, 1.0)
    (records.path(T) / "wanted.json").write_bytes(content)
    loaded = records.load()
    assert str(records.path(T)) in loaded[T].damaged
    assert loaded[TaskId(8, 0, 1)].damaged == ""


def test_forget_removes_all_and_may_be_repeated(records):
    records.prepare(RUN, ALICE, None, 1.0)
    records.forget(T)
    records.forget(T)
    assert list(records.directory.iterdir()) == []
    assert records.signature(T) == frozenset()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("7.0.1-5e1f0a2b", TaskId(7, 0, 1, "5e1f0a2b")),
        ("7.0.1", T),
        ("7.0.1-", None),
        ("7.0.1-xyz", None),
        ("7.0", None),
        ("7.0.1.2", None),
        ("07.0.1", None),
        ("a.0.1", None),
    ],
)
def test_names_of_directories(name, found):
    assert TaskId.parse(name) == found


def test_reserved_file_is_written_when_the_disk_refused_once(tmp_path, monkeypatch):
    reserved = durable.Reserved(str(tmp_path), 4096)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            reserved.commit("exit", {"code": 0})
    assert durable.read(str(tmp_path), "exit") is None
    reserved.commit("exit", {"code": 0})
    assert (tmp_path / "exit").read_bytes() == b'{"code": 0}\n'
    assert [each.name for each in tmp_path.iterdir()] == ["exit"]


def test_create_never_replaces_and_leaves_no_rest(tmp_path):
    durable.create(str(tmp_path), "started", {"by": 1})
    with pytest.raises(FileExistsError):
        durable.create(str(tmp_path), "started", {"by": 2})
    assert [each.name for each in tmp_path.iterdir()] == ["started"]
    assert durable.read(str(tmp_path), "started") == {"by": 1}


def test_what_is_in_the_place_of_the_fifo_is_put_away(tmp_path):
    (tmp_path / "poke").write_text("from a copy of the directory")
    for _ in range(2):
        made = Records(tmp_path, "alpha", "alpha1", "/run/kcms-node")
        made.open()
        assert made.poke.is_fifo()

"""The texts of /proc as values, and the tables of sockets."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from kcms.node import movable, owner, procfs, procstat, sockets
from kcms.node.owner import Ids
from kcms.node.procfs import Budget, Mapping, Reader, TooMuchError
from kcms.node.procstat import PAGE_KIB, Birth
from tests.unit.node import recorded

TAIL = b" S 7 812 812 0 -1 4194560 1 0 0 0 30 12 5 5 20 0 4 0 123456 4096 25"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"sh", "sh"),
        (b"a b) R 1 (", "a b) R 1 ("),
        (b"x) S 1 1\n1", "x) S 1 1\n1"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_stat_with_any_name(name: bytes, shown: str) -> None:
    said = procstat.parse_stat(b"812 (" + name + b")" + TAIL)
    assert said == Birth(shown, "S", 7, 123456, cpu=42, threads=4, rss_kib=25 * PAGE_KIB)


@pytest.mark.parametrize("text", [b"", b"1 (x) S 1", b"1 x S"])
def test_stat_that_is_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"short|not found"):
        procstat.parse_stat(text)


def test_fdinfo() -> None:
    text = (
        b"pos:\t0\nflags:\t02100002\nmnt_id:\t533\nino:\t12\n"
        b"lock:\t1: POSIX  ADVISORY  WRITE 812 00:2d:12 0 EOF\n"
        b"tfd:        3 events:       19 data: 3  pos:0 ino:1 sdev:e\n"
    )
    found = procfs.parse_fdinfo(4, "/x", text)
    assert (found.flags, found.mount, found.writes) == (0o2100002, 533, True)
    assert found.locks == ("1: POSIX  ADVISORY  WRITE 812 00:2d:12 0 EOF",)
    assert found.notes[0].startswith("tfd:")
    assert not procfs.parse_fdinfo(4, "/x", b"flags:\t010000002\n").writes  # O_PATH


def test_maps_names_each_file_and_access_once() -> None:
    text = (
        b"7f00-7f01 r--p 00000000 00:74 15 /usr/lib/a b.so\n"
        b"7f01-7f02 r-xp 00001000 00:74 15 /usr/lib/a b.so\n"
        b"7f02-7f03 r--p 00002000 00:74 15 /usr/lib/a b.so\n"
        b"7f03-7f04 rw-p 00000000 00:00 0 \n"
        b"7f04-7f05 rw-p 00000000 00:00 0 [heap]\n"
        b"7f05-7f06 rw-s 00000000 00:01 9 /new\\012line (deleted)\n"
        b"7f06-7f07 rw-p 00000000 00:00 0 [anon: mine]\n"
    )
    assert procfs.parse_maps(text) == [
        Mapping("/usr/lib/a b.so", "r--p", "7f00-7f01"),
        Mapping("/usr/lib/a b.so", "r-xp", "7f01-7f02"),
        Mapping("/new\nline (deleted)", "rw-s", "7f05-7f06"),
    ]


def test_a_recorded_process(tmp_path: Path) -> None:
    record = recorded.lay_out("tcp", tmp_path)
    (pid,) = record["processes"]
    found = Reader(lambda _: True, Budget(60), str(tmp_path)).process(int(pid))
    assert found is not None
    assert (found.name, found.inside, found.parent) == ("python3", 2, record["init"]["pid"])
    assert found.uids == (2001, 2001, 2001, 2001)
    assert (found.cwd, found.exe, found.session) == (recorded.HOME, "/usr/bin/python3.13", 2)
    assert found.memory_kib > 1000
    assert [each.number for each in found.files] == [0, 1, 2, 4, 5]
    assert found.files[1].target == f"{recorded.HOME}/out"
    assert set(found.namespaces) == set(procfs.NAMESPACES)


def test_a_process_that_is_gone_or_over(tmp_path: Path) -> None:
    reader = Reader(lambda _: True, Budget(60), str(tmp_path))
    assert reader.process(1) is None
    record = recorded.lay_out("tcp", tmp_path)
    (pid,) = record["processes"]
    stat = tmp_path / pid / "stat"
    stat.write_text(stat.read_text().replace(") S ", ") Z "))
    assert reader.process(int(pid)) is None


def test_what_is_on_the_shared_directory_is_not_touched(tmp_path: Path) -> None:
    record = recorded.lay_out("tcp", tmp_path)
    (pid,) = record["processes"]
    asked = []

    def skip(path: str) -> bool:
        asked.append(path)
        return True

    found = Reader(skip, Budget(60), str(tmp_path)).process(int(pid))
    assert found is not None
    assert all(each.stat is None for each in found.files)
    assert f"{recorded.HOME}/out" in asked


def test_more_than_may_be_read(tmp_path: Path) -> None:
    budget = Budget(60)
    budget.take(files=procfs.MOST_FILES)
    with pytest.raises(TooMuchError, match="more than 65536 files open"):
        budget.take(files=1)
    now = [0.0]
    late = Budget(5, lambda: now[0])
    now[0] = 5.1
    with pytest.raises(TooMuchError, match="over 5 s"):
        late.take()
    (tmp_path / "large").write_bytes(b"x" * 100)
    with pytest.raises(TooMuchError):
        procfs.read(str(tmp_path / "large"), 99)


def test_who_else_holds_a_pipe(tmp_path: Path) -> None:
    for pid, link in ((10, "pipe:[1]"), (11, "pipe:[1]"), (12, "pipe:[2]")):
        fd = tmp_path / str(pid) / "fd"
        fd.mkdir(parents=True)
        (fd / "0").symlink_to(link)
        (tmp_path / str(pid) / "stat").write_bytes(b"%d (n%d)" % (pid, pid) + TAIL)
    found = procfs.holders(
        frozenset({"pipe:[1]"}), lambda pid: pid == 10, Budget(60), str(tmp_path)
    )
    assert found == {"pipe:[1]": (11, "n11")}


# sockets ---------------------------------------------------------------------------------------


def test_inet_rows() -> None:
    text = (
        b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        b"   0: 0100007F:1F90 0200000A:01BB 01 00000000:00000000 00:00000000 00000000  2001"
        b"        0 777 1 0 20 4 30 10 -1\n"
    )
    if sys.byteorder == "little":
        ((inode, row),) = sockets.parse_inet("TCP", text)
        assert (inode, row) == (777, sockets.Inet("TCP", "127.0.0.1:8080", "10.0.0.2:443", 1))


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def test_unix_rows() -> None:
    row = struct.pack("=BBBBIII", 1, 1, 1, 0, 700, 0, 0)
    body = row + attribute(0, b"\0abc") + attribute(2, struct.pack("=I", 701))
    other = struct.pack("=BBBBIII", 1, 1, 10, 0, 702, 0, 0) + attribute(0, b"/run/x\0")
    found: dict[int, sockets.Unix] = {}
    assert sockets.parse_unix(message(20, body) + message(20, other), found)
    assert not sockets.parse_unix(message(3, b"\0\0\0\0"), found)
    assert found == {700: sockets.Unix(1, 701, "@abc"), 702: sockets.Unix(10, 0, "/run/x")}
    with pytest.raises(OSError, match="not permitted"):
        sockets.parse_unix(message(2, struct.pack("=i", -1)), {})


def test_the_kernel_tells_a_socket_pairs_ends() -> None:
    one, other = socket.socketpair()
    with one, other:
        inodes = [os.fstat(each.fileno()).st_ino for each in (one, other)]
        table = sockets.unix_table()
    assert table[inodes[0]].peer == inodes[1]
    assert table[inodes[1]].peer == inodes[0]


# the owner's eyes ------------------------------------------------------------------------------


def me() -> Ids:
    return Ids(os.getuid(), os.getgid(), tuple(os.getgroups()))


def test_places_as_the_owner_sees_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/usr")
    places = [str(tmp_path), str(tmp_path / "file"), str(tmp_path / "no"), str(tmp_path / "link")]
    told = owner.ask(me(), {"shared": [str(tmp_path)], "places": places})
    good, file, none, link = told["places"]
    assert (good["problem"], good["shared"], good["free"] > 0) == ("", True, True)
    assert (file["problem"], none["problem"]) == ("is no directory", "does not exist")
    assert (link["real"], link["shared"]) == ("/usr", False)


def test_an_answer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "ANSWER_LIMIT", 16)
    files: list[Any] = [(tmp_path / each).open("w+b") for each in ("order", "said", "complaint")]
    files[0].write(b'{"places": ["/"]}')
    files[0].seek(0)
    owner._start(me(), *files).wait(60)
    for each in files:
        each.close()
    assert max((tmp_path / each).stat().st_size for each in ("said", "complaint")) <= 16
    with pytest.raises(owner.OwnerError):
        owner.ask(me(), {"places": [str(tmp_path)]})


def test_open_files_as_the_owner_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("12345")
    with path.open() as file:
        rows = [[os.getpid(), file.fileno(), str(path)], [os.getpid(), 9999, "/x"]]
        there, none = owner.ask(me(), {"open": rows})["open"]
        assert (there[4], there[5], there[6], none) == (5, 1, 1, [])
        path.unlink()
        path.write_text("another")
        (moved,) = owner.ask(me(), {"open": rows[:1]})["open"]
        assert (moved[4], moved[5], moved[6]) == (5, 0, 0)


def test_children_that_were_started_beforehand_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    owner.prepare(me(), 2)
    left, used = (each.process for each in owner._prepared)
    monkeypatch.setattr(owner, "PYTHON", "/nowhere/python")
    assert owner.ask(me(), {"shared": ["/usr"]})["shared"] == ["/usr"]
    assert used.returncode == 0
    with pytest.raises(owner.OwnerError, match="No such file"):
        owner.ask(Ids(me().uid, me().gid, (12345,)), {})  # they are another's
    owner.dismiss()
    assert left.returncode == -9
    with pytest.raises(owner.OwnerError, match="No such file"):
        owner.ask(me(), {})


def test_a_child_that_was_ended_meanwhile_is_told() -> None:
    owner.prepare(me(), 1)
    owner._prepared[0].process.kill()
    with pytest.raises(owner.OwnerError, match="no answer"):
        owner.ask(me(), {"shared": ["x" * 200_000]})


def test_a_child_that_fails_or_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(owner.OwnerError, match=r"cannot look at files as their owner: .*Error"):
        owner.ask(me(), {"open": [[1]]})
    monkeypatch.setattr(owner, "PYTHON", "/nowhere/python")
    with pytest.raises(owner.OwnerError, match="No such file"):
        owner.ask(me(), {})


def test_a_task_that_is_about_to_end(tmp_path: Path) -> None:
    with pytest.raises(movable.NoMoveError, match="no init any more"):
        movable.find_init(f"{tmp_path}/unit/task")

"""Every recorded job, and what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.node import movable, refusals
from kcms.node.mounts import Mount, Where, parse_mountinfo
from kcms.node.movable import NoMoveError, Question
from kcms.node.owner import Ids
from kcms.node.procfs import Mapping, OpenFile, Proc, Stat
from kcms.node.seen import Snapshot, root
from tests.unit.node import recorded
from tests.unit.node.recorded import GID, HOME, SHARED, UID

REFUSED = {
    "tcp": "has a TCP connection, 127.0.0.1:N to 127.0.0.1:N; connections cannot move",
    "listen": "listens on TCP 127.0.0.1:18999; network sockets cannot move",
    "listen6": "listens on TCP [::1]:18998; network sockets cannot move",
    "udp": "has a UDP socket at 127.0.0.1:18997; network sockets cannot move",
    "unbound": "has a UDP socket open; network sockets cannot move",
    "unix": "listens on the Unix socket sock",
    "dbus": "is connected to /run/dbus/system_bus_socket outside the job by a Unix socket",
    "syslog": "is connected to /run/systemd/journal/dev-log outside the job by a Unix socket",
    "io_uring": "has an io_uring open, which cannot move",
    "flock": f"holds a lock (flock) on {HOME}/locked",
    "fcntl": f"holds a lock (posix) on {HOME}/locked",
    "shm": "has System V shared memory attached, which cannot move",
    "userns": "has a user namespace of its own (a container, or unshare)",
    "tmp": "has /tmp/kcms-movable open for writing, a file of this node alone; keep such files on "
    "a shared directory",
    "tmpread": "has /tmp/kcms-movable open, which lies on this node alone; put it on a shared "
    "directory",
    "devshm": "has /dev/shm/kcms-movable open for writing, a file of this node alone; keep such "
    "files on a shared directory",
    "cwd": "stands in /tmp, a directory of this node alone; start it in one on a shared directory",
    "large": f"has a removed file of 2929 KiB open, {HOME}/gone (deleted); 1024 KiB is the most "
    "that moves",
    "double fork": "no longer hangs on the job's first process, as the process that started it "
    "has ended (a double fork); only the first process's tree can move",
    "proc": "has /proc/N/status open, which lies on this node alone; put it on a shared directory",
    "userfault": "has a userfaultfd open, which cannot move",
    "traced": "is traced by process N (a debugger or strace); end that first",
    "terminal": "uses the terminal /dev/pts/N (deleted), which belongs to a process outside the "
    "job",
}
PASSING = [
    "pipe", "half a pipe", "socket pair", "removed", "tmpfile", "memfd", "shared anonymous",
    "own terminal", "inotify", "events", "fifo", "devices", "pidfd", "netlink", "system file",
    "shell tree",
]  # fmt: skip


def said(snapshot: Snapshot) -> str:
    return refusals.first(snapshot, UID, GID)


@pytest.mark.parametrize("name", REFUSED)
def test_the_sentence(name: str, tmp_path: Path) -> None:
    sentence = said(recorded.snapshot(name, tmp_path))
    match = re.fullmatch(r"process \d+ \(python3\) (.*)", sentence)
    assert match is not None, sentence
    numbers = re.sub(r"(?<=[:/ ])[0-9]+(?= to|; conn|/status| \(d| \(a)", "N", match.group(1))
    assert numbers == REFUSED[name]


@pytest.mark.parametrize("name", PASSING)
def test_what_passes(name: str, tmp_path: Path) -> None:
    assert said(recorded.snapshot(name, tmp_path)) == ""


# what an ordinary user of the recorded host could not make ------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return recorded.snapshot("shell tree", tmp_path_factory.mktemp("proc"))


def changed(tree: Snapshot, **changes: Any) -> Snapshot:
    """The tree with a process in it changed."""
    *others, last = tree.processes
    return replace(tree, processes=(*others, replace(last, **changes)))


def holding(tree: Snapshot, **of_file: Any) -> Snapshot:
    made = OpenFile(
        **{"number": 9, "target": "", "mount": tree.processes[0].files[1].mount, **of_file}
    )
    return changed(tree, files=(*tree.processes[-1].files, made))


def mapping(tree: Snapshot, *of_mapping: Any) -> Snapshot:
    return changed(tree, mappings=(Mapping(*of_mapping),))


def test_the_first_process_is_known(tree: Snapshot) -> None:
    first = next(each for each in tree.processes if each.pid == root(tree))
    assert (first.inside, first.parent) == (2, tree.init)


def test_other_ids(tree: Snapshot) -> None:
    sentence = said(changed(tree, uids=(UID, 0, 0, 0)))
    assert sentence.endswith("uid 0 gid 2001 (a setuid program, su or newgrp)")
    assert "gid 33" in said(changed(tree, gids=(GID, 33, 33, 33)))


def test_capabilities(tree: Snapshot) -> None:
    assert "holds capabilities" in said(changed(tree, capabilities=1 << 21))


def test_a_security_profile(tree: Snapshot) -> None:
    assert "profile docker-default" in said(changed(tree, confined="docker-default"))


@pytest.mark.parametrize("name", ["mnt", "pid", "net", "uts", "ipc", "cgroup", "time"])
def test_nested_namespaces(tree: Snapshot, name: str) -> None:
    spaces = {**tree.processes[-1].namespaces, name: f"{name}:[1]"}
    assert "namespace of its own" in said(changed(tree, namespaces=spaces))


def test_a_root_directory_of_its_own(tree: Snapshot) -> None:
    assert f"another root directory, {HOME}/jail" in said(changed(tree, root=f"{HOME}/jail"))


def test_a_session_from_outside(tree: Snapshot) -> None:
    assert "session whose leader is outside" in said(changed(tree, session=0))


def test_a_parent_from_outside(tree: Snapshot) -> None:
    assert "the parent 77, which is outside the job" in said(changed(tree, parent=77))


def test_a_program_on_a_local_disk(tree: Snapshot) -> None:
    assert "runs /home/alice/prog, which lies on this node" in said(
        changed(tree, exe="/home/alice/prog")
    )


def test_a_leader_that_ended_before_its_threads(tree: Snapshot) -> None:
    assert "first thread that has ended" in said(changed(tree, state="Z"))


@pytest.mark.parametrize("kind", ["[perf_event]", "bpf-map", "bpf-prog", "kvm-vm", "[fanotify]",
                                  "[never heard of]", "seccomp notify"])  # fmt: skip
def test_anonymous_inodes_that_are_not_known_to_pass(tree: Snapshot, kind: str) -> None:
    assert "open, which cannot move" in said(holding(tree, target=f"anon_inode:{kind}"))


@pytest.mark.parametrize(
    ("path", "device"), [("/dev/fuse", 0xAE5), ("/dev/kvm", 0xAE8), ("/dev/tty", 0x500)]
)
def test_devices(tree: Snapshot, path: str, device: int) -> None:
    stat = Stat(0o020666, 5, 6, device, 0, 1)
    assert said(holding(tree, target=path, stat=stat)).endswith(
        f"has the device {path} open, which cannot move"
    )


def test_a_device_that_only_has_the_name(tree: Snapshot) -> None:
    stat = Stat(0o020666, 5, 6, 0x105, 0, 1)
    assert "not the device of that name" in said(holding(tree, target="/dev/null", stat=stat))


def test_a_device_on_the_shared_directory(tree: Snapshot) -> None:
    stat = Stat(0o020666, 5, 6, 0x103, 0, 1)
    assert "neither a file" in said(holding(tree, target=f"{HOME}/null", stat=stat))


def test_a_packet_socket_and_one_of_an_unknown_kind(tree: Snapshot) -> None:
    assert "a PACKET socket" in said(holding(tree, target="socket:[1]", protocol="PACKET"))
    assert "has a socket open" in said(holding(tree, target="socket:[1]"))


def test_a_namespace_held_open(tree: Snapshot) -> None:
    assert "namespace net:[4026531840]" in said(holding(tree, target="net:[4026531840]"))


def test_pipes_and_fifos_with_an_outside_end(tree: Snapshot) -> None:
    pipe = next(f.target for p in tree.processes for f in p.files if f.target.startswith("pipe:"))
    held = replace(tree, outside={pipe: (77, "cat")})
    assert said(held).endswith("has a pipe to process 77 (cat), which is outside the job")
    fifo = holding(tree, target=f"{HOME}/f", stat=Stat(0o010600, 5, 6, 0, 0, 1))
    assert said(fifo) == ""
    held = replace(fifo, outside={f"{HOME}/f": (77, "cat")})
    assert f"the fifo {HOME}/f to process 77" in said(held)


def test_a_pidfd_of_a_stranger(tree: Snapshot) -> None:
    file = {"target": "anon_inode:[pidfd]", "notes": ("Pid:\t77", "NSpid:\t77")}
    assert "pidfd" in said(holding(tree, **file))


def test_a_watch_on_a_local_directory(tree: Snapshot) -> None:
    note = "inotify wd:1 ino:2 sdev:24 mask:fff ignored_mask:0 fhandle-bytes:8"
    assert "watches" in said(holding(tree, target="anon_inode:inotify", notes=(note,)))


def test_a_file_from_outside_the_mount_namespace(tree: Snapshot) -> None:
    file = {"target": "/usr/bin/sh", "mount": 1, "stat": Stat(0o100755, 1, 2, 0, 9, 1)}
    assert "handed to it from outside" in said(holding(tree, **file))


def test_a_file_whose_name_leads_elsewhere(tree: Snapshot) -> None:
    file = {"target": f"{HOME}/x", "stat": Stat(0o100644, 1, 2, 0, 9, 1, False)}
    assert "leads to another file now" in said(holding(tree, **file))
    file = {"target": f"{HOME}/.nfs0012", "stat": Stat(0o100644, 1, 2, 0, 9, 1)}
    assert "stays with this node" in said(holding(tree, **file))


def test_a_name_ends_like_a_removed_one(tree: Snapshot) -> None:
    file = {"target": f"{HOME}/x (deleted)", "stat": Stat(0o100644, 1, 2, 0, 1 << 30, 1)}
    assert said(holding(tree, **file)) == ""
    hidden = {"target": f"{HOME}/x (deleted)", "stat": Stat(0o100644, 1, 2, 0, 1, 1, False)}
    assert "name was removed while it has another" in said(holding(tree, **hidden))


def test_a_removed_file_in_a_directory_that_others_need_not_have(tree: Snapshot) -> None:
    gone = Stat(0o100600, 1, 2, 0, 10, 0)
    assert "need not have" in said(holding(tree, target="/var/x/y (deleted)", stat=gone))
    assert said(holding(tree, target="/tmp/y (deleted)", stat=gone)) == ""


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("/dev/shm/sem.x", "rw-s"), "shares memory through /dev/shm/sem.x"),
        (("/var/lib/x.so", "r-xp"), "has mapped /var/lib/x.so, which lies on this node alone"),
        (("/usr/lib/x.so (deleted)", "r-xp", "", Stat(0o100644, 1, 2, 0, 2 << 20, 0)),
         "which was replaced or removed since; start the job anew"),
        ((f"{SHARED}/x.so (deleted)", "r-xp"), "on a shared directory that was replaced"),
        (("/anon_hugepage (deleted)", "rw-p"), "uses huge pages"),
        (("/[aio] (deleted)", "rw-s"), "libaio"),
        (("/dev/nvidia0", "rw-s"), "shares memory through /dev/nvidia0"),
        (("anon_inode:[perf_event]", "rw-s"), "of a kind that cannot move"),
        (("socket:[12]", "rw-s"), "of a kind that cannot move"),
    ],
)  # fmt: skip
def test_mappings(tree: Snapshot, row: tuple[Any, ...], sentence: str) -> None:
    assert sentence in said(mapping(tree, *row))


def test_mappings_that_pass(tree: Snapshot) -> None:
    small = Stat(0o100600, 1, 2, 0, 32, 0)
    for row in ((f"{HOME}/data", "rw-s"), ("/dev/shm/sem.x (deleted)", "rw-s", "", small),
                ("/usr/lib/x.so", "r-xp"), ("/dev/zero (deleted)", "rw-s")):  # fmt: skip
        assert said(mapping(tree, *row)) == ""


def test_too_many_processes(tree: Snapshot) -> None:
    many = replace(tree, processes=tree.processes * 1000)
    assert said(many) == "the job has 6000 processes; 4096 is the most that can move"


def test_names_cannot_forge_lines(tree: Snapshot) -> None:
    sentence = said(changed(tree, name="a\nb\x1b[2J", cwd="/tmp/\u202ex\n"))
    assert sentence.isprintable()
    assert "(a?b?[2J)" in sentence


# what the target must have --------------------------------------------------------------------


def test_local_files_and_directories(tree: Snapshot) -> None:
    stat = Stat(0o040755, 1, 2, 0, 9, 1)
    made = holding(changed(tree, cwd="/usr/share"), target="/etc", stat=stat)
    assert refusals.local_directories(made) == ["/etc", "/usr/share"]
    paths = refusals.local_files(made)
    assert "/usr/bin/sleep" in paths
    assert not any(each.startswith((SHARED, "/dev")) for each in paths)


def test_a_shared_directory_below_the_systems(tree: Snapshot) -> None:
    where = Where(
        [Mount(1, (0, 1), "/", "ext4"), Mount(2, (0, 9), "/opt/all", "nfs4")], ["/opt/all"]
    )
    process = Proc(2, "x", 1, exe="/opt/all/x", cwd="/opt/all")
    assert refusals.local_files(Snapshot((process,), where)) == []


# System V --------------------------------------------------------------------------------------


def test_system_v_objects(tmp_path: Path) -> None:
    (tmp_path / "shm").write_text(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid\n"
        "         0          3  1600                  4096   812     0      0  2001  2001  2001\n"
    )
    (tmp_path / "sem").write_text(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
        "         0          5   600          1  2002  2002  2002  2002          0 1795490000\n"
        "         0          7   600          1  2001  2001  2001  2001          0 1795490000\n"
    )
    told = movable.ipc_of(frozenset({812}), UID, str(tmp_path))
    assert told[0] == "the job uses System V shared memory (ipcs -m: 3)"
    assert "(ipcs -s: 7; ipcrm" in told[1]
    assert len(told) == 2
    assert movable.ipc_of(frozenset({813}), 2003, str(tmp_path)) == ()


# mounts ----------------------------------------------------------------------------------------

MOUNTS = b"""\
20 1 0:30 / / rw - overlay overlay rw
21 20 0:31 / /home rw,relatime shared:4 - nfs4 server:/home rw
22 21 0:32 / /home/alice/scratch rw - tmpfs tmpfs rw
23 21 0:33 / /home/bob rw - nfs4 server:/home/bob rw
24 20 0:34 / /a\\040b rw master:1 - ext4 /dev/sdb rw
"""


def test_what_lies_on_a_shared_directory() -> None:
    where = Where(parse_mountinfo(MOUNTS), ["/home"])
    assert where.is_shared("/home/alice/x")
    assert where.is_shared("/home/bob/x")
    assert not where.is_shared("/home/alice/scratch/x")
    assert where.under_shared_name("/home/alice/scratch/x")
    assert not where.is_shared("/home/alice/x", 22)
    assert not where.is_shared("/homes")
    assert where.covering("/a b/c") == Mount(24, (0, 34), "/a b", "ext4")
    assert where.shared_devices() == {31, 33}


def test_a_mount_hides_what_it_is_made_over() -> None:
    over = MOUNTS + b"30 21 0:40 / /home rw - tmpfs tmpfs rw\n"
    where = Where(parse_mountinfo(over), ["/home"])
    assert where.covering("/home/x") == Mount(30, (0, 40), "/home", "tmpfs")


# place and room --------------------------------------------------------------------------------


def question(**changes: Any) -> Question:
    made: dict[str, Any] = {
        "cgroup": "", "spec": {"base_directory": "/s/base"}, "shared_directories": ["/s"],
        "ids": Ids(UID, GID), "home": "/h", "image_directory": "/run",
    }  # fmt: skip
    return Question(**{**made, **changes})


def place(path: str, shared: bool = True, problem: str = "") -> dict[str, Any]:
    return {"path": path, "real": path, "shared": shared, "problem": problem, "free": 10}


@pytest.mark.parametrize(
    ("home", "base", "found"),
    [
        (place("/s/h"), place("/s/base"), "/s/h"),
        (place("/h", False), place("/s/base"), "/s/base"),
        (place("/s/h", problem="does not exist"), place("/s/base"), "/s/base"),
    ],
)
def test_where_the_image_passes(
    monkeypatch: pytest.MonkeyPatch, home: Any, base: Any, found: str
) -> None:
    monkeypatch.setattr(movable, "ask", lambda *_: {"shared": ["/s"], "places": [home, base]})
    assert movable.find_place(question())[0]["path"] == found


def test_no_place_for_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*rows: Any) -> str:
        monkeypatch.setattr(movable, "ask", lambda *_: {"shared": ["/s"], "places": list(rows)})
        with pytest.raises(NoMoveError) as error:
            movable.find_place(question())
        return str(error.value)

    assert told(place("/h", False), place("/b", False)).startswith(
        "neither the home /h nor the base directory /s/base lies on a shared directory (/s)"
    )
    full = place("/s/h", problem="cannot be written by the owner of the job")
    assert "through /s/h, as it cannot be written" in told(full)


def test_room_for_the_image() -> None:
    movable.check_room(1000 * 1024, "/x", 1200 * 1024)
    with pytest.raises(NoMoveError, match="takes 1164 MiB as an image, and /x has 1163 MiB free"):
        movable.check_room(1000 * 1024, "/x", 1164 * 1024 - 1)


def test_what_refuses_a_running_job_is_seen_twice(
    tree: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [changed(tree, parent=77), tree]
    monkeypatch.setattr(movable, "_snapshot", lambda *_: seen.pop(0))
    assert movable._good_snapshot(question(), [SHARED]) is tree
    seen = [changed(tree, parent=77), changed(tree, parent=78)]
    with pytest.raises(NoMoveError, match="the parent 78, which is outside"):
        movable._good_snapshot(question(), [SHARED])


def test_what_the_owner_saw_of_a_file(tree: Snapshot) -> None:
    file = tree.processes[0].files[1]
    seen = movable.with_stat(file, [0o100644, 1, 2, 0, 9, 1, 0])
    assert seen is not None
    assert seen.stat == Stat(0o100644, 1, 2, 0, 9, 1, False)
    assert movable.with_stat(file, []) is None
    hidden = movable.with_stat(replace(file, stat=None), None)
    assert hidden is not None
    assert "hides what" in said(changed(tree, files=(hidden,)))


def test_jobs_of_root_stay() -> None:
    found = movable.scan("/nowhere", {}, ["/s"], Ids(0, 0), "/root", "/run")
    assert (found.ok, found.message) == (False, "a job of root cannot be moved")


def test_a_node_without_shared_directories() -> None:
    found = movable.scan("/nowhere", {}, [], Ids(UID, GID), "/h", "/run")
    assert "no shared directory" in found.message

"""How a host is read: texts of the kernel, a captured /proc, connections on loopback."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_collect import (
    manager_of_node,
    mounts,
    os_release,
    shared_kind,
    systemd_version,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_ports import (
    bound_sockets,
    reach,
    taken,
)

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:21C9 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 5001 1
   1: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5002 1
   2: 0B01400A:0016 0101400A:A5E2 01 00000000:00000000 02:0000A1B2 00000000     0        0 5003 2
"""
UDP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 12: 470B02EF:21C9 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 6001 2
"""
MOUNTS = """\
22 1 0:20 / / rw,relatime - overlay overlay rw
30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:5 - cgroup2 cgroup2 rw
41 22 0:45 / /shared rw,relatime shared:9 master:2 - nfs4 server:/export rw
42 22 0:46 / /srv/my\\040files rw - ext4 /dev/vdb rw
43 22 0:47 / /net rw - autofs auto rw
"""


def test_listening_tcp_and_bound_udp_ports_are_read() -> None:
    assert bound_sockets(TCP, "tcp") == {"5001": 8649, "5002": 3306}
    assert bound_sockets(UDP, "udp") == {"6001": 8649}


def test_who_has_a_port_is_found_through_its_socket(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "net/udp").write_text(UDP)
    process = tmp_path / "417"
    (process / "fd").mkdir(parents=True)
    (process / "fd/3").symlink_to("socket:[5001]")
    (process / "fd/4").symlink_to("/dev/null")
    (process / "comm").write_text("gmond\n")
    (process / "cgroup").write_text("0::/system.slice/ganglia-monitor.service\n")
    assert taken([("tcp", 8649), ("udp", 8649), ("tcp", 8080)], tmp_path) == [
        {
            "proto": "tcp",
            "port": 8649,
            "program": "gmond",
            "unit": "ganglia-monitor.service",
            "pid": 417,
        },
        {"proto": "udp", "port": 8649, "program": "", "unit": "", "pid": 0},
    ]


def test_a_process_that_closes_files_meanwhile_is_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = tmp_path / "417"
    (process / "fd").mkdir(parents=True)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    for name, link in (("3", "socket:[5001]"), ("4", "/gone"), ("5", "/gone")):
        (process / "fd" / name).symlink_to(link)
    (process / "comm").write_text("kcms\n")
    (process / "cgroup").write_text("0::/system.slice/kcms-manager@alpha.service\n")
    read = os.readlink

    def closing(path: Path) -> str:
        if read(path) == "/gone":
            raise FileNotFoundError(path)
        return read(path)

    monkeypatch.setattr(os, "readlink", closing)
    assert [row["unit"] for row in taken([("tcp", 8649)], tmp_path)] == [
        "kcms-manager@alpha.service"
    ]


def test_free_ports_cost_no_search(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    assert taken([("tcp", 8660)], tmp_path) == []


def test_mounts_are_read_with_their_escapes() -> None:
    table = dict(mounts(MOUNTS))
    assert table["/sys/fs/cgroup"] == "cgroup2"
    assert table["/srv/my files"] == "ext4"


def test_a_shared_directory_is_judged_without_opening_it(tmp_path: Path) -> None:
    table = mounts(MOUNTS)
    assert shared_kind("/shared", table) == "mount"
    assert shared_kind("/shared/", table) == "mount"
    assert shared_kind("/shared/deep/below", table) == "unknown"
    assert shared_kind("/net/below", table) == "unknown"
    assert shared_kind(str(tmp_path), table) == "directory"
    assert shared_kind(str(tmp_path / "none"), table) == "missing"
    (tmp_path / "file").touch()
    assert shared_kind(str(tmp_path / "file"), table) == "other"


def test_texts_of_the_system() -> None:
    release = os_release('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13"\n\n# x\n')
    assert (release["ID"], release["VERSION_ID"]) == ("debian", "13")
    assert systemd_version("systemd 257 (257.9-1~deb13u1)\n+PAM") == 257
    assert systemd_version("") == 0


def test_open_and_refused_are_told_apart() -> None:
    with socket.socket() as listener, socket.socket() as unused:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        unused.bind(("127.0.0.1", 0))
        there, closed = listener.getsockname()[1], unused.getsockname()[1]
        assert reach([("127.0.0.1", there), ("127.0.0.1", closed)]) == {
            f"127.0.0.1 {there}": "open",
            f"127.0.0.1 {closed}": "refused",
        }


def test_the_manager_that_a_node_obeys_is_read_from_its_settings() -> None:
    text = 'host = "a1"\ncluster = "alpha"\nmanager_address = "10.0.0.1"\nmanager_port = 8660\n'
    assert manager_of_node(text) == {"alpha": "10.0.0.1"}
    assert manager_of_node("") == {}

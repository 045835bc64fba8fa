"""Names, paths and properties of units, and how systemd's words are understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcms.node import cgroup, launcher
from kcms.node.core import TaskId

T = TaskId(12, 0, 3, "5e1f0a2b")


def test_unit_name_there_and_back():
    assert launcher.unit_name(T) == "kcms-task-12.0.3-5e1f0a2b.service"
    assert launcher.task_of_unit("kcms-task-12.0.3-5e1f0a2b.service") == T
    assert launcher.task_of_unit("kcms-task-12.0.service") is None
    assert launcher.task_of_unit("xkcms-task-12.0.3.service") is None


@pytest.mark.parametrize("init", ["/init.scope", "/", ""])
def test_root_of_tasks_on_a_host(init):
    assert launcher.tasks_root(init) == "/sys/fs/cgroup/kcms.slice/kcms-tasks.slice"


def test_root_of_tasks_below_another_cgroup():
    expected = "/sys/fs/cgroup/machine/h1/kcms.slice/kcms-tasks.slice"
    assert launcher.tasks_root("/machine/h1/init.scope") == expected


def test_unit_runs_the_release_it_was_started_with():
    release = Path("/opt/kcms/releases/0.1.0-abc/kcms")
    properties = dict(
        launcher.unit_properties(T, "/var/lib/kcms/node/tasks/12.0.3-5e1f0a2b", release, "b1")
    )
    argv = [
        "/bin/sh",
        "/opt/kcms/releases/0.1.0-abc/kcms/node/task_start.sh",
        "/var/lib/kcms/node/tasks/12.0.3-5e1f0a2b",
        "/opt/kcms/releases/0.1.0-abc/kcms/node/begin.py",
        "b1",
    ]
    assert properties["ExecStart"] == ("a(sasb)", [("/bin/sh", argv, False)])
    assert properties["Delegate"] == properties["RemainAfterExit"] == ("b", True)
    assert properties["Slice"] == ("s", "kcms-tasks.slice")


@pytest.mark.parametrize("allowed", [False, True])
def test_no_program_gives_a_task_rights_unless_the_site_says_so(allowed):
    properties = dict(launcher.unit_properties(T, "/x", Path("/y"), "b1", allowed))
    assert properties["NoNewPrivileges"] == ("b", not allowed)


@pytest.mark.parametrize(
    ("active", "sub", "job", "alive"),
    [
        ("active", "running", 0, True),
        ("activating", "start", 5, True),
        ("inactive", "dead", 5, True),
        ("inactive", "dead", 0, False),
        ("active", "exited", 0, False),
        ("failed", "failed", 0, False),
        ("deactivating", "stop-sigterm", 9, True),
        ("deactivating", "final-sigkill", 0, True),
    ],
)
def test_alive(active, sub, job, alive):
    assert launcher._is_alive(active, sub, job) is alive


def test_cgroup_is_read_recursively(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    (tmp_path / "a" / "cgroup.procs").write_text("")
    (tmp_path / "a" / "b" / "cgroup.procs").write_text("3\n")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (tmp_path / "cpu.stat").write_text(
        "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n"
    )
    assert sorted(cgroup.pids(str(tmp_path))) == [1, 2, 3]
    assert cgroup.populated(str(tmp_path))
    assert cgroup.cpu_times(str(tmp_path)) == (1.5, 1.0, 0.5)
    assert cgroup.io_bytes(str(tmp_path)) is None
    assert cgroup.peak_kib(str(tmp_path)) is None
    (tmp_path / "io.stat").write_text("")
    assert cgroup.io_bytes(str(tmp_path)) == (0, 0)
    (tmp_path / "io.stat").write_text(
        "8:0 rbytes=4096 wbytes=100 rios=1 wios=1 dbytes=7 dios=0\n8:16 rbytes=1 wbytes=2\n"
    )
    (tmp_path / "memory.peak").write_text("2097152\n")
    assert cgroup.io_bytes(str(tmp_path)) == (4097, 102)
    assert cgroup.peak_kib(str(tmp_path)) == 2048


def test_cgroup_that_is_gone_is_empty(tmp_path):
    gone = str(tmp_path / "gone")
    assert cgroup.pids(gone) == []
    assert not cgroup.populated(gone)
    assert cgroup.cpu_times(gone) is None
    assert cgroup.io_bytes(gone) is None
    assert cgroup.peak_kib(gone) is None
    assert cgroup.terminate(gone) == 0
    cgroup.kill(gone)


def test_cgroup_of_a_process(tmp_path):
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "cgroup").write_text("1:name=systemd:/x\n0::/kcms.slice/a.service/task\n")
    assert cgroup.of_process(5, str(tmp_path)) == "/kcms.slice/a.service/task"
    assert cgroup.of_process(6, str(tmp_path)) == ""

"""The agent on real records and a systemd in memory: full disks, refusals, restarts."""

from __future__ import annotations

import errno
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import Unavailable
from kcms.jobs.model import WantedTask
from kcms.node import durable
from kcms.node.agent import Agent, Clock
from kcms.node.core import TaskId, Unit
from kcms.node.launcher import LaunchError
from kcms.node.records import Records

ME = pwd.getpwuid(os.getuid())
T = TaskId(7, 0, 1)
RUN = WantedTask(7, 0, 1, "run", ME.pw_name, ME.pw_uid, ME.pw_gid, {"executable": "/bin/true"})


class MemorySystemd:
    def __init__(self):
        self.loaded: dict[TaskId, Unit] = {}
        self.calls: list[tuple[str, TaskId]] = []
        self.failure: Exception | None = None

    def units(self):
        if isinstance(self.failure, Unavailable):
            raise self.failure
        return dict(self.loaded)

    def start(self, task, directory):
        self.calls.append(("start", task))
        if self.failure:
            raise self.failure
        assert (Path(directory) / "wanted.json").is_file()
        self.loaded[task] = Unit(alive=True)

    def reset(self, task):
        self.calls.append(("reset", task))
        self.loaded.pop(task, None)

    def stop(self, task):
        self.calls.append(("stop", task))
        self.loaded[task] = Unit(alive=False)

    def cgroup(self, task):
        return f"/nonexistent/{task}"


class Host:
    """A node whose clock is set by hand; ``restart`` is SIGKILL and a new daemon."""

    def __init__(self, path):
        self.path = path
        self.now = 1000.0
        self.wall = 5.0
        self.systemd = MemorySystemd()
        self.restart()

    def restart(self):
        self.records = Records(self.path, "alpha", "alpha1")
        self.records.open()
        clock = Clock(wall=lambda: self.wall, boot=lambda: self.now)
        self.agent = Agent(self.records, self.systemd, "boot", clock)

    def begin(self, task=T):
        """What the task's init does first."""
        claim = {"boot_id": "boot", "time": 9.0}
        durable.create(str(self.records.path(task)), "started", claim)

    def end(self, task=T, code=0):
        end = {"code": code, "signal": None, "time": 10.0, "stopped": False}
        durable.replace(str(self.records.path(task)), "exit", end)
        self.systemd.loaded[task] = Unit(alive=False)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def phases(reports):
    return [(each.job, each.phase, each.message) for each in reports]


def test_life_of_a_task(host):
    assert phases(host.agent.step({T: RUN})) == [(7, "launching", "")]
    host.begin()
    (running,) = host.agent.step({T: RUN})
    assert (running.phase, running.start_time) == ("running", 9.0)
    host.end(code=3)
    (ended,) = host.agent.step({T: RUN})
    assert (ended.phase, ended.exit.code) == ("ended", 3)
    assert host.agent.step({}, forget={T}) == ()
    assert host.systemd.calls == [("start", T), ("reset", T)]
    assert list(host.records.directory.iterdir()) == []


@pytest.mark.parametrize("begun", [False, True])
def test_restart_at_any_point_starts_nothing_twice(host, begun):
    host.agent.step({T: RUN})
    if begun:
        host.begin()
    for _ in range(3):
        host.restart()
        host.agent.step({T: RUN})
    assert host.systemd.calls == [("start", T)]


def test_restart_between_record_and_start(host):
    host.systemd.failure = Unavailable("no bus")
    with pytest.raises(Unavailable):
        host.agent.step({T: RUN})
    host.systemd.failure = None
    host.records.prepare(RUN, None, None, 1.0)
    host.restart()
    host.agent.step(None)
    assert host.systemd.calls == []
    host.agent.step({T: RUN})
    assert host.systemd.calls == [("start", T)]


def test_user_of_other_ids_is_refused_and_never_started(host):
    (report,) = host.agent.step({T: replace(RUN, uid=ME.pw_uid + 1)})
    assert report.phase == "refused"
    assert "uid" in report.message
    assert host.systemd.calls == []


def test_full_disk_is_told_and_the_task_starts_when_there_is_room(host, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        told = phases(host.agent.step({T: RUN}))
    line = "cannot keep the node's record of the task: No space left on device"
    assert told == [(7, "launching", line)]
    assert host.systemd.calls == []
    assert host.agent.in_trouble
    assert phases(host.agent.step({T: RUN})) == [(7, "launching", "")]
    assert not host.agent.in_trouble


def test_unit_that_systemd_refuses_is_tried_three_times_then_refused(host):
    host.systemd.failure = LaunchError("InvalidArgs: no such property")
    (report,) = host.agent.step({T: RUN})
    assert (report.phase, report.message) == ("launching", "InvalidArgs: no such property")
    assert host.agent.step({T: RUN}) == (report,)
    for _ in range(6):
        host.now += 60
        (report,) = host.agent.step({T: RUN})
    assert host.systemd.calls == [("start", T)] * 3
    assert report.phase == "refused"


def test_start_that_failed_waits_longer_each_time(host):
    host.agent.step({T: RUN})
    times = []
    for _ in range(200):
        host.systemd.loaded = {T: Unit(alive=False, status=75)}
        before = len(host.systemd.calls)
        host.now += 0.5
        host.agent.step({T: RUN})
        if len(host.systemd.calls) > before:
            times.append(host.now - 1000.0)
    assert times == [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0]
    assert host.agent.step({T: RUN})[0].phase == "launching"


def test_kill_is_finished_by_the_next_daemon(host):
    host.agent.step({T: RUN})
    host.begin()
    kill = replace(RUN, want="kill", grace=5.0)
    host.agent.step({T: kill})
    assert host.records.kill_of(T).deadline == 1005.0
    host.restart()
    host.now = 1004.9
    host.agent.step(None)
    assert host.records.kill_of(T).killed_at is None
    host.now = 1005.0
    host.agent.step(None)
    assert host.records.kill_of(T).killed_at == 1005.0
    host.now = 1035.1
    host.agent.step(None)
    assert host.systemd.calls[-1] == ("stop", T)


LIMITED = replace(RUN, spec={"executable": "/bin/true", "time_limit": 100})
HOURS = 5 * 3600.0


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_wall_clock_that_is_set_changes_nothing_that_is_done(tmp_path_factory, data):
    """The same in two hosts, the wall clock of one being set between any two steps."""
    hosts = [Host(tmp_path_factory.mktemp("node")) for _ in range(2)]
    for host in hosts:
        host.agent.step({T: LIMITED})
        claim = {"boot_id": "boot", "time": host.wall, "boottime": host.now}
        durable.create(str(host.records.path(T)), "started", claim)
    acts = st.sampled_from(["step", "kill", "restart", "silence", "end"])
    for act, passed in data.draw(st.lists(st.tuples(acts, st.sampled_from([1.0, 7.0, 40.0])))):
        hosts[1].wall += data.draw(st.sampled_from([-HOURS, 0.0, HOURS]))
        told = []
        for host in hosts:
            host.now += passed
            if act == "restart":
                host.restart()
            elif act == "end" and host.systemd.loaded[T].alive:
                host.end()
            wanted = replace(LIMITED, want="kill") if act == "kill" else LIMITED
            told.append(host.agent.step(None if act == "silence" else {T: wanted}))
        assert told[0] == told[1]
        assert hosts[0].systemd.calls == hosts[1].systemd.calls
        assert hosts[0].records.kill_of(T) == hosts[1].records.kill_of(T)


def test_moved_is_seen_between_steps(host):
    host.agent.step({T: RUN})
    assert host.agent.moved([T])
    assert not host.agent.moved([])
    assert not host.agent.moved([TaskId(9, 9, 9)])


def test_alice_s_task_of_another_store_lives_beside_bob_s_of_the_same_numbers(host):
    x, y = "aaaaaaaa", "bbbbbbbb"
    alices, bobs = TaskId(7, 0, 1, x), TaskId(7, 0, 1, y)
    host.agent.step({alices: replace(RUN, store=x)}, store=x)
    host.begin(alices)
    bob = replace(RUN, spec={"executable": "/bin/false"}, store=y)
    host.agent.step({bobs: bob}, store=y)
    host.begin(bobs)
    host.end(bobs, code=5)
    host.agent.step({bobs: bob}, store=y)
    (left,) = host.agent.step({}, forget={bobs}, store=y)
    assert (left.store, left.phase, left.exit) == (x, "running", None)
    assert host.systemd.calls == [("start", alices), ("start", bobs), ("reset", bobs)]
    host.end(alices, code=3)
    (ended,) = host.agent.step({alices: replace(RUN, store=x)}, store=x)
    assert (ended.store, ended.exit.code) == (x, 3)


def test_a_store_that_went_back_in_time_gets_its_job_refused_and_alice_s_kept(host):
    host.agent.step({T: RUN})
    host.begin()
    bob = replace(RUN, spec={"executable": "/bin/false"}, store="")
    told = host.agent.step({T: bob})
    assert [each.phase for each in told] == ["running", "refused"]
    host.restart()
    orphan = WantedTask(7, 0, 1, "kill", "", -1, -1, {}, 0.0)
    for wanted in ({T: replace(bob, want="kill")}, {T: orphan}, {}):
        assert host.agent.step(wanted, forget={T})[0].phase == "running"
    assert host.records.kill_of(T) is None
    assert host.systemd.calls == [("start", T)]

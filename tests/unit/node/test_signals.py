"""Signals to tasks: sent once, on record before, to what is meant alone."""

from __future__ import annotations

import signal as system
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kcms.jobs.model import WantedTask
from kcms.jobs.signals import Ending, Signal, Signalled
from kcms.node import cgroup, procstat, signaller, signals
from kcms.node.core import Record, Snapshot
from kcms.node.records import Records
from kcms.node.signals import Send
from tests.unit.node.test_agent import RUN as TASK
from tests.unit.node.test_agent import Host, T
from tests.unit.node.test_core import ALIVE, LAUNCHING, NOW, OVER, RUN, RUNNING, killed, snapshot

USR1, HUP = Signal(1, "USR1"), Signal(2, "HUP")
TERM = Signal(3, "TERM", pid=47, birth=9, grace=5.0)
ENDING = Ending(47, 9, NOW + 5.0)


def wanting(*wanted: Signal, record: Record = RUNNING, **changes: Any) -> Snapshot:
    return snapshot(replace(RUN, signals=wanted), record, ALIVE, **changes)


def done(upto: int, *endings: Ending, record: Record = RUNNING) -> Record:
    return replace(record, signalled=Signalled(upto, endings))


def test_what_is_wanted_is_sent_once_in_order() -> None:
    both = Send(T, (USR1, HUP), (), Signalled(2))
    assert signals.decide(wanting(HUP, USR1)) == [both]
    assert signals.decide(wanting(USR1, HUP, record=done(1))) == [Send(T, (HUP,), (), Signalled(2))]
    assert signals.decide(wanting(USR1, HUP, record=done(2))) == []


@pytest.mark.parametrize(
    "now",
    [
        wanting(USR1, record=LAUNCHING),
        wanting(USR1, record=killed(NOW + 1)),
        wanting(USR1, record=replace(RUNNING, restoring=True)),
        wanting(USR1, record=replace(RUNNING, disowned=True)),
        wanting(USR1, record=Record(damaged="bad")),
        wanting(USR1, store="5e1f0a2b"),
        snapshot(replace(RUN, signals=(USR1,)), RUNNING, OVER),
        snapshot(replace(RUN, want="kill", signals=(USR1,)), RUNNING, ALIVE),
        snapshot(RUN, RUNNING, ALIVE),
        snapshot(None, RUNNING, ALIVE, wanted=None),
    ],
)
def test_nothing_is_sent(now: Snapshot) -> None:
    assert [each.signals for each in signals.decide(now) if each.signals] == []


def test_a_process_that_is_to_end_is_killed_after_its_grace() -> None:
    (sent,) = signals.decide(wanting(TERM))
    assert sent == Send(T, (TERM,), (), Signalled(3, (ENDING,)))
    waits = wanting(TERM, record=done(3, ENDING))
    assert signals.decide(waits) == []
    assert signals.next_end(waits) == NOW + 5.0
    for wanted in (None, {}):  # also when no manager is heard
        late = replace(waits, boottime=NOW + 5.0, wanted=wanted)
        assert signals.decide(late) == [Send(T, (), (ENDING,), Signalled(3))]
    assert signals.next_end(wanting(record=done(3))) is None
    more = signals.decide(wanting(Signal(4, "HUP"), record=done(3, ENDING)))
    assert more[0].then == Signalled(4, (ENDING,)), "it still is to end"


# the record, and whoever dies ---------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(signaller, "send", lambda path, told: found.append((path, told)) or 1)
    monkeypatch.setattr(signaller, "end", lambda path, ending: found.append((path, ending)) or True)
    return found


def running(host: Host) -> None:
    host.agent.step({T: TASK})
    host.begin()
    host.agent.step({T: TASK})


def test_a_signal_is_sent_and_told_once(tmp_path: Any, sent: list[Any]) -> None:
    host = Host(tmp_path)
    running(host)
    wanted = {T: replace(TASK, signals=(USR1,))}
    (report,) = host.agent.step(wanted)
    assert report.signalled == 1
    assert sent == [(f"/nonexistent/{T}/task", USR1)]
    host.restart()
    (report,) = host.agent.step(wanted)
    assert (report.signalled, len(sent)) == (1, 1)


def test_a_daemon_that_dies_while_it_sends_does_not_send_again(
    tmp_path: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    running(host)
    wanted = {T: replace(TASK, signals=(USR1,))}

    def dies(path: str, told: Signal) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(signaller, "send", dies)
        with pytest.raises(KeyboardInterrupt):
            host.agent.step(wanted)
    host.restart()
    (report,) = host.agent.step(wanted)
    assert (report.signalled, sent) == (1, [])


def test_nothing_is_sent_that_is_not_on_record(
    tmp_path: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    running(host)
    wanted = {T: replace(TASK, signals=(USR1,))}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    with monkeypatch.context() as patch:
        patch.setattr(Records, "write_signals", full)
        (report,) = host.agent.step(wanted)
        assert (report.signalled, sent) == (0, [])
        assert "No space left" in report.message
        assert host.agent.in_trouble
    (report,) = host.agent.step(wanted)
    assert (report.signalled, len(sent)) == (1, 1)


def test_an_end_comes_on_time_and_also_after_a_death(tmp_path: Any, sent: list[Any]) -> None:
    host = Host(tmp_path)
    running(host)
    wanted = {T: replace(TASK, signals=(TERM,))}
    host.agent.step(wanted)
    assert host.agent.next_end == 5.0
    host.restart()
    host.now += 5.0
    host.agent.step({T: TASK})
    assert sent[1:] == [(f"/nonexistent/{T}/task", ENDING)]
    host.now += 5.0
    host.agent.step({T: TASK})
    assert len(sent) == 2


# sending ------------------------------------------------------------------------------------------

LISTENER = """
import signal, sys
for each in (signal.SIGUSR1, signal.SIGHUP):
    signal.signal(each, lambda number, frame: print(number, flush=True))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
        started.kill()


def place(pid: int) -> tuple[str, int]:
    """The directory of a process's cgroup, and its birth."""
    born = procstat.birth_of(pid)
    assert born is not None
    return cgroup.ROOT + cgroup.of_process(pid), born.birth


def test_one_process_is_hit_by_pid_and_birth(child: subprocess.Popen[str]) -> None:
    where, birth = place(child.pid)
    assert signaller.send(where, Signal(1, "USR1", child.pid, birth + 1)) == 0
    assert signaller.send(f"{where}x", Signal(1, "USR1", child.pid, birth)) == 0
    assert signaller.send(where, Signal(1, "HUP", child.pid, birth)) == 1
    assert child.stdout is not None
    assert child.stdout.readline() == f"{int(system.SIGHUP)}\n"
    assert not signaller.end(where, Ending(child.pid, birth + 1, 0.0))
    assert signaller.end(where, Ending(child.pid, birth, 0.0))
    assert child.wait(10) == -system.SIGKILL
    assert not signaller.end(where, Ending(child.pid, birth, 0.0))


def test_what_is_to_end_is_let_go_on(child: subprocess.Popen[str]) -> None:
    where, birth = place(child.pid)
    child.send_signal(system.SIGSTOP)
    assert signaller.send(where, Signal(1, "TERM", child.pid, birth, grace=5.0)) == 1
    assert child.wait(10) == -system.SIGTERM


class Cgroup:
    """Processes of which one more is there at each look, up to ``most``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.looks, self.most, self.told = 0, most, [(0, 0)][:0]
        self.killed = False
        self.paths: set[str] = set()
        monkeypatch.setattr(cgroup, "pids", self.pids)
        monkeypatch.setattr(cgroup, "tell", self.tell)
        monkeypatch.setattr(cgroup, "kill", self.kill)

    def pids(self, path: str) -> list[int]:
        self.looks += 1
        self.paths.add(path)
        return list(range(1, min(self.looks, self.most) + 2))

    def tell(self, pid: int, path: str, numbers: tuple[int, ...], *_: object) -> bool:
        self.paths.add(path)
        self.told += [(pid, each) for each in numbers]
        return True

    def kill(self, path: str) -> None:
        self.paths.add(path)
        self.killed = True


def test_all_that_are_there_get_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Cgroup(monkeypatch, most=3)
    assert signaller.send("/x", USR1) == 2
    assert group.told == [(1, system.SIGUSR1), (2, system.SIGUSR1)]


def test_who_comes_while_all_are_stopped_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Cgroup(monkeypatch, most=3)
    assert signaller.send("/x", Signal(1, "STOP")) == 4
    assert group.told == [(pid, system.SIGSTOP) for pid in (1, 2, 3, 4)]


def test_a_rank_is_the_cgroup_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Cgroup(monkeypatch, most=0)
    for name in ("USR1", "KILL"):
        assert signaller.send("/x", Signal(1, name, rank=3)) == 1
    assert group.paths == {"/x/3"}


def test_sigkill_takes_the_whole_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Cgroup(monkeypatch, most=3)
    assert signaller.send("/x", Signal(1, "KILL")) == 2
    assert (group.killed, group.told) == (True, [])


@pytest.mark.parametrize("name", ["NOVEL", "_IGN", ""])
def test_a_name_that_is_unknown_here_is_sent_to_nobody(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Cgroup(monkeypatch, most=3)
    assert signaller.send("/x", Signal(1, name)) == 0
    assert (group.told, group.killed) == ([], False)


def test_an_older_manager_wants_no_signals() -> None:
    document = RUN.document()
    document.pop("signals", None)
    assert WantedTask.parse(document).signals == ()
    there = WantedTask.parse({**document, "signals": [USR1.document()]})
    assert there.signals == (USR1,)

"""What is made of the processes that a node tells of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kcms.jobs.pressure import Marks
from kcms.jobs.processes import Process
from kcms.manager.watched import TOLD, AtWork, Told, Watch

MARKS = Marks(hold=120.0)
ONE = Process(7, 7, "x", 1, 0, 1, "", status="R", cpu_seconds=30.0, rss_kib=1024)


def test_what_runs_or_what_was_used_is_what_is_wanted() -> None:
    work = AtWork((0, 1))
    assert work.follow([ONE, replace(ONE, pid=8, status="S")], 0.0, MARKS) == 1.0
    assert (work.demand, work.size, work.age) == (1.0, 2 << 20, 60.0)
    threads = replace(ONE, status="S", cpu_seconds=50.0)  # four threads; the first one waits
    assert work.follow([threads], 5.0, MARKS) == 4.0
    assert work.demand == pytest.approx(1.24, abs=0.01)
    assert work.follow([replace(threads, birth=8)], 5.0, MARKS) == 0.0  # another process
    assert work.age == 70.0


def test_one_that_stands_still_does_not_become_older() -> None:
    work = AtWork((0, 1))
    work.follow([ONE], 5.0, MARKS)
    for _ in range(100):
        work.follow([replace(ONE, status="S")], 5.0, MARKS, stands=True)
    assert (work.age, work.demand) == (30.0, pytest.approx(0.0, abs=0.01))


def test_one_that_moved_keeps_its_age_and_one_that_begins_anew_does_not() -> None:
    work = AtWork((0, 1))
    work.follow([ONE], 5.0, MARKS)
    work.placed((0, 2))
    work.follow([replace(ONE, cpu_seconds=0.0)], 5.0, MARKS)
    assert (work.age, work.demand) == (35.0, 1.0)
    work.placed((1, 3))
    assert (work.age, work.demand, work.used) == (0.0, None, {})


def test_a_reason_is_remembered_once_and_decisions_are_bounded() -> None:
    watch = Watch()
    for at in range(10):
        watch.tell(Told(float(at), "nothing moves"))
    assert [each.time for each in watch.told] == [0.0]
    for at in range(100):
        watch.tell(Told(float(at), "job 1", job=1))
        watch.tell(Told(float(at), "nothing moves"))
    assert len(watch.told) == TOLD

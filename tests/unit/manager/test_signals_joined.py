"""Manager and node together, with words that are late or lost and daemons that die in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import Conflict
from kcms.jobs.model import WantedTask
from kcms.jobs.signals import Signal, Signalled
from kcms.node import signals as node_signals
from tests.unit.manager.test_signals import running, signal, wanted
from tests.unit.manager.world import said_running
from tests.unit.node.test_core import ALIVE, RUN, RUNNING, snapshot


class Pair:
    """Job 1 on node a.  ``sent`` are the numbers that processes got, ``cut`` those whose daemon
    died when they were on record and not yet sent."""

    def __init__(self) -> None:
        self.world = running()
        self.keys: list[str] = []
        self.words: list[tuple[Signal, ...]] = [()]
        self.reports: list[int] = [0]
        self.record = Signalled()
        self.sent: list[int] = []
        self.cut: set[int] = set()
        self.given = 0

    def give(self) -> None:
        try:
            signal(self.world, key=f"k{self.given}")
        except Conflict:
            return
        self.keys.append(f"k{self.given}")
        self.given += 1

    def again(self, which: int) -> None:
        """The same request once more, as its answer was lost; of the last ones."""
        recent = self.keys[-8:]
        if recent:
            signal(self.world, key=recent[which % len(recent)])

    def publish(self) -> None:
        self.words.append(tuple(wanted(self.world)))

    def step(self, word: int, dies: str) -> None:
        """The node acts on one of the words that it was told, not always the last one."""
        task: WantedTask = replace(RUN, signals=self.words[-1 - word % len(self.words)])
        record = replace(RUNNING, signalled=self.record)
        for each in node_signals.decide(snapshot(task, record, ALIVE)):
            if dies == "before":
                return
            self.record = each.then
            for at, told in enumerate(each.signals):
                if dies == "between" and at == len(each.signals) // 2:
                    self.cut |= {left.number for left in each.signals[at:]}
                    return
                self.sent.append(told.number)
        self.reports.append(self.record.done)

    def report(self, which: int) -> None:
        upto = self.reports[-1 - which % len(self.reports)]
        self.world.report("a", replace(said_running(), signalled=upto))


OPERATIONS = st.one_of(
    st.tuples(st.just("give")),
    st.tuples(st.just("again"), st.integers(0, 7)),
    st.tuples(st.just("publish")),
    st.tuples(st.just("step"), st.integers(0, 3), st.sampled_from(["", "", "before", "between"])),
    st.tuples(st.just("report"), st.integers(0, 3)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(OPERATIONS, max_size=60))
def test_each_signal_is_sent_once_or_its_daemon_died_over_it(operations: list[Any]) -> None:
    pair = Pair()
    for name, *words in operations:
        getattr(pair, name)(*words)
    pair.publish()
    pair.step(0, "")
    pair.reports.append(pair.record.done)
    pair.report(0)
    assert wanted(pair.world) == []
    assert pair.sent == sorted(set(pair.sent)), "none twice, all in their order"
    assert set(pair.sent) | pair.cut == set(range(1, pair.given + 1))
    assert not set(pair.sent) & pair.cut

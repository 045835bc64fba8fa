"""A task of a batch job moves as a job of one does, whoever dies when, and whatever the others do.

The trouble of :mod:`tests.unit.manager.test_migration_crashes`, for the second task of a job whose
first one runs on a node of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import Conflict, NotFound
from kcms.jobs.model import NodeReport
from kcms.jobs.states import State
from kcms.manager import core, migrations
from kcms.manager.memory import Draft
from kcms.manager.signals import Asked, ask
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.test_migration_crashes import ACTIONS, COMMIT, ENDS, SEQUENCE, Grid, Host
from tests.unit.manager.test_migration_joined import LONG, RealNode
from tests.unit.manager.world import ALICE


class BatchGrid(Grid):
    """A batch job of which task 1 moves between a and b, while task 0 is on c."""

    spec: ClassVar[dict[str, Any]] = {"executable": "/s/x", "class": "batch", "total_tasks": 2}
    index = 1
    others = frozenset("c")

    def begin(self) -> None:
        self.mate = Host("c")
        self.report_mate()
        self.submit()
        self.exchange_mate()
        for name in self.hosts:
            self.report(name)

    def report_mate(self) -> None:
        said: NodeReport = replace(self.mate.report(), slots=1)
        forget = self.do(lambda draft: core.report(draft, "c", said, self.now, over=self.disk.get))
        for _, _, epoch in forget or ():
            self.mate.forget(epoch)

    def exchange_mate(self) -> None:
        self.mate.tasks = wanted_tasks(self.memory, "c")
        self.mate.act(self.images)
        self.report_mate()

    def end_mate(self) -> None:
        """The other task ends, which is nothing to the one that moves."""
        self.mate.end()
        self.exchange_mate()

    def kill_mate(self) -> None:
        self._kill_task(0)

    def kill_moved(self) -> None:
        self.over = True
        self._kill_task(1)

    def _kill_task(self, index: int) -> None:
        job = self.memory.jobs.get(1)
        task = job.task(index) if job else None
        if job is not None and task is not None and not task.state.final:
            self.do(lambda draft: core.kill_task(draft, ALICE, job, index, self.now))

    def heal(self) -> None:
        self.disk_full = False
        for _ in range(4):
            self.exchange_mate()
        super().heal()
        self.exchange_mate()
        if self.job.state.final:
            assert not [copy for copy in self.mate.copies.values() if copy == "run"]


def pure() -> BatchGrid:
    return BatchGrid(functools.partial(Host, index=1))


def joined() -> BatchGrid:
    return BatchGrid(RealNode)


MAKES = {"pure": (pure, SEQUENCE), "joined": (joined, LONG)}
OTHERS: dict[str, Callable[[Any], None]] = {
    "c exchanges": BatchGrid.exchange_mate,
    "task 0 ends": BatchGrid.end_mate,
    "task 0 is killed": BatchGrid.kill_mate,
    "task 1 is killed": BatchGrid.kill_moved,
}
TROUBLES: dict[str, Callable[[Any], None]] = {**ACTIONS, **ENDS, **OTHERS}


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
@pytest.mark.parametrize("make", sorted(MAKES))
def test_any_trouble_at_any_point(trouble: str, make: str) -> None:
    made, sequence = MAKES[make]
    for point in range(len(sequence) + 1):
        grid = made()
        for each in sequence[:point]:
            ACTIONS[each](grid)
        TROUBLES[trouble](grid)
        grid.check()
        for each in sequence[point:]:
            ACTIONS[each](grid)
            grid.check()
        grid.heal()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(MAKES)),
    st.lists(
        st.sampled_from([*sorted(ACTIONS), "c exchanges", *(f"{n} exchanges" for n in "ababab")]),
        max_size=80,
    ),
    st.sampled_from([None, *ENDS, *OTHERS]),
    st.lists(st.sampled_from(sorted(ACTIONS)), max_size=20),
)
def test_any_troubles_in_any_order(
    make: str, before: list[str], end: str | None, after: list[str]
) -> None:
    grid = MAKES[make][0]()
    for each in (*before, *([end] if end else []), *after):
        TROUBLES[each](grid)
        grid.check()
    grid.heal()


def test_the_end_of_another_task_leaves_the_migration_alone() -> None:
    for point in range(1, len(SEQUENCE) + 1):
        grid = pure()
        for each in SEQUENCE[:point]:
            ACTIONS[each](grid)
        grid.end_mate()
        assert grid.job.task(0).state is State.COMPLETED  # type: ignore[union-attr]
        for each in SEQUENCE[point:]:
            ACTIONS[each](grid)
        assert grid.job.migration is not None
        assert (grid.job.migration.phase, grid.job.migration.task) == ("done", 1)
        assert (grid.task.node, grid.running()) == ("b", [("b", 2)])


def test_the_end_of_the_task_that_moves_ends_the_migration() -> None:
    grid = pure()
    for each in SEQUENCE[: COMMIT // 2]:
        ACTIONS[each](grid)
    grid.kill_moved()
    moving = grid.job.migration
    assert moving is not None
    assert (moving.phase, moving.message) == ("failed", "it was killed by alice")
    grid.heal()
    assert (grid.job.state, grid.task.state) == (State.RUNNING, State.CANCELLED)


def test_what_ends_the_others_ends_the_migration() -> None:
    grid = pure()
    grid.disk[1] = replace(grid.job, spec={**grid.job.spec, "task_failure": "end"})
    grid.restart_manager()
    for name in grid.hosts:
        grid.exchange(name)
    grid.exchange_mate()
    grid.migrate()
    grid.exchange("a")
    grid.mate.copies[1] = "lost"
    grid.exchange_mate()
    moving = grid.job.migration
    assert moving is not None
    assert moving.over
    assert moving.message.startswith("the job is being ended: task 0: c: it went down")


def asked(grid: BatchGrid, index: int | None, target: str = "b") -> None:
    def decide(draft: Draft) -> None:
        job = draft.job(1)
        assert job is not None
        migrations.ask(draft, job, target, "alice", False, grid.now, index)

    grid.do(decide)


def test_one_task_at_a_time_which_is_named() -> None:
    grid = pure()
    with pytest.raises(Conflict, match=r"has 2 tasks: say which of them is to move, as 1\.0"):
        asked(grid, None)
    with pytest.raises(NotFound, match="has the tasks 0 to 1, and no task 2"):
        asked(grid, 2)
    asked(grid, 1)
    with pytest.raises(Conflict, match="task 1 of job 1 is being moved from a to b already"):
        asked(grid, 0)


def test_a_task_that_is_over_is_not_moved() -> None:
    grid = pure()
    grid.end_mate()
    with pytest.raises(Conflict, match="task 0 of job 1 is COMPLETED: only one that runs can"):
        asked(grid, 0)


def test_tasks_keep_to_their_number_on_a_node() -> None:
    grid = pure()
    grid.disk[1] = replace(grid.job, spec={**grid.job.spec, "tasks_per_node": 1})
    grid.restart_manager()
    for name in grid.hosts:
        grid.exchange(name)
    grid.exchange_mate()
    with pytest.raises(Conflict, match="a has 1 of its tasks already, and may have 1"):
        asked(grid, 0, "a")


def test_the_others_can_be_signalled_meanwhile() -> None:
    grid = pure()
    asked(grid, 1)
    job = grid.job
    draft = Draft(grid.memory)
    with pytest.raises(Conflict, match="task 1 of job 1 is being moved from a to b"):
        ask(draft, job, Asked("USR1", "k", 1), "alice", grid.now)
    with pytest.raises(Conflict, match="whose release cannot send signals"):
        ask(draft, job, Asked("USR1", "k", 0), "alice", grid.now)

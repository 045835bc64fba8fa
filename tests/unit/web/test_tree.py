"""The cached tree: few fetches, last good one kept, nobody waits when something is known."""

from __future__ import annotations

import threading

from kcms.errors import ProtocolError
from kcms.web.tree import TreeSource
from kcms.wire.ganglia_xml import Grid
from tests.unit.web import trees


class Aggregator:
    """Answers with grids named 1, 2, …, or fails with what is set."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.now = 100.0

    def fetch(self) -> Grid:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return trees.grid(name=str(self.calls))

    def clock(self) -> float:
        return self.now


def name(source: TreeSource) -> str | None:
    grid = source.current().grid
    return None if grid is None else grid.name


def test_one_fetch_in_five_seconds() -> None:
    aggregator = Aggregator()
    source = TreeSource(aggregator.fetch, aggregator.clock)
    assert [name(source), name(source)] == ["1", "1"]
    aggregator.now += 4.9
    assert (name(source), round(source.current().age, 3)) == ("1", 4.9)
    aggregator.now += 0.1
    assert (name(source), source.current().age) == ("2", 0)
    assert aggregator.calls == 2


def test_a_failure_keeps_the_last_tree_and_says_why() -> None:
    aggregator = Aggregator()
    source = TreeSource(aggregator.fetch, aggregator.clock)
    source.current()
    for number, error in enumerate((ProtocolError("no XML"), ConnectionRefusedError(111, "no"))):
        aggregator.error = error
        aggregator.now += 10
        found = source.current()
        assert found.grid is not None
        assert (found.grid.name, found.age) == ("1", 10.0 * (number + 1))
        assert found.trouble == str(error)
    aggregator.error = None
    aggregator.now += 10
    assert (source.current().trouble, name(source)) == ("", "4")


def test_failures_are_not_repeated_for_every_reader() -> None:
    aggregator = Aggregator()
    aggregator.error = TimeoutError("slow")
    source = TreeSource(aggregator.fetch, aggregator.clock)
    assert [source.current().grid for _ in range(5)] == [None] * 5
    assert aggregator.calls == 1


def test_readers_do_not_wait_while_one_fetches() -> None:
    aggregator = Aggregator()
    started, proceed = threading.Event(), threading.Event()

    def slow() -> Grid:
        if aggregator.calls:
            started.set()
            assert proceed.wait(20)
        return aggregator.fetch()

    source = TreeSource(slow, aggregator.clock)
    source.current()
    aggregator.now += 10
    fetching = threading.Thread(target=source.current)
    fetching.start()
    assert started.wait(20)
    assert name(source) == "1"  # while the other is still at it
    proceed.set()
    fetching.join(20)
    assert name(source) == "2"

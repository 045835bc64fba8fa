"""What a move will take, from what earlier ones took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.jobs.freezing import COUNTED, Past, default, foretold
from kcms.jobs.migration import Migration

MB = 1_000_000
DONE = Migration(1, "a", "b", 2, "done", "alice", 1.0, bytes=50 * MB, freeze_seconds=0.4)


def took(times: float, source: str = "a", target: str = "b", size: int = 50 * MB) -> Past:
    """A move that took so many times what the default says."""
    return Past(source, target, size, times * default(size))


def test_before_the_first_move_there_is_a_default_that_grows_with_the_size() -> None:
    assert foretold(0, "a", "b", []) == default(0) > 0
    assert foretold(1000 * MB, "a", "b", []) == default(1000 * MB) > default(50 * MB)


@pytest.mark.parametrize(
    ("past", "ratio"),
    [
        ([took(2)], 2),
        ([took(2), took(3), took(20)], 3),
        ([took(2), took(9, "b", "a"), took(9, "c", "b")], 2),
        ([took(9, "b", "a"), took(3, "c", "b"), took(4, "c", "a")], 4),
        ([took(50)] * 20 + [took(2)] * COUNTED, 2),
        ([Past("a", "b", MB, 0.0)], 1),
    ],
)
def test_the_median_of_the_last_moves_between_the_two_counts(past: list[Past], ratio: int) -> None:
    assert foretold(200 * MB, "a", "b", past) == pytest.approx(ratio * default(200 * MB))


@given(st.integers(0, 1 << 44), st.lists(st.floats(0.001, 1e4), max_size=30))
def test_it_is_never_outside_of_what_was_seen(size: int, seen: list[float]) -> None:
    said = foretold(size, "a", "b", [took(each) for each in seen])
    low, high = (min(seen), max(seen)) if seen else (1.0, 1.0)
    assert low * default(size) * 0.999 <= said <= high * default(size) * 1.001


def test_only_a_move_that_was_made_and_measured_teaches_anything() -> None:
    assert Past.of(DONE) == Past("a", "b", 50 * MB, 0.4)
    for changes in ({"phase": "failed"}, {"bytes": None}, {"freeze_seconds": None}):
        assert Past.of(Migration(**{**vars(DONE), **changes})) is None
    assert Past.of(None) is None

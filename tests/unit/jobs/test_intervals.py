"""How often a task is saved."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from kcms.jobs.intervals import LEAST_COSTS, LEAST_SECONDS, Losses, interval, optimum


@given(st.floats(0.01, 1e4), st.floats(0, 1e9), st.integers(0, 1000))
def test_an_interval_keeps_to_its_bounds(spent: float, up: float, count: int) -> None:
    seconds, why = interval(spent, Losses(up, count))
    assert seconds >= max(LEAST_SECONDS, LEAST_COSTS * spent)
    assert "loss of a node" in why


def test_it_is_youngs_when_the_cost_is_small() -> None:
    assert math.isclose(optimum(1.0, 1e8), math.sqrt(2e8), rel_tol=1e-3)


def test_more_losses_make_it_shorter() -> None:
    assert interval(5.0, Losses(1e6, 50))[0] < interval(5.0, Losses(1e6, 1))[0]

"""Every move between states: the ones allowed, and no other."""

from __future__ import annotations

import pytest

from kcms.errors import Conflict
from kcms.jobs.states import MOVES, State, check_move

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


def test_the_final_states() -> None:
    assert {state.value for state in State if state.final} == FINAL


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_a_move_that_the_table_lacks_is_loud(before: State, after: State) -> None:
    if after in MOVES[before]:
        check_move(7, before, after)
    else:
        expected = f"job 7 is {before.value} and cannot become {after.value}"
        with pytest.raises(Conflict, match=expected):
            check_move(7, before, after)


def test_what_is_over_stays_over_and_running_may_go_back_to_the_queue() -> None:
    assert all(not MOVES[State(name)] for name in FINAL)
    assert State.PENDING in MOVES[State.RUNNING]
    assert State.RUNNING not in MOVES[State.COMPLETED]
    assert State.COMPLETED not in MOVES[State.PENDING]

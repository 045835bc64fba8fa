"""Load bands and states: Ganglia's limits, to the hundredth and the second."""

from __future__ import annotations

import pytest

from kcms.web.bands import BANDS, UNKNOWN, State, band, state


@pytest.mark.parametrize(
    ("load", "cpus", "key"),
    [
        (0.0, 4, "0"),
        (0.99, 4, "0"),
        (1.0, 4, "1"),
        (1.99, 4, "1"),
        (2.0, 4, "2"),
        (2.99, 4, "2"),
        (3.0, 4, "3"),
        (4.0, 4, "3"),
        (4.01, 4, "4"),
        (0.6, 0, "2"),
        (0.6, None, "2"),
        (None, 4, "none"),
    ],
)
def test_band_by_load_per_cpu(load: float | None, cpus: float | None, key: str) -> None:
    assert band(load, cpus).key == key


@pytest.mark.parametrize(
    ("silence", "tmax", "expected"),
    [
        (0, 20, State.UP),
        (20, 20, State.UP),
        (20.1, 20, State.LATE),
        (79.9, 20, State.LATE),
        (80, 20, State.DOWN),
        (80, 60, State.LATE),
        (21, 0, State.LATE),
        (80, 0, State.DOWN),
    ],
)
def test_state_by_silence(silence: float, tmax: float, expected: State) -> None:
    assert state(silence, tmax) is expected


def test_bands_differ_by_more_than_colour() -> None:
    told = [(each.bars, each.key == "4") for each in (UNKNOWN, *BANDS)]
    assert len(set(told)) == len(told)  # bars, and the triangle of the last one

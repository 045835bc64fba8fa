"""A grid of its own for a longer and rougher run: six hosts, one cluster, short patience."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.chaos.run import TIMES
from tests.e2e.grid import Grid

STANDING = os.environ.get("KCMS_CHAOS_LAB")
"""A lab that stands and is rolled out already, for work on the tests; it is left as it is."""


@pytest.fixture(scope="session")
def grid() -> Iterator[Grid]:
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root")
    grid = Grid(STANDING or "chaos", "head alpha=5", clusters=("alpha",))
    grid.up(fresh=not STANDING)
    try:
        settings = {"kcms_config": {"manager": TIMES}}
        grid.playbook("site.yml", "-e", json.dumps(settings))
        yield grid
    finally:
        if not STANDING:
            grid.down()

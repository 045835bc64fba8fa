"""Random faults over six hosts with 2,000 jobs: `make chaos`, half an hour at the most.

The seed is printed; KCMS_CHAOS_SEED plays the same faults and jobs again, KCMS_CHAOS_JOBS has more
or fewer of these.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.chaos.run import chaos
from tests.e2e.grid import Grid

HOSTS = ("head", "alpha1", "alpha2", "alpha3", "alpha4", "alpha5")
SECONDS = 1500.0


@pytest.mark.chaos
def test_no_job_is_lost_doubled_or_wrong(grid: Grid) -> None:
    seed = int(os.environ.get("KCMS_CHAOS_SEED") or time.time())
    count = int(os.environ.get("KCMS_CHAOS_JOBS") or 2000)
    chaos(grid, HOSTS, count, seed, SECONDS)

"""A short run of `make chaos` on the grid that stands: the same jobs, faults and audit, fewer."""

from __future__ import annotations

from tests.chaos.run import TIMES, chaos
from tests.e2e.grid import Grid

SEED = 2003
JOBS = 120
HOSTS = ("head", "alpha1", "alpha2", "alpha3")


def test_no_job_is_lost_doubled_or_wrong(three: Grid) -> None:
    with three.managed("\n".join(f"{name} = {seconds}" for name, seconds in TIMES.items())):
        chaos(three, HOSTS, JOBS, SEED, 300.0)

"""One grid for all end-to-end tests: lab hosts, rolled out once, removed at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.e2e.grid import Grid

STANDING = os.environ.get("KCMS_E2E_LAB")
"""A lab that stands and is rolled out already, for work on the tests; it is left as it is."""

LAB = STANDING or "e2e"
HOSTS = "head alpha=3"
THIRD = "alpha3"
"""A node that is out of use but for the tests that take three, see :func:`three`."""

STRANGER, FRIEND = "beta1", "beta2"
"""The nodes of a second cluster, the first on the older of the two supported Debian releases."""


@pytest.fixture(scope="session")
def grid() -> Iterator[Grid]:
    """The grid, after its first rollout."""
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root")
    grid = Grid(LAB, HOSTS, clusters=("alpha", "beta"))
    if STANDING:
        grid.inventory = grid.lab("inventory").strip()
        out_of_use(grid)
        yield grid
        return
    try:
        grid.up()
        grid.lab("add", STRANGER, "--root", "prepared", "--release", "bookworm")
        grid.lab("add", FRIEND, "--root", "prepared")
        grid.first = grid.playbook("site.yml")
        out_of_use(grid)
        yield grid
    finally:
        grid.down()


def out_of_use(grid: Grid) -> None:
    grid.kcms("head", "drain", THIRD, "--cluster", "alpha", "--reason", "for tests of three nodes")


@pytest.fixture
def three(quiet: Grid) -> Iterator[Grid]:
    """The grid with three nodes of alpha in use."""
    quiet.kcms("head", "resume", THIRD, "--cluster", "alpha")
    yield quiet
    out_of_use(quiet)


@pytest.fixture
def quiet(grid: Grid) -> Iterator[Grid]:
    """The grid with no job running: whatever a test leaves is killed after it."""
    yield grid
    for cluster in grid.clusters:
        for job in grid.jobs(cluster):
            if job["state"] in ("PENDING", "RUNNING", "SUSPENDED"):
                grid.kcms("head", "kill", str(job["id"]), "--cluster", cluster, check=False)
    grid.wait(lambda: not grid.active_jobs(), "all jobs to end")


@pytest.fixture
def movers(quiet: Grid) -> Grid:
    """The grid, once every node of alpha has found out that its criu works."""

    def known() -> bool:
        nodes = json.loads(quiet.kcms("head", "nodes", "--cluster", "alpha", "--json").stdout)
        return all(each["mover"].get("trouble") == "" for each in nodes["nodes"])

    quiet.wait(known, "criu to be tried on every node")
    return quiet

"""One grid for all end-to-end tests: lab hosts, rolled out once, removed at the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.e2e.grid import Grid

STANDING = os.environ.get("KCMS_E2E_LAB")
"""A lab that stands and is rolled out already, for work on the tests; it is left as it is."""

LAB = STANDING or "e2e"
HOSTS = "head alpha=3"
USUAL, THIRD = ("alpha1", "alpha2"), "alpha3"
"""The nodes that tests use, and one that is out of use but for those that take three, see
:func:`three`."""

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
    quiet.await_idle(*USUAL, THIRD)
    yield quiet
    out_of_use(quiet)


@pytest.fixture
def quiet(grid: Grid) -> Iterator[Grid]:
    """The grid with no job running and two nodes of alpha that take some: whatever a test leaves
    is killed after it."""
    grid.await_idle(*USUAL)
    yield grid
    left = grid.active_jobs()
    for job in left:
        grid.kcms("head", "kill", str(job["id"]), "--cluster", job["cluster"], check=False)
    if left:
        grid.wait(lambda: not grid.active_jobs(), "all jobs to end")


@pytest.fixture
def movers(quiet: Grid) -> Grid:
    """The grid, once every node of alpha has found out that its criu works."""

    def known() -> bool:
        found = {each["name"] for each in quiet.nodes() if each["mover"].get("trouble") == ""}
        return found.issuperset((*USUAL, THIRD))

    quiet.wait(known, "criu to be tried on every node")
    return quiet


@pytest.fixture(scope="session")
def url(grid: Grid) -> str:
    """Of the page."""
    return f"https://{grid.address('head')}:8443"


@pytest.fixture(scope="session")
def passwords(grid: Grid) -> dict[str, str]:
    """Passwords that the users set themselves, by the command that is for it."""
    found = {}
    for user in ("alice", "bob"):
        found[user] = secrets.token_urlsafe(12)
        command = f"echo {found[user]} | kcms web-password --stdin"
        assert grid.shell("alpha1", command, user=user).returncode == 0
    return found

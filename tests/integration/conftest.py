"""A manager over real TLS, and who calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.managed import FakeNode, Grid, Peer


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[Grid]:
    made = Grid(tmp_path)
    async with made.running():
        yield made


@pytest.fixture
async def alice(grid: Grid) -> AsyncIterator[Peer]:
    async with grid.peer("alpha1", "alice") as peer:
        yield peer


@pytest.fixture
async def bob(grid: Grid) -> AsyncIterator[Peer]:
    async with grid.peer("alpha2", "bob") as peer:
        yield peer


@pytest.fixture
async def root(grid: Grid) -> AsyncIterator[Peer]:
    async with grid.peer("head", "root") as peer:
        yield peer


@pytest.fixture
async def node(grid: Grid) -> AsyncIterator[FakeNode]:
    async with grid.peer("alpha1") as peer:
        yield FakeNode(peer)

"""A page whose browser nobody, or alice, is logged in with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fake_gateway import FakeGateway, World
from tests.integration.page.face import Page, Site


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    running = FakeGateway(tmp_path / "api.sock")
    yield running
    running.close()


@pytest.fixture
def world(gateway: FakeGateway) -> World:
    return gateway.world


@pytest.fixture
def site(gateway: FakeGateway, tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, gateway.path)
    yield built
    built.close()


@pytest.fixture
def page(site: Site) -> Page:
    return Page(site.app())


@pytest.fixture
def alice(page: Page) -> Page:
    assert page.login().status_code == 303
    page.get("/")  # takes the words of welcome
    return page

"""Managers that hang and users who ask all the time leave room for the others."""

from __future__ import annotations

import threading

import pytest

from kcms.web import gateway as gateway_module
from tests.integration.fake_gateway import World
from tests.integration.page.face import (
    HTTPS,
    SESSION,
    Page,
    Site,
    said,
    until,
)


def start(asking: list[threading.Thread], site: Site, cluster: str) -> None:
    """Start these, and wait until each holds a place at the cluster."""
    wanted = site.gateway._clusters.held(cluster) + len(asking)
    for thread in asking:
        thread.start()
    until(lambda: site.gateway._clusters.held(cluster) == wanted)


def test_one_address_that_logs_in_all_the_time_leaves_room_for_others(
    site: Site, world: World
) -> None:
    gate = world.gates["alpha"] = threading.Event()
    found: list[int] = []

    def log_in(address: str) -> int:
        page = Page(site.app())
        page.client.environ_base["REMOTE_ADDR"] = address
        return page.login().status_code

    hold = [threading.Thread(target=lambda: found.append(log_in("10.0.0.1"))) for _ in range(2)]
    for thread in hold:
        thread.start()
    until(lambda: site.gateway._addresses.held("10.0.0.1") == 2)
    assert log_in("10.0.0.1") == 503
    hold.append(threading.Thread(target=lambda: found.append(log_in("10.0.0.2"))))
    hold[-1].start()
    until(lambda: site.gateway._logins.held("") == 3)
    gate.set()
    for thread in hold:
        thread.join(60)
    assert found == [303] * 3
    assert site.gateway._addresses.held("10.0.0.1") == 0


def test_a_manager_that_hangs_keeps_no_other_waiting(
    alice: Page, site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "PLACE_SECONDS", 0.05)
    found: list[int] = []

    def ask(page: Page) -> None:
        cookie = {"Cookie": f"{SESSION}={page.cookie()}"}
        client = site.app().test_client(use_cookies=False)
        url = "/cluster/alpha/processes"
        found.append(client.get(url, base_url=HTTPS, headers=cookie).status_code)

    bob, root = Page(site.app()), Page(site.app())
    bob.login("bob", "battery staple")
    root.login("root", "grid root")
    asking = [
        threading.Thread(target=ask, args=(each,)) for each in [alice] * gateway_module.OF_ONE_USER
    ]
    gate = world.gates["alpha"] = threading.Event()
    start(asking, site, "alpha")
    busy = alice.get("/cluster/alpha/results")
    assert busy.status_code == 503
    assert "alpha has not answered earlier calls of yours yet" in said(busy)
    asking.append(threading.Thread(target=ask, args=(bob,)))
    start(asking[-1:], site, "alpha")
    assert site.gateway._clusters.held("alpha") == gateway_module.PLACES
    busy = root.get("/cluster/alpha/results")
    assert busy.status_code == 503
    assert "the manager of alpha has not answered earlier calls yet" in said(busy)
    assert alice.get("/cluster/beta/processes").status_code == 200
    assert found == []
    gate.set()
    for thread in asking:
        thread.join(60)
    assert found == [200] * gateway_module.PLACES

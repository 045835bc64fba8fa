"""What managers say of nodes, asked beside the pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kcms.errors import Unavailable
from kcms.web import nodestates
from kcms.web.nodestates import NodeStates, NodeWork


class Managers:
    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.rows: list[dict[str, Any]] = [{"name": "n1", "slots": 2, "used": 1}]
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, cluster: str) -> list[dict[str, Any]]:
        self.asked.append(cluster)
        self.gate.wait(10)
        if self.error:
            raise self.error
        return self.rows


@pytest.fixture
def managers() -> Iterator[Managers]:
    found = Managers()
    yield found
    found.gate.set()


def settle(states: NodeStates, cluster: str) -> None:
    """Wait until nothing is being asked."""
    asking = states._known[cluster].asking
    if asking is not None:
        assert asking.wait(10)


def test_asked_once_for_many_pages_and_again_when_old(managers: Managers) -> None:
    states = NodeStates(managers.ask, lambda: managers.now, moment=10)
    assert states.of(["alpha"])["alpha"]["n1"].used == 1
    assert states.of(["alpha"])["alpha"]["n1"].used == 1
    assert managers.asked == ["alpha"]
    managers.now += nodestates.MAX_AGE
    managers.rows = [{"name": "n1", "slots": 2, "used": 2}]
    assert states.of(["alpha"])["alpha"]["n1"].used == 2
    assert managers.asked == ["alpha", "alpha"]


def test_a_silent_manager_costs_a_moment_once(managers: Managers) -> None:
    states = NodeStates(managers.ask, lambda: managers.now, moment=0.05)
    managers.gate.clear()
    assert states.of(["alpha"])["alpha"] == {}
    known = states._known["alpha"]
    assert known.prompt is False
    managers.now += nodestates.MAX_AGE
    assert states._due("alpha") is None  # asked already, and nobody waits
    managers.error = Unavailable("the manager of alpha did not answer")
    managers.gate.set()
    settle(states, "alpha")
    assert states.trouble("alpha") == "the manager of alpha did not answer"
    managers.now += nodestates.MAX_AGE
    assert states._due("alpha") is None  # asked again, and nobody waits
    settle(states, "alpha")
    assert len(managers.asked) == 2


def test_what_is_known_is_forgotten_after_a_while(managers: Managers) -> None:
    states = NodeStates(managers.ask, lambda: managers.now, moment=10)
    assert "n1" in states.of(["alpha"])["alpha"]
    managers.error = Unavailable("gone")
    managers.now += nodestates.FORGOTTEN - 1
    assert "n1" in states.of(["alpha"])["alpha"]
    settle(states, "alpha")
    managers.now += 1
    assert states.of(["alpha"])["alpha"] == {}


def test_nonsense_of_a_manager_is_trouble(managers: Managers) -> None:
    managers.rows = [{"slots": 1}]
    states = NodeStates(managers.ask, lambda: managers.now, moment=10)
    assert states.of(["alpha"])["alpha"] == {}
    assert states.trouble("alpha")


def test_sentences() -> None:
    row = {"availability": "drained", "drained": True, "drain_reason": "fan", "slots": 2, "used": 1}
    assert NodeWork.of(row).sentence == "drained: fan; 1 of 2 slots used"
    assert NodeWork.of(row).document() == row
    assert NodeWork.of({"availability": "idle", "slots": 4}).sentence == "idle, 0 of 4 slots used"

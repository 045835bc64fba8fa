"""``kcms balance``: what people read of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcms.cli import main, options
from kcms.client import ClientError
from kcms.manager import balance_told
from tests.unit.cli.test_commands import Scripted
from tests.unit.manager.crowd import Crowd, Work
from tests.unit.manager.test_balance import MARKS


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted.answers, Scripted.asked = {}, []
    monkeypatch.setattr(options, "Client", Scripted)


def told(on: bool = True, refuses: bool = False) -> dict[str, Any]:
    """As a manager answers."""
    world = Crowd("a", "b", marks=MARKS if on else None)
    world.crowd("a", Work(), Work(), Work())
    if refuses:
        world.refuses["a", "check"] = "a\x1b[2Jlock"
    world.pass_time(120)
    answer: dict[str, Any] = json.loads(json.dumps(balance_told.document(world.memory, None)))
    return answer


def test_one_that_is_off_says_how_to_switch_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers = {"/v1/balance": told(on=False)}
    assert main(["balance", "-M", "alpha"]) == 0
    assert capsys.readouterr().out == (
        "balancing is off: kcms_balance, or balance in the manager's settings, is not set\n"
    )
    assert Scripted.asked == [("GET /v1/balance", "alpha", None, {})]


def test_nodes_and_decisions_are_told_with_their_reasons(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Scripted.answers = {"/v1/balance": told()}
    assert main(["balance"]) == 0
    marks, _, header, a, b, _, why, _, first, second, third = capsys.readouterr().out.splitlines()
    assert marks.startswith("balancing is on: a node gives above 1.2 CPUs wanted for each that it")
    assert header.split() == ["NODE", "ROLE", "CPUS", "PRESSURE", "ABOVE", "BELOW"]
    assert (a.split()[:4], b.split()[:4]) == (
        ["a", "listening", "2", "1.00"],
        ["b", "listening", "2", "0.50"],
    )
    assert why.startswith("nothing moves now: no node was listened to for 60 s yet")
    assert "nothing moves: no node was listened to" in first
    assert "  job 1 from a (1.50 for each CPU) to b (0.00): expected to run for 6" in second
    assert second.endswith(": done, stood still for 1.0 s")
    assert third.endswith("since this manager began or something moved")


def test_what_stays_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answer = told(refuses=True)
    answer["staying"] = [{"job": 1, "task": 0, "user": "alice", "message": "a\x1b[2Jlock"}]
    Scripted.answers = {"/v1/balance": answer}
    assert main(["balance"]) == 0
    out = capsys.readouterr().out
    assert "TASK  USER   STAYS AS\n1.0   alice  a?[2Jlock\n" in out
    assert "\x1b" not in out
    assert main(["balance", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_an_older_manager_cannot_tell(capsys: pytest.CaptureFixture[str]) -> None:
    Scripted.answers = {"/v1/balance": ClientError("not_found", "Not Found", 404)}
    assert main(["balance"]) == 1
    assert capsys.readouterr().err == (
        "kcms: this cluster's manager, or this host's gateway, is of a release that does not "
        "balance\n"
    )

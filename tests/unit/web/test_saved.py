"""What the page says of a job's checkpoints, and which buttons it has."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.web import saved
from tests.unit.cli.test_saves import IMAGE, MADE, SAVING, WAITING
from tests.unit.cli.test_saves import saved as job

NOW = 1800.0
LAST = {"task": 0, **IMAGE}
BOTH = ["checkpoint", "restart"]


def buttons(found: dict[str, Any]) -> list[str]:
    return [value for value, _ in saved.offered({"migration": None, "fate": None, **found})]


def with_spec(found: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**found, "spec": {**found["spec"], **spec}}


def test_what_is_known_is_said_in_words() -> None:
    told = job(MADE, rung="transparent", why="it goes on from its last checkpoint", last=LAST,
               interval=600.0, interval_why="10 minutes\x1b as asked for")  # fmt: skip
    assert saved.facts(told, NOW) == [
        ("Safety", "transparent: it goes on from its last checkpoint"),
        ("Last checkpoint", "number 3, 5 minutes ago on alpha2: 52 MB, it stood still for 0.38 s"),
        ("Saved every", "00:10:00 (10 minutes\u241b as asked for)"),
    ]
    told = job({}, WAITING, signalled=1740.0, failure="no room", note="x")
    assert dict(saved.facts(told, NOW)) == {
        "Safety": "beginning: no checkpoint was asked for",
        "Last checkpoint": "asked to save itself 1 minute ago",
        "Being saved": "tasks 1, asked for by alice 5 minutes ago",
        "Not saved": "no room",
        "Begun from": "x",
    }
    assert dict(saved.facts({**told, "state": "FAILED"}, NOW)).keys() == {"Not saved", "Begun from"}


def test_a_manager_of_before_says_and_offers_nothing() -> None:
    old = job({})
    del old["checkpoint"]
    assert (saved.facts(old, NOW), buttons(old), saved.is_under_way(old)) == ([], [], False)


@pytest.mark.parametrize(
    ("found", "offered"),
    [
        (job({}), ["checkpoint"]),
        ({**job({}), "state": "SUSPENDED"}, ["checkpoint"]),
        (job(MADE, last=LAST), BOTH),
        (with_spec(job({}), checkpoint_signal="USR1"), BOTH),
        (with_spec(job({}), restart_from_checkpoint=True), BOTH),
        (job(WAITING), []),
        (job({**MADE, "saving": SAVING}, last=LAST), ["restart"]),
        (job({**MADE, "restart_by": "alice"}, last=LAST), []),
        (job(WAITING, {}), ["checkpoint"]),
        ({**job(MADE, last=LAST), "state": "PENDING"}, []),
        ({**job(MADE, last=LAST), "killed_by": "alice"}, []),
        ({**job(MADE, last=LAST), "fate": {"state": "PENDING"}}, []),
        (with_spec(job({}), interactive="terminal"), []),
        (with_spec(job({}, {}), **{"class": "parallel"}), []),
        (
            {**job(MADE, last=LAST), "migration": {"end_time": None, "check_only": False}},
            ["restart"],
        ),
    ],
)
def test_only_what_could_work_is_offered(found: dict[str, Any], offered: list[str]) -> None:
    assert buttons(found) == offered


def test_a_page_that_soon_changes_is_known() -> None:
    assert not saved.is_under_way(job(MADE))
    assert saved.is_under_way(job(WAITING))
    assert saved.is_under_way(job({"restart_by": "alice"}))

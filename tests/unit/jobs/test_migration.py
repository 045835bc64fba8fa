"""What manager and nodes say of moves and processes: taken when well-formed, refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import ProtocolError
from kcms.jobs.migration import OVER, STEPS, Migration, MoveReport, WantedMove
from kcms.jobs.model import NodeReport
from kcms.jobs.processes import Process

WANTED = WantedMove(
    *(1, 0, 2, "aaaaaaaa", 3, "admit", "a", "b", "alice", 2001, 2001),
    spec={"executable": "/shared/x"},
    data={"files": [{"path": "/lib/x"}]},
)
SAID = MoveReport(1, 0, 2, "aaaaaaaa", 3, "admit", False, "no room", False, {"free": 7})
PROCESS = Process(77, 5, "sh", 1, 0, 2, "aaaaaaaa", True)


@pytest.mark.parametrize("value", [WANTED, SAID, replace(SAID, ok=None), PROCESS])
def test_it_survives_the_wire(value: Any) -> None:
    assert type(value).parse(json.loads(json.dumps(value.document()))) == value
    assert type(value).parse({**value.document(), "new": 1}) == value


@pytest.mark.parametrize(
    ("value", "changes", "word"),
    [
        (WANTED, {"step": "eat"}, "one of check, admit, dump, restore"),
        (WANTED, {"data": []}, "data must be a table"),
        (WANTED, {"store": "x"}, "8 hexadecimal digits"),
        (SAID, {"ok": "yes"}, "ok must be true, false or null"),
        (SAID, {"ok": 1}, "ok must be true, false or null"),
        (SAID, {"number": -1}, "number must be a whole number"),
        (SAID, {"message": 7}, "message must be a text"),
        (SAID, {"step": ["dump"]}, "step must be one of"),
        (PROCESS, {"pid": "7"}, "pid must be a whole number"),
        (PROCESS, {"name": None}, "name must be a text"),
    ],
)
def test_nonsense_is_refused_by_name(value: Any, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ProtocolError, match=word):
        type(value).parse({**value.document(), **changes})


def test_a_release_that_cannot_move_jobs_says_nothing_of_it() -> None:
    said = NodeReport.parse({"boot_id": "b", "release": "1", "slots": 2, "load": {}})
    assert (said.moves, said.processes, said.mover) == ((), (), {})


def test_who_acts_in_each_phase() -> None:
    begun = Migration(1, "a", "b", 2, "checking", "alice", 1.0, told={"check": {}})
    acts = {
        phase: (replace(begun, phase=phase).step, replace(begun, phase=phase).actor)
        for phase in STEPS
    }
    assert acts == {
        "checking": ("check", "a"),
        "preparing": ("admit", "b"),
        "dumping": ("dump", "a"),
        "restoring": ("restore", "b"),
    }
    assert not begun.over
    for phase in OVER:
        ended = begun.ended(phase, "why", 2.0)
        assert (ended.over, ended.end_time, ended.told) == (True, 2.0, {})
        assert "told" not in ended.document()


def test_of_a_node_s_means_only_what_is_known_is_taken() -> None:
    node = {"boot_id": "b", "release": "1", "slots": 2, "load": {}}
    said = NodeReport.parse({**node, "mover": {"criu": "4.1", "new": "x" * 9000}})
    assert said.mover == {"criu": "4.1"}
    with pytest.raises(ProtocolError, match="trouble must be a text"):
        NodeReport.parse({**node, "mover": {"trouble": None}})


@pytest.mark.parametrize(("depth", "taken"), [(15, True), (16, False), (900, False)])
def test_the_answer_of_a_step_is_not_nested_deep(depth: int, taken: bool) -> None:
    data: dict[str, Any] = {}
    for _ in range(depth):
        data = {"in": [data]} if depth > 100 else {"in": data}
    said = {"job": 1, "task": 0, "epoch": 1, "number": 1, "step": "check", "ok": True}
    if taken:
        assert MoveReport.parse({**said, "data": data}).data == data
    else:
        with pytest.raises(ProtocolError, match="data is nested deeper than 16"):
            MoveReport.parse({**said, "data": data})

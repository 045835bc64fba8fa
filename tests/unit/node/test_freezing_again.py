"""A job is frozen again when one of its processes was just starting another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.node import dumping
from kcms.node.dumping import Dump, is_uninterruptible
from kcms.node.move_error import MoveError


def frozen(monkeypatch: pytest.MonkeyPatch, waits: list[bool]) -> tuple[Dump, list[str]]:
    """A dump of a job that waits for a child as often as ``waits`` says, and what is done to it."""
    done: list[str] = []
    group: Any = SimpleNamespace(
        is_held=lambda _: False,
        hold=lambda _: done.append("hold"),
        release=lambda _: done.append("release"),
        await_frozen=lambda *_: True,
    )
    monkeypatch.setattr(dumping, "cgroup", group)
    monkeypatch.setattr(dumping, "waiting_for_child", lambda _: waits.pop(0))
    monkeypatch.setattr(dumping, "FREEZE_AGAIN", 0.0)
    plan: Any = SimpleNamespace(cgroup="/job/task", watch=lambda: None, directory=Path("/none"))
    dump = Dump.__new__(Dump)
    dump.plan, dump.touched = plan, False
    return dump, done


def test_a_job_that_waits_for_no_child_is_frozen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dump, done = frozen(monkeypatch, [False])
    dump._freeze()
    assert done == ["hold"]


def test_a_job_that_waits_for_a_child_is_let_go_and_frozen_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dump, done = frozen(monkeypatch, [True, True, False])
    dump._freeze()
    assert done == ["hold", "release", "hold", "release", "hold"]


def test_one_that_waits_for_ever_goes_on_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dump, done = frozen(monkeypatch, [True] * dumping.FREEZES)
    with pytest.raises(MoveError, match="waits all the time for a child"):
        dump._freeze()
    assert done[-1] == "release"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("7 (sh) D 1 7", True), ("7 (a) D (b) S 1 7", False), ("7 (x) R 1", False), ("", False)],
)
def test_the_state_stands_behind_the_name(line: str, wanted: bool) -> None:
    assert is_uninterruptible(line) is wanted

"""What is left of a move is tidied away, also on a host that no longer knows the owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcms.errors import Forbidden
from kcms.jobs.migration import WantedMove
from kcms.node import admit, durable, mover
from kcms.node.move_plan import Plan

MOVE = WantedMove(
    7, 0, 2, "5e1f0a2b", 1, "restore", "alpha1", "alpha2", "alice", 2001, 2001, {},
    {"image": "/s/alice/.kcms/7.1-x.image"},
)  # fmt: skip


def test_a_host_that_does_not_know_the_owner_leaves_the_image_to_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*_: object) -> None:
        raise Forbidden("user alice is unknown on alpha2")

    monkeypatch.setattr(admit, "resolve", unknown)
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "pages-1.img").write_text("x")
    plan = Plan(MOVE, tmp_path, "alpha2", ["/s"], "/criu", {})
    assert mover._clean(plan) == 0
    assert durable.read(str(tmp_path), "cleaned") is not None
    assert not (tmp_path / "image").exists()
    assert capsys.readouterr().err == "user alice is unknown on alpha2\n"

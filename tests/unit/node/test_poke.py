"""Waking the node daemon, and the line that says what a step took."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kcms.node.laps import Laps
from kcms.node.poke import POKE, poke


def test_a_byte_comes_for_a_record_of_a_task_or_a_move(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / POKE)
    listening = os.open(tmp_path / POKE, os.O_RDWR | os.O_NONBLOCK)
    for kind in ("tasks", "moves"):
        poke(str(tmp_path / kind / "7.0.1-5e1f0a2b"))
        assert os.read(listening, 10) == b"."
    os.close(listening)


def test_without_a_daemon_nothing_waits_or_fails(tmp_path: Path) -> None:
    poke(str(tmp_path / "tasks/a"))
    os.mkfifo(tmp_path / POKE)
    poke(str(tmp_path / "tasks/a"))


def test_parts_are_told_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    laps = Laps("dump")
    laps.lap("look")
    laps.lap("criu")
    laps.tell()
    words = capsys.readouterr().err.split()
    assert words[:3] == ["dump", "took:", "look"]
    assert words[5] == "criu"

"""What a child tells of a file of its user, and how much that may cost."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kcms.gateway import pour
from kcms.gateway.check import CheckError

HUGE = 1 << 42
"""Bytes of a file without content: what reads all of it takes an hour."""


def asked(act: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"act": act, "name": "output", "path": str(path), "begin": None, "size": None, **more}


def told(request: dict[str, Any]) -> dict[str, Any]:
    """The line that answers a request."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = threading.Thread(target=pour.pour, args=(request, theirs.fileno()))
        child.start()
        with ours.makefile("rb") as lines:
            line = lines.readline()
        child.join()
    return dict(json.loads(line))


def sparse(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


def test_a_look_ends_when_nobody_waits_for_it(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    request = asked("look", sparse(tmp_path / "huge", HUGE))
    child = threading.Thread(target=pour.pour, args=(request, theirs.fileno()), daemon=True)
    with theirs:
        with ours:
            ours.shutdown(socket.SHUT_WR)  # as the gateway does: that is no end
            child.start()
            time.sleep(0.2)
            assert child.is_alive()
        child.join(5)
        assert not child.is_alive()


def test_the_end_of_a_file_is_of_a_bounded_size(tmp_path: Path) -> None:
    path = sparse(tmp_path / "huge", HUGE)
    for size in (None, 1 << 53, pour.TAIL_BYTES):
        found = told(asked("tail", path, size=size))
        assert (found["size"], len(found["text"])) == (HUGE, pour.TAIL_BYTES)


def test_the_end_is_that_of_the_file_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "out", tmp_path / "other"
    path.write_text("mine")
    other.write_text("other")
    opened = pour._opened

    def swapped(request: dict[str, Any]) -> int:
        file = opened(request)
        path.unlink()
        path.symlink_to(other)
        return file

    monkeypatch.setattr(pour, "_opened", swapped)
    assert told(asked("tail", path, size=100))["text"] == "mine"
    with pytest.raises(CheckError, match="symbolic link"):
        opened(asked("tail", path))

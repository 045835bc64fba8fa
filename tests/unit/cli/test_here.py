"""``kcms submit --stage`` on a host of the grid."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.cli.here import Here
from kcms.errors import InvalidRequest
from kcms.jobs import staged


def test_a_file_that_nodes_would_not_bring_is_refused_before_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"four")
    monkeypatch.setattr(staged, "SIZE_LIMIT", 3)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = {"home": str(tmp_path), "shared": ["/shared"], "brings": True}
    caller: Any = SimpleNamespace(places=lambda: told)
    here = Here(argparse.Namespace(stage_to=None), caller)
    with pytest.raises(InvalidRequest, match=f"input {path} has .* nodes bring up to"):
        here.staged({}, {"input": str(path)})
    assert list(tmp_path.iterdir()) == [path]

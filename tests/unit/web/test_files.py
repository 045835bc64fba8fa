"""From names to files: only what really lies in the directory, never out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcms.aggregator import rrd
from kcms.web.files import RrdFiles, Scope


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in ("rrd/__SummaryInfo__", "rrd/alpha/__SummaryInfo__", "rrd/alpha/alpha1", "secret"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "load_one.rrd").write_bytes(b"")
    (tmp_path / "rrd/alpha/alpha1/notes.txt").write_bytes(b"")
    (tmp_path / "rrd/alpha/alpha1/linked.rrd").symlink_to(tmp_path / "secret/load_one.rrd")
    (tmp_path / "rrd/alpha/linked").symlink_to(tmp_path / "secret")
    return tmp_path / "rrd"


@pytest.mark.parametrize(
    ("scope", "directory"),
    [
        (Scope(), "__SummaryInfo__"),
        (Scope("alpha"), "alpha/__SummaryInfo__"),
        (Scope("alpha", "alpha1"), "alpha/alpha1"),
    ],
)
def test_stored_metrics_of_each_scope(root: Path, scope: Scope, directory: str) -> None:
    assert RrdFiles(root).stored(scope) == {"load_one": root / directory / "load_one.rrd"}


@pytest.mark.parametrize(
    "scope",
    [
        Scope(".."),
        Scope("alpha", ".."),
        Scope("alpha", "../alpha1"),
        Scope("alpha", "../../secret"),
        Scope("../secret"),
        Scope("/etc"),
        Scope(""),
        Scope("alpha", ""),
        Scope("alpha", "a\0b"),
        Scope("alpha", "__SummaryInfo__"),
        Scope("__SummaryInfo__"),
        Scope("beta"),
        Scope("alpha", "linked"),
        Scope("alpha", "x" * 300),
    ],
)
def test_no_name_leads_out_or_follows_a_link(root: Path, scope: Scope) -> None:
    assert RrdFiles(root).stored(scope) == {}


@pytest.mark.parametrize("name", ["disk_/home", "50% used", ".hidden", "a:b\\c", "größe", "%41"])
def test_metrics_are_known_by_their_own_names(root: Path, name: str) -> None:
    path = rrd.metric_path(root, name, "alpha", "alpha1")
    path.write_bytes(b"")
    assert RrdFiles(root).stored(Scope("alpha", "alpha1"))[name] == path

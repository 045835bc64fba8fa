"""Whom a tree belongs to; as root, with ids that no account has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.host_owners import (
    give,
    has_strangers,
    strangers,
)

ROOT, DAEMON, OTHER = (0, 0), (64001, 64001), (64002, 64002)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def owner(path: Path) -> tuple[int, int]:
    there = path.lstat()
    return there.st_uid, there.st_gid


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """rrd/alpha/load.rrd, a link out of the tree, and a file that has a second name outside."""
    top = tmp_path / "rrd"
    (top / "alpha").mkdir(parents=True)
    (top / "alpha/load.rrd").write_text("x")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "outside").write_text("o")
    (top / "alpha/link").symlink_to(tmp_path / "outside")
    (top / "alpha/second").hardlink_to(tmp_path / "secret")
    return top


def test_all_that_is_plain_is_given_and_nothing_else(tree: Path) -> None:
    assert has_strangers(str(tree), DAEMON)
    give(str(tree), DAEMON)
    assert owner(tree / "alpha") == owner(tree / "alpha/load.rrd") == DAEMON
    for spared in (tree / "alpha/link", tree.parent / "outside", tree.parent / "secret"):
        assert owner(spared) == ROOT, spared
    assert not has_strangers(str(tree), DAEMON)


def test_root_takes_everything_but_what_a_link_points_to(tree: Path) -> None:
    give(str(tree), DAEMON)
    os.chown(tree / "alpha/link", *DAEMON, follow_symlinks=False)
    os.chown(tree.parent / "outside", *OTHER)
    assert has_strangers(str(tree), ROOT)
    give(str(tree), ROOT)
    assert {owner(path) for path in tree.rglob("*")} == {ROOT}
    assert owner(tree.parent / "outside") == OTHER
    assert not has_strangers(str(tree), ROOT)


def test_directories_come_after_what_is_in_them(tree: Path) -> None:
    names = [each.name for each in strangers(str(tree), DAEMON)]
    assert names.index("load.rrd") < names.index("alpha")

"""Whether the machine has enough inotify instances left for further hosts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lab import limits
from lab.errors import LabError


def process(proc: Path, number: int, targets: list[str]) -> None:
    descriptors = proc / str(number) / "fd"
    descriptors.mkdir(parents=True)
    for index, target in enumerate(targets):
        (descriptors / str(index)).symlink_to(target)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Two processes with three instances, and a limit of 16."""
    process(tmp_path, 1, ["/dev/null", "anon_inode:inotify", "anon_inode:inotify"])
    process(tmp_path, 71, ["anon_inode:[eventpoll]", "anon_inode:inotify"])
    process(tmp_path, 72, [])
    setting = tmp_path / "sys/fs/inotify/max_user_instances"
    setting.parent.mkdir(parents=True)
    setting.write_text("16\n")
    (tmp_path / "self").symlink_to("1")
    return tmp_path


def test_instances_of_one_user_are_counted(proc: Path) -> None:
    assert limits.used(os.geteuid(), proc) == 3
    assert limits.used(os.geteuid() + 1, proc) == 0


def test_hosts_that_fit_are_let_pass_and_one_more_is_not(proc: Path) -> None:
    limits.check_inotify(0, proc)
    limits.check_inotify(2, proc)
    with pytest.raises(LabError, match=r"^3 more hosts need 18 .* 13 of 16 are left.*=1024`$"):
        limits.check_inotify(3, proc)


@pytest.mark.parametrize(
    ("hosts", "limit", "taken", "left"),
    [(0, 128, 500, None), (25, 128, 0, None), (26, 128, 0, 128), (1, 128, 121, 7)],
)
def test_the_line_says_what_is_left(hosts: int, limit: int, taken: int, left: int | None) -> None:
    said = limits.shortage(hosts, limit, taken)
    assert "\n" not in said
    found = re.search(r"and (\d+) of", said)
    assert (int(found[1]) if found else None) == left


def test_what_is_proposed_is_enough() -> None:
    said = limits.shortage(400, 128, 50)
    proposed = int(said.rpartition("=")[2].strip("`"))
    assert limits.shortage(400, proposed, 50) == ""

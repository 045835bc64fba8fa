"""What a task may take of memory, on a /proc of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcms.jobs import model
from kcms.node import limits
from kcms.node.limits import Limits
from kcms.node.usage import PAGE_KIB


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two processes of 100 MiB each, of which 60 MiB are shared; one that has ended."""
    for pid in ("11", "12"):
        (tmp_path / pid).mkdir()
        pages = (100 << 10) // PAGE_KIB
        (tmp_path / pid / "statm").write_text(f"999999 {pages} 1 1 0 1 0\n")
        rollup = f"0-1 ---p [rollup]\nRss: 1 kB\nPss: {70 << 10} kB\n"
        (tmp_path / pid / "smaps_rollup").write_text(rollup)
    monkeypatch.setattr(limits.cgroup, "pids", lambda _: [11, 12, 13])
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, ""),
        ({"memory": 200}, ""),
        ({"memory": 140}, ""),  # what is shared counts once
        ({"memory": 139}, "it took 140 MiB of memory, and its limit is 139 MiB"),
        ({"rss_limit": 100}, ""),
        ({"rss_limit": 99}, "a process of it took 100 MiB of memory, and its RSS limit is 99 MiB"),
    ],
)
def test_what_is_too_much(task: Path, spec: dict[str, int], said: str) -> None:
    found = Limits(spec)
    assert bool(found) is bool(spec)
    assert found.exceeded("/task", str(task)) == said


def test_the_dear_look_has_a_share_of_the_time(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5, 105.0, 110.4, 110.6, 110.7])
    monkeypatch.setattr(limits.time, "monotonic", lambda: next(clock))
    looks: list[str] = []
    monkeypatch.setattr(limits, "_proportional", lambda path: looks.append(path) or 1)
    found = Limits({"memory": 150})
    for count in (3, 3, 3, 6):  # the processes of a look; the next is 20 times 0.5 s later
        assert found.exceeded("/task", str(task)) == ""
        assert len(looks) == count


def test_the_cause_is_the_one_that_the_manager_knows() -> None:
    assert limits.CAUSE == model.MEMORY_LIMIT

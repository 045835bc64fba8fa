"""How long a task may run when its node is not heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.model import LEASE_OVER
from kcms.node import lease


def of(directory: Path, seconds: float) -> lease.Lease:
    plan: dict[str, Any] = {"wanted": {"lease": seconds}, "runtime": str(directory)}
    return lease.Lease(plan, "boot")


def test_a_task_may_run_for_its_lease_after_the_node_was_heard(tmp_path: Path) -> None:
    lease.write(str(tmp_path), "boot", 1000.0)
    found = of(tmp_path, 60.0)
    assert found
    assert found.expired(1060.0) == ""
    assert "was ended to be begun anew" in found.expired(1061.5)
    lease.write(str(tmp_path), "boot", 1062.0)
    assert of(tmp_path, 60.0).expired(1100.0) == ""


def test_it_is_looked_at_once_a_second(tmp_path: Path) -> None:
    lease.write(str(tmp_path), "boot", 1000.0)
    found = of(tmp_path, 60.0)
    assert found.expired(1059.9) == ""
    assert found.expired(1060.5) == ""
    assert found.expired(1060.95) != ""


@pytest.mark.parametrize("text", [None, "", "boot", "other 1000.0\n", "boot nan-\n"])
def test_who_was_not_heard_in_this_boot_may_not_run(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / lease.NAME).write_text(text)
    assert of(tmp_path, 60.0).expired(1000.0) != ""


def test_without_a_lease_nothing_ends(tmp_path: Path) -> None:
    assert not of(tmp_path, 0.0)
    assert of(tmp_path, 0.0).expired(1e9) == ""


def test_init_and_manager_mean_the_same_by_the_cause() -> None:
    assert lease.CAUSE == LEASE_OVER

"""The policy that keeps new services down while packages are installed, and what is left of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils import packages_apt, packages_host

NOBODY = 2**22 + 1  # above the highest process id there can be
BEFORE = f"#!/bin/sh\n{packages_apt.POLICY_MARK}: nothing new is started\n"


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages_host, "POLICY", path)
    return path


def answer(policy: Path, action: str) -> int:
    return subprocess.run(["sh", policy, "some", action], check=False).returncode


def test_during_an_installation_nothing_new_starts(policy: Path) -> None:
    with packages_host._nothing_new_starts():
        assert answer(policy, "start") == 101
        assert answer(policy, "restart") == 0
        assert packages_host.interrupted() == []
    assert not policy.exists()


def test_a_policy_whose_installation_is_gone_allows_everything(policy: Path) -> None:
    policy.write_text(packages_apt.policy_text(NOBODY))
    assert answer(policy, "start") == 0


@pytest.mark.parametrize("text", [packages_apt.policy_text(NOBODY), BEFORE])
def test_what_a_broken_off_installation_left_is_taken_away(policy: Path, text: str) -> None:
    policy.write_text(text)
    assert packages_host.interrupted() == [policy]
    assert policy.exists()
    assert packages_host.forget_interrupted() == [str(policy)]
    assert not policy.exists()


def test_of_a_running_installation_and_of_others_nothing_is_taken(policy: Path) -> None:
    for text in (packages_apt.policy_text(os.getpid()), "#!/bin/sh\nexit 101\n"):
        policy.write_text(text)
        assert packages_host.forget_interrupted() == []
        assert policy.read_text() == text


def test_the_policy_of_others_is_left_in_force(policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 104\n")
    with packages_host._nothing_new_starts():
        assert answer(policy, "start") == 104
    assert policy.exists()

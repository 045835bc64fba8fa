"""What a wave of an upgrade is judged by, and that the upgrade rolls out what the rollout does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.kcms.cluster.plugins.module_utils.host_wave import (
    Task,
    node_problems,
    shown,
    task_problem,
    tasks_on,
)

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "playbooks"
BEFORE = Task("alpha", 7, 0, 1, "alpha1")


def job(state: str = "RUNNING", **task: Any) -> dict[str, Any]:
    row = {"index": 0, "epoch": 1, "node": "alpha1", "state": state, **task}
    return {"id": 7, "state": state, "tasks": [row]}


def node(name: str, state: str = "UP", release: str = "2") -> dict[str, Any]:
    return {"name": name, "state": state, "release": release}


def test_tasks_of_the_wave_alone_are_remembered() -> None:
    jobs = [job(), job(node="alpha2"), job("PENDING"), job("SUSPENDED")]
    assert tasks_on("alpha", ["alpha1"], jobs) == [BEFORE, BEFORE]


def test_nodes_must_be_up_with_the_release() -> None:
    seen = [node("a1"), node("a2", "DOWN"), node("a3", release="1"), node("other", "DOWN")]
    assert node_problems(["a1"], "2", seen) == []
    assert node_problems(["a1", "a2", "a3", "a4"], "2", seen) == [
        "a2 is DOWN at its manager",
        "a3 runs release 1 and not 2",
        "its manager does not know a4",
    ]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (job(), ""),
        (job("COMPLETED"), ""),
        (job("FAILED"), ""),
        (job("CANCELLED"), ""),
        (job(node="alpha2", epoch=2), ""),  # somebody moved it
        (job("NODE_FAIL"), "job 7 of alpha was lost on alpha1"),
        (job(epoch=2), "job 7 of alpha was started again on alpha1"),
    ],
)
def test_what_must_not_become_of_a_task(now: dict[str, Any], words: str) -> None:
    assert task_problem(BEFORE, now) == words


def test_many_problems_are_still_one_line() -> None:
    assert shown(list("abcdefg")) == "a; b; c; d; e; and 2 more"
    assert shown(["a"]) == "a"


def test_the_upgrade_has_the_roles_of_the_rollout() -> None:
    (rollout,) = yaml.safe_load((PLAYBOOKS / "site.yml").read_text())
    looked, *plays = yaml.safe_load((PLAYBOOKS / "upgrade.yml").read_text())
    waves = [play["roles"] for play in plays if "roles" in play]
    assert waves == [rollout["roles"][1:]] * 2
    assert looked["roles"] == rollout["roles"][:1]


@pytest.mark.parametrize(
    ("reached", "asked"),
    [(["a", "b"], "a"), (["b", "m"], "b"), ([], "a")],
)
def test_managers_are_asked_on_a_head_that_was_reached(reached: list[str], asked: str) -> None:
    text = yaml.safe_load((ROOT / "roles/upgrade/vars/main.yml").read_text())["upgrade_head"]
    template = jinja2.Environment(autoescape=False).from_string(text)
    site = {"heads": ["a", "b"]}
    assert template.render(kcms_site=site, upgrade_first_hosts=reached) == asked

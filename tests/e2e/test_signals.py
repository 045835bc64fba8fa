"""One process space: what runs anywhere is listed and signalled by one id from everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.e2e.grid import Grid

FAMILY = """#!/usr/bin/python3
import os, signal, sys, time
role = "root"
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, f"{role} USR1\\n".encode()))
signal.signal(signal.SIGHUP, lambda *_: os.write(1, f"{role} HUP\\n".encode()))
if os.fork() == 0:
    role = "child"
    if os.fork() == 0:
        role = "grandchild"
os.write(1, f"{role} ready\\n".encode())
while True:
    time.sleep(0.05)
"""
ROLES = ("root", "child", "grandchild")


def begin(grid: Grid) -> tuple[int, dict[str, dict[str, Any]], str]:
    """A job of alice with a child and a grandchild: its number, its processes, and a host that is
    neither its node nor the manager's."""
    program = grid.program("alice", "family.py", FAMILY)
    number = grid.submit("alice", "--output", "/shared/home/alice/family.%j", program)["id"]
    node = grid.wait_job(number, "RUNNING")["tasks"][0]["node"]
    third = "alpha1" if node == "alpha2" else "alpha2"
    grid.wait(lambda: len(said(grid, number, "ready")) == 3, "all three to be there")
    grid.wait(lambda: len(family(grid, number, third)) == 3, "all three to be listed")
    return number, family(grid, number, third), third


def family(grid: Grid, number: int, host: str) -> dict[str, dict[str, Any]]:
    """By role: each is the parent of the next."""
    done = grid.kcms(host, "ps", "--job", str(number), "--json", user="alice")
    rows = json.loads(done.stdout)["processes"]
    found: dict[str, dict[str, Any]] = {}
    parent: Callable[[dict[str, Any]], bool] = lambda row: row["root"]  # noqa: E731
    for role in ROLES:
        for row in filter(parent, rows):
            found[role] = row
        if role not in found:
            break
        pid = found[role]["pid"]
        parent = lambda row, pid=pid: row["ppid"] == pid  # noqa: E731
    return found


def said(grid: Grid, number: int, word: str) -> list[str]:
    path = f"/shared/home/alice/family.{number}"
    text = grid.shell("alpha1", f"cat {path} 2>/dev/null; true", user="alice").stdout
    return sorted(line.split()[0] for line in text.splitlines() if line.endswith(f" {word}"))


def test_processes_elsewhere_are_listed_by_one_id(quiet: Grid) -> None:
    number, found, third = begin(quiet)
    node = quiet.job(number)["tasks"][0]["node"]
    for row in found.values():
        assert row["id"] == f"{number}.0.{row['pid']}@{node}"
        assert (row["user"], row["threads"]) == ("alice", 1)
        assert row["rss_kib"] > 1000
        assert "family.py" in row["command"]
    pids = quiet.shell(node, "pgrep -u alice -f family.py").stdout.split()
    assert sorted(pids) == sorted(str(row["pid"]) for row in found.values())
    drawn = quiet.kcms(third, "ps", "--tree", "--job", str(number), user="alice").stdout
    lines = drawn.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [found[role]["id"] for role in ROLES]
    assert [" \\_ " in line for line in lines] == [False, True, True]
    chosen = quiet.kcms(third, "ps", "-o", "pid,ppid", "--node", node, user="alice").stdout
    assert f"{found['child']['pid']} {found['root']['pid']}" in " ".join(chosen.split())
    assert quiet.kcms(third, "ps", "--json", user="bob").stdout.count('"pid"') == 0
    assert str(found["root"]["id"]) in quiet.kcms("head", "ps", "--cluster", "alpha").stdout


def test_a_signal_reaches_one_process_once_whoever_is_killed(quiet: Grid) -> None:
    number, found, third = begin(quiet)
    node = quiet.job(number)["tasks"][0]["node"]
    child = found["child"]["id"]
    quiet.shell(node, "systemctl stop kcms-node")
    sent = quiet.kcms(third, "signal", "USR1", child, user="alice")
    assert sent.stdout == f"USR1 is on its way to process {child}\n"
    quiet.shell("head", "systemctl kill -s KILL kcms-manager@alpha")
    assert said(quiet, number, "USR1") == []
    quiet.shell(node, "systemctl start kcms-node")
    quiet.wait(lambda: said(quiet, number, "USR1"), "the signal")
    quiet.shell(node, "systemctl kill -s KILL kcms-node")
    quiet.shell("head", "systemctl kill -s KILL kcms-manager@alpha")

    def next_one() -> bool:
        return (
            quiet.kcms(third, "signal", "HUP", str(number), user="alice", check=False).returncode
            == 0
        )

    quiet.wait(next_one, "manager and node to be heard")
    quiet.wait(lambda: len(said(quiet, number, "HUP")) == 3, "the next signal")
    assert said(quiet, number, "USR1") == ["child"]
    assert said(quiet, number, "HUP") == sorted(ROLES)


def test_bob_signals_nobody_else_and_root_of_the_head_all(quiet: Grid) -> None:
    number, found, third = begin(quiet)
    process = found["grandchild"]["id"]
    for target in (str(number), f"{number}.0", process):
        for words in (("signal", "HUP", target), ("kill", target)):
            if words[0] == "kill" and target.endswith(".0"):
                continue
            refused = quiet.kcms(third, *words, user="bob", check=False)
            assert refused.returncode == 1
            assert f"there is no job {number} that bob may see" in refused.stderr
    refused = quiet.kcms(third, "signal", "HUP", process, user="root", check=False)
    assert refused.returncode == 1
    quiet.kcms("head", "signal", "HUP", process, "--cluster", "alpha")
    quiet.wait(lambda: said(quiet, number, "HUP"), "the signal")
    assert said(quiet, number, "HUP") == ["grandchild"]
    quiet.kcms(third, "kill", process, user="alice")
    quiet.wait(lambda: "grandchild" not in family(quiet, number, third), "it to have ended")
    assert quiet.job(number)["state"] == "RUNNING"
    answer = quiet.adhoc(
        third, "job_signal", signal="HUP", process=found["child"]["id"], user="alice"
    )
    assert (answer.result["changed"], answer.result["job"]["id"]) == (True, number)
    quiet.wait(lambda: said(quiet, number, "HUP") == ["child", "grandchild"], "the module's")
    ended = quiet.kcms(third, "kill", str(number), user="alice")
    assert ended.stdout == f"job {number} is being killed\n"

"""Processes as their node reports them, and signals to them, while daemons are killed."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.lab_node.host import ALICE, Host, job

FAMILY = """
import os, signal, sys, time
role = "root"
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, f"{role} USR1\\n".encode()))
signal.signal(signal.SIGHUP, lambda *_: os.write(1, f"{role} HUP\\n".encode()))
if sys.argv[1:] == ["ignore"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for each in ("one", "two"):
    if os.fork() == 0:
        role = each
        if each == "two":
            os.setsid()
        break
os.write(1, f"{role} ready\\n".encode())
while True:
    time.sleep(0.05)
"""


def begin(host: Host, number: int, *words: str) -> dict[str, dict[str, Any]]:
    """Start a family of three; as the node reports them: root, one, two."""
    host.run(f"cat > {ALICE}/family.py", given=FAMILY.encode())
    arguments = [f"{ALICE}/family.py", *words]
    host.want(job(number, "", executable="/usr/bin/python3", arguments=arguments))
    host.wait(lambda: len(said(host, number, "ready")) == 3, "all three to be there")
    return host.wait(lambda: family(host, number), "the node to report them")


def family(host: Host, number: int) -> dict[str, dict[str, Any]]:
    rows = [each for each in host.last_report().get("processes", []) if each["job"] == number]
    rows.sort(key=lambda row: (not row["root"], row["pid"]))
    return dict(zip(("root", "one", "two"), rows, strict=True)) if len(rows) == 3 else {}


def said(host: Host, number: int, word: str) -> list[str]:
    """Who said the word, in the order of the alphabet."""
    text = host.run(f"cat {ALICE}/{number}.out 2>/dev/null; true")
    return sorted(line.split()[0] for line in text.splitlines() if line.endswith(f" {word}"))


def signal(host: Host, number: int, *signals: dict[str, Any]) -> None:
    key = (number, 0, 1)
    host.want({**host.wanted[key], "signals": list(signals)})


def given(number: int, name: str, process: dict[str, Any] | None = None, **more: Any) -> Any:
    pid, birth = (process["pid"], process["birth"]) if process else (None, None)
    return {"number": number, "name": name, "pid": pid, "birth": birth, "grace": None, **more}


def dealt(host: Host, job_number: int, upto: int) -> None:
    host.wait(lambda: host.task(job_number).get("signalled") == upto, f"signal {upto} to be told")


def test_what_a_process_takes(host: Host) -> None:
    now = float(host.run("date +%s.%N"))
    found = begin(host, 41)
    root = found["root"]
    assert root["command"] == f"/usr/bin/python3 {ALICE}/family.py"
    assert [found[each]["ppid"] for each in ("one", "two")] == [root["pid"]] * 2
    for row in found.values():
        assert row["status"] in "RS"
        assert row["threads"] == 1
        assert row["rss_kib"] > 1000
        assert 0 <= row["cpu_seconds"] < 5
        assert abs(row["start_time"] - now) < 30
    listed = host.run(f"ps -o pid=,ppid= --ppid {root['pid']}").split()
    assert set(listed) == {
        str(found[each][key]) for each in ("one", "two") for key in ("pid", "ppid")
    }


def test_a_signal_reaches_each_process_once_whoever_dies(host: Host) -> None:
    begin(host, 42)
    host.kill_daemon()
    signal(host, 42, given(1, "USR1"))
    host.wait(lambda: len(said(host, 42, "USR1")) == 3, "the signal")
    chance = random.Random(7)
    for _ in range(4):
        host.kill_daemon()
        time.sleep(chance.random())
    dealt(host, 42, 1)
    signal(host, 42, given(1, "USR1"), given(2, "HUP"))
    dealt(host, 42, 2)
    host.wait(lambda: len(said(host, 42, "HUP")) == 3, "the next signal")
    assert said(host, 42, "USR1") == ["one", "root", "two"]


def test_a_daemon_killed_at_any_moment_sends_no_signal_twice(host: Host) -> None:
    begin(host, 43)
    chance = random.Random(11)
    for number in range(1, 13):
        signal(host, 43, given(number, "USR1" if number % 2 else "HUP"))
        time.sleep(chance.random() * 0.15)
        host.kill_daemon()
        dealt(host, 43, number)
    time.sleep(0.5)
    for word in ("USR1", "HUP"):
        for role in ("root", "one", "two"):
            assert said(host, 43, word).count(role) <= 6


def test_one_process_alone_and_none_that_has_its_number_now(host: Host) -> None:
    one = begin(host, 44)["one"]
    other = {**one, "birth": one["birth"] + 1}
    outside = {"pid": int(host.run("pgrep -o sleep || echo 1")), "birth": 1}
    signal(host, 44, given(1, "USR1", other), given(2, "KILL", outside), given(3, "HUP", one))
    host.wait(lambda: said(host, 44, "HUP"), "the signal")
    dealt(host, 44, 3)
    assert said(host, 44, "HUP") == ["one"]
    assert said(host, 44, "USR1") == []


def test_a_process_that_ignores_its_end_is_killed_by_the_next_daemon(host: Host) -> None:
    two = begin(host, 45, "ignore")["two"]
    signal(host, 45, given(1, "TERM", two, grace=2.0))
    dealt(host, 45, 1)
    assert len(host.processes(45)) == 3
    host.kill_daemon()
    host.wait(lambda: len(host.processes(45)) == 2, "the process to be killed")
    assert str(two["pid"]) not in host.processes(45)
    assert host.task(45)["phase"] == "running"


def test_stop_and_cont_are_not_suspend_and_resume(host: Host) -> None:
    begin(host, 46)

    def all_are(status: str) -> bool:
        found = family(host, 46)
        return bool(found) and all(row["status"] == status for row in found.values())

    signal(host, 46, given(1, "STOP"))
    host.wait(lambda: all_are("T"), "all to be stopped")
    assert host.task(46)["suspended"] is False
    host.want({**host.wanted[(46, 0, 1)], "suspend": True})
    host.wait(lambda: host.task(46)["suspended"], "it to be suspended")
    signal(host, 46, given(1, "STOP"), given(2, "CONT"), given(3, "USR1"))
    dealt(host, 46, 3)
    time.sleep(0.5)
    assert said(host, 46, "USR1") == []
    host.want({**host.wanted[(46, 0, 1)], "suspend": False})
    host.wait(lambda: len(said(host, 46, "USR1")) == 3, "what was sent meanwhile")


def test_sigkill_ends_a_suspended_task_at_once(host: Host) -> None:
    begin(host, 47)
    host.want({**host.wanted[(47, 0, 1)], "suspend": True})
    host.wait(lambda: host.task(47)["suspended"], "it to be suspended")
    signal(host, 47, given(1, "KILL"))
    end = host.over(47)
    assert (end["exit"]["signal"], end["exit"]["processes_left"]) == (9, 0)


def test_the_ranks_of_a_parallel_task_are_told_apart(host: Host) -> None:
    host.run(f"cat > {ALICE}/family.py", given=FAMILY.encode())
    wanted = job(
        48, "", executable="/usr/bin/python3", arguments=[f"{ALICE}/family.py"],
        output=f"{ALICE}/48.%t.out", ranks=[0, 1], hosts=["testnode", "testnode"],
    )  # fmt: skip
    host.want({**wanted, "spec": {**wanted["spec"], "class": "parallel", "total_tasks": 2}})

    def rank(number: int) -> list[dict[str, Any]]:
        rows = host.last_report().get("processes", [])
        return [each for each in rows if each["job"] == 48 and each["rank"] == number]

    host.wait(lambda: [len(rank(0)), len(rank(1))] == [3, 3], "both ranks to be reported")
    assert [sum(each["root"] for each in rank(number)) for number in (0, 1)] == [1, 1]
    host.wait(lambda: len(ranks_said(host, 1, "ready")) == 3, "all to be there")
    signal(host, 48, given(1, "USR1", rank=1), given(2, "HUP", rank(0)[0]))
    host.wait(lambda: len(ranks_said(host, 1, "USR1")) == 3, "the signal to a rank")
    host.wait(lambda: ranks_said(host, 0, "HUP"), "the signal to a process")
    assert ranks_said(host, 0, "USR1") == ranks_said(host, 1, "HUP") == []
    assert len(ranks_said(host, 0, "HUP")) == 1


def ranks_said(host: Host, rank: int, word: str) -> list[str]:
    text = host.run(f"cat {ALICE}/48.{rank}.out 2>/dev/null; true")
    return [line.split()[0] for line in text.splitlines() if line.endswith(f" {word}")]

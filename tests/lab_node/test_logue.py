"""The site's prologue and epilogue on a real host: when they run, as whom, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab_node.host import ALICE, STATE, STORE, Host, job

SITE = "/etc/kcms-nodetest"
LOG = "/run/kcms-logue"
BOX = 5
SETTINGS = f'prologue = "{SITE}/prologue"\nepilogue = "{SITE}/epilogue"\nlogue_seconds = {BOX}\n'
LOGUE = f"""#!/bin/sh
id -u >> {LOG}/$KCMS_JOB_ID.$KCMS_LOGUE
env | sort >> {LOG}/$KCMS_JOB_ID.$KCMS_LOGUE
echo $KCMS_LOGUE >> {LOG}/$KCMS_JOB_ID.order; chmod 666 {LOG}/$KCMS_JOB_ID.order
pgrep -u alice -c sleep >> {LOG}/$KCMS_JOB_ID.alive
[ ! -e {LOG}/$KCMS_LOGUE.$KCMS_JOB_ID ] || . {LOG}/$KCMS_LOGUE.$KCMS_JOB_ID
"""


@pytest.fixture(scope="module")
def host(prefix: list[str]) -> Iterator[Host]:
    made = Host(prefix, SETTINGS)
    remove = f"rm -rf {SITE} {LOG}"
    try:
        made.run(f"{remove}; install -d {SITE} && install -d -m 777 {LOG}")
        for name in ("prologue", "epilogue"):
            made.write(f"{SITE}/{name}", LOGUE, mode="755")
        made.set_up()
        yield made
    finally:
        made.clean()
        made.run(remove)


def begin(host: Host, number: int, script: str = "", **more: Any) -> None:
    """A task whose program notes that it ran."""
    host.want(job(number, f"echo program >> {LOG}/{number}.order; {script}", **more))


def also(host: Host, which: str, number: int, script: str) -> None:
    """What prologue or epilogue of one job do besides."""
    host.write(f"{LOG}/{which}.{number}", script, mode="644")


def order(host: Host, number: int) -> list[str]:
    return host.run(f"cat {LOG}/{number}.order 2>/dev/null; true").split()


def seen(host: Host, which: str, number: int) -> dict[str, str]:
    lines = host.run(f"cat {LOG}/{number}.{which}").splitlines()
    assert lines[0] == "0"
    return dict(line.split("=", 1) for line in lines[1:])


def wait_for(host: Host, number: int, word: str) -> None:
    host.wait(lambda: word in order(host, number), f"the {word} of {number} to begin")


def test_they_run_before_and_after_as_root_in_a_clean_environment(host: Host) -> None:
    begin(host, 1, "sleep 1000 & exit 3", environment={"EVIL": "1"})
    end = host.over(1)
    assert (end["phase"], end["exit"]["code"], end["unfit"]) == ("ended", 3, "")
    assert order(host, 1) == ["prologue", "program", "epilogue"]
    assert host.run(f"cat {LOG}/1.alive").split() == ["0", "0"]
    before, after = seen(host, "prologue", 1), seen(host, "epilogue", 1)
    told = {
        "KCMS_JOB_ID": "1",
        "KCMS_TASK_INDEX": "0",
        "KCMS_TASK": f"1.0.1-{STORE}",
        "KCMS_USER": "alice",
        "KCMS_UID": "2001",
        "KCMS_GID": "2001",
        "KCMS_HOME": host.run("getent passwd alice | cut -d: -f6").strip(),
        "KCMS_BASE_DIRECTORY": ALICE,
        "KCMS_CLUSTER": "testcluster",
        "KCMS_NODE": "testnode",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD": "/",
    }
    assert before == {**told, "KCMS_LOGUE": "prologue"}
    ended = {"KCMS_STATE": "FAILED", "KCMS_EXIT_CODE": "3", "KCMS_EXIT_SIGNAL": ""}
    assert after == {**told, **ended, "KCMS_LOGUE": "epilogue"}


def test_they_see_the_host_and_the_task_sees_what_they_mounted(host: Host) -> None:
    where = f"{LOG}/mounted"
    also(host, "prologue", 2, f"mkdir {where} && mount -t tmpfs none {where} && echo x > {where}/y")
    also(host, "epilogue", 2, f"umount {where}; readlink /proc/self/ns/pid > {LOG}/2.ns")
    begin(host, 2, f"cat {where}/y")
    assert host.over(2)["exit"]["code"] == 0
    assert host.home("2.out") == "x\n"
    assert host.run(f"ls {where}") == ""
    assert host.run(f"cat {LOG}/2.ns") == host.run("readlink /proc/1/ns/pid")


def test_what_a_prologue_leaves_is_gone_before_the_program(host: Host) -> None:
    also(host, "prologue", 3, "setsid sh -c 'sleep 3131 & sleep 3131' & sleep 0.2")
    begin(host, 3, "sleep 1")
    wait_for(host, 3, "program")
    assert host.run("pgrep -f 'sleep 313[1]'; true") == ""
    assert host.over(3)["exit"]["code"] == 0


@pytest.mark.parametrize(
    ("number", "script", "why"),
    [
        (10, "exit 4", "failed with exit status 4; the node's journal may say why"),
        (11, "kill -9 $$", "ended by signal 9; the node's journal may say why"),
        (12, "trap '' TERM; setsid sleep 3232 & sleep 1000", "took longer than 5 s and was killed"),
    ],
)
def test_a_prologue_that_fails_refuses_the_task(
    host: Host, number: int, script: str, why: str
) -> None:
    also(host, "prologue", number, script)
    begin(host, number)
    end = host.over(number)
    message = f"prologue of job {number} {why}"
    assert (end["phase"], end["cause"]) == ("refused", "prologue")
    assert (end["message"], end["unfit"]) == (message, message)
    assert order(host, number) == ["prologue", "epilogue"]
    assert seen(host, "epilogue", number)["KCMS_STATE"] == "PENDING"
    assert host.run("pgrep -f 'sleep 323[2]'; true") == ""


def test_an_epilogue_that_fails_leaves_the_end_as_it_is(host: Host) -> None:
    also(host, "epilogue", 20, "exit 1")
    also(host, "epilogue", 21, "sleep 1000")
    begin(host, 20)
    begin(host, 21, "kill -SEGV $$")
    one, other = host.over(20), host.over(21)
    assert (one["phase"], one["exit"]["code"], one["cause"]) == ("ended", 0, "")
    assert one["unfit"].startswith("epilogue of job 20 failed with exit status 1")
    assert (other["phase"], other["exit"]["signal"]) == ("ended", 11)
    assert other["unfit"] == "epilogue of job 21 took longer than 5 s and was killed"


def test_a_task_that_is_killed_in_its_prologue_ends_after_it(host: Host) -> None:
    also(host, "prologue", 30, "sleep 2")
    begin(host, 30)
    wait_for(host, 30, "prologue")
    host.wait(lambda: host.task(30).get("message") == "its prologue runs", "the reason")
    host.kill(30)
    end = host.over(30)
    assert (end["phase"], end["message"]) == ("refused", "killed before it was started")
    assert (end["cause"], end["unfit"]) == ("", "")
    assert order(host, 30) == ["prologue", "epilogue"]
    assert seen(host, "epilogue", 30)["KCMS_STATE"] == "CANCELLED"


def test_a_killed_task_has_its_epilogue_told(host: Host) -> None:
    also(host, "epilogue", 31, "sleep 3")
    begin(host, 31, "sleep 1000")
    wait_for(host, 31, "program")
    host.kill(31, grace=0.5)
    end = host.over(31)
    assert (end["exit"]["signal"], end["unfit"]) == (15, "")
    told = seen(host, "epilogue", 31)
    assert (told["KCMS_STATE"], told["KCMS_EXIT_SIGNAL"]) == ("CANCELLED", "15")


def test_the_time_limit_is_the_programs_alone(host: Host) -> None:
    also(host, "prologue", 32, "sleep 2")
    also(host, "epilogue", 32, "sleep 3")
    begin(host, 32, "sleep 1", time_limit=3)
    end = host.over(32)
    assert (end["phase"], end["cause"], end["exit"]["code"]) == ("ended", "", 0)


def test_the_daemon_killed_again_and_again_repeats_and_loses_nothing(host: Host) -> None:
    for number in range(40, 44):
        also(host, "prologue", number, f"sleep 1.{number % 10}")
        also(host, "epilogue", number, f"sleep 1.{number % 10}; exit {number % 2}")
    for number in range(40, 44):
        begin(host, number, "sleep 1")
    for _ in range(12):
        host.run("sleep 0.4")
        host.kill_daemon()
    for number in range(40, 44):
        end = host.over(number)
        assert (end["phase"], end["exit"]["code"]) == ("ended", 0)
        assert order(host, number) == ["prologue", "program", "epilogue"]
        assert bool(end["unfit"]) is bool(number % 2)


def test_the_daemon_killed_in_a_prologue_that_fails_loses_no_word_of_it(host: Host) -> None:
    also(host, "prologue", 45, "sleep 2; exit 1")
    begin(host, 45)
    wait_for(host, 45, "prologue")
    host.run("systemctl kill -s KILL kcms-nodetest; sleep 3")
    end = host.over(45)
    assert (end["phase"], end["cause"]) == ("refused", "prologue")
    assert end["unfit"].startswith("prologue of job 45 failed with exit status 1")


def unit(number: int) -> str:
    return f"kcms-task-{number}.0.1-{STORE}.service"


def test_a_prologue_that_is_cut_off_is_no_prologue(host: Host) -> None:
    also(host, "prologue", 46, "sleep 3")
    begin(host, 46)
    wait_for(host, 46, "prologue")
    host.run(f"systemctl kill -s KILL {unit(46)}")
    end = host.over(46)
    assert (end["phase"], end["cause"]) == ("refused", "prologue")
    assert end["unfit"] == "prologue of job 46 was cut off"
    assert order(host, 46)[:1] == ["prologue"]
    assert "program" not in order(host, 46)


def test_an_epilogue_that_is_cut_off_is_told(host: Host) -> None:
    also(host, "epilogue", 47, "sleep 3")
    begin(host, 47)
    wait_for(host, 47, "epilogue")
    host.run(f"systemctl kill -s KILL {unit(47)}")
    end = host.over(47)
    assert (end["phase"], end["exit"]["code"]) == ("ended", 0)
    assert end["unfit"] == "epilogue of job 47 was cut off"
    assert order(host, 47) == ["prologue", "program", "epilogue"]


def test_init_killed_has_its_epilogue(host: Host) -> None:
    begin(host, 48, "sleep 1000")
    wait_for(host, 48, "program")
    where = f"/sys/fs/cgroup/kcms.slice/kcms-tasks.slice/{unit(48)}/init/cgroup.procs"
    host.run(f"for p in $(cat {where}); do grep -q python3 /proc/$p/comm && kill -9 $p; done; true")
    end = host.over(48)
    assert (end["phase"], end["unfit"]) == ("lost", "")
    assert seen(host, "epilogue", 48)["KCMS_STATE"] == "NODE_FAIL"
    assert order(host, 48) == ["prologue", "program", "epilogue"]


def test_what_others_may_write_is_not_run(host: Host) -> None:
    host.run(f"chmod 777 {SITE}")
    try:
        begin(host, 50)
        end = host.over(50)
    finally:
        host.run(f"chmod 755 {SITE}")
    why = f"was not run: others than root may write {SITE}"
    assert (end["phase"], end["message"]) == ("refused", f"prologue of job 50 {why}")
    assert order(host, 50) == []


def test_a_second_start_of_a_task_runs_nothing(host: Host) -> None:
    begin(host, 51, "sleep 2")
    wait_for(host, 51, "program")
    code = host.run(f"tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {unit(51)})/cmdline")
    words = code.split()
    host.run(
        "systemd-run --quiet --wait -p Delegate=yes --unit=kcms-second "
        f"{words[0]} {words[1]} {STATE}/tasks/51.0.1-{STORE} {words[3]} {words[4]}"
    )
    assert order(host, 51) == ["prologue", "program"]
    assert host.over(51)["exit"]["code"] == 0
    assert order(host, 51) == ["prologue", "program", "epilogue"]


def test_no_room_for_the_claim_repeats_no_prologue(host: Host) -> None:
    """The record's directory stays, and its disk is full between prologue and program."""
    also(host, "prologue", 52, f"mount -t tmpfs -o ro none {STATE}/tasks/52.0.1-{STORE}")
    begin(host, 52)
    wait_for(host, 52, "prologue")
    host.run("sleep 3")
    assert order(host, 52) == ["prologue"]
    host.run(f"umount {STATE}/tasks/52.0.1-{STORE}")
    assert host.over(52)["exit"]["code"] == 0
    assert order(host, 52) == ["prologue", "program", "epilogue"]

"""Tasks on a real host: identity, ends, kills, and daemons and inits killed at any moment."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.lab_node.host import ALICE, CODE, STATE, STORE, Host, job

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(10):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        time.sleep(1000)
print("ready", flush=True)
time.sleep(1000)
"""


def ready(host: Host, number: int) -> bool:
    return "ready" in host.run(f"cat {ALICE}/{number}.out 2>/dev/null; true")


def said(host: Host, number: int) -> str:
    """What the task has written; nothing before it has begun."""
    return host.run(f"cat {ALICE}/{number}.out 2>/dev/null; true")


def start_stubborn(host: Host, number: int, **more: Any) -> None:
    program = job(number, "", executable="/usr/bin/python3", arguments=["-c", STUBBORN], **more)
    host.want(program)
    host.wait(lambda: ready(host, number), "the program to be ready")
    assert len(host.processes(number)) == 21


def test_runs_as_the_user_in_a_private_home(host: Host) -> None:
    host.want(job(1, "id -un; id -G; pwd; umask; echo $KCMS_JOB_ID $KCMS_NODE $HOME; exit 3"))
    end = host.over(1)
    assert (end["phase"], end["exit"]["code"], end["exit"]["signal"]) == ("ended", 3, None)
    assert (end["exit"]["processes_killed"], end["exit"]["processes_left"]) == (0, 0)
    assert end["exit"]["usage"]["max_rss_kib"] > 0
    lines = host.home("1.out").splitlines()
    assert lines[0] == "alice"
    assert lines[1].split()[0] == "2001"
    assert lines[2:4] == [ALICE, "0022"]
    assert lines[4].startswith("1 testnode ")
    assert host.run(f"stat -c '%U %a' {ALICE}/1.out").split() == ["alice", "644"]


def test_signal_is_told_as_such(host: Host) -> None:
    host.want(job(2, "kill -SEGV $$"))
    assert (host.over(2)["exit"]["signal"], host.over(2)["exit"]["code"]) == (11, None)


def test_input_output_and_error_files(host: Host) -> None:
    host.run(f"echo hello > {ALICE}/in; echo old > {ALICE}/3.alice.out; chown alice {ALICE}/*")
    files = {"input": f"{ALICE}/in", "output": f"{ALICE}/%j.%u.out", "error": f"{ALICE}/%j.err"}
    host.want(job(3, "cat; echo oops >&2", **files))
    assert host.over(3)["exit"]["code"] == 0
    assert (host.home("3.alice.out"), host.home("3.err")) == ("hello\n", "oops\n")


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (10, {"output": "/root/x"}, "cannot open output file /root/x: Permission denied"),
        (11, {"input": "/none"}, "cannot open input file /none: No such file or directory"),
        (12, {"base_directory": "/root"}, "cannot enter base directory /root: Permission denied"),
        (13, {"executable": "/none"}, "cannot run /none: No such file or directory"),
        (14, {"executable": "/etc/passwd"}, "cannot run /etc/passwd: Permission denied"),
        (15, {"user": "nobody-here"}, "user nobody-here is unknown on testnode"),
        (16, {"uid": 2999}, "user alice has uid 2001 on testnode but 2999 where"),
        (17, {"uid": 0, "gid": 0}, "user alice has uid 2001 on testnode but 0 where"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(host, number, changes, message):
    host.want(job(number, "true", **changes))
    end = host.over(number)
    assert end["phase"] == "refused"
    assert end["message"].startswith(message)


def test_what_outlives_the_program_is_killed_and_counted(host: Host) -> None:
    host.want(job(20, "setsid sleep 1000 & sleep 1001 & sleep 0.2; exit 0"))
    end = host.over(20)["exit"]
    assert (end["code"], end["processes_killed"], end["processes_left"]) == (0, 2, 0)
    assert host.processes(20) == []


def test_stubborn_family_is_killed_with_nothing_left(host: Host) -> None:
    start_stubborn(host, 21)
    host.kill(21, grace=1.0)
    end = host.over(21)["exit"]
    assert (end["signal"], end["processes_killed"], end["processes_left"]) == (9, 21, 0)
    assert host.processes(21) == []
    assert host.run("pgrep -u alice; true") == ""


def test_kind_program_ends_within_the_grace(host: Host) -> None:
    host.want(job(22, "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done"))
    host.wait(lambda: ready(host, 22), "the program to be ready")
    host.kill(22, grace=30.0)
    end = host.over(22)["exit"]
    assert (end["code"], end["processes_killed"]) == (7, 0)
    assert host.home("22.out").splitlines()[-1] == "bye"


def test_child_gets_the_grace_though_the_root_is_gone(host: Host) -> None:
    child = "trap 'sleep 1; echo cleaned; exit' TERM; echo ready; while :; do sleep 0.1; done"
    host.want(job(23, f'sh -c "{child}" & sleep 1000'))
    host.wait(lambda: ready(host, 23), "the program to be ready")
    host.kill(23, grace=30.0)
    assert host.over(23)["exit"]["signal"] == 15
    assert host.home("23.out").splitlines()[-1] == "cleaned"


def test_a_time_limit_is_kept_without_a_manager_and_over_the_daemons_death(host: Host) -> None:
    start_stubborn(host, 27, time_limit=4)
    host.run("systemctl kill -s STOP kcms-nodetest-manager")
    try:
        host.kill_daemon()
        host.wait(lambda: host.processes(27) == [], "the end of every process")
    finally:
        host.run("systemctl kill -s CONT kcms-nodetest-manager")
    over = host.over(27)
    assert (over["cause"], over["exit"]["signal"]) == ("time limit", 9)
    assert (over["exit"]["processes_killed"], over["exit"]["processes_left"]) == (21, 0)
    assert 3.5 < over["exit"]["time"] - over["start_time"] < 30


def test_a_program_may_end_well_when_its_time_is_over(host: Host) -> None:
    script = "trap 'echo saved; exit 0' TERM; while :; do sleep 0.1; done"
    host.want(job(28, script, time_limit=1))
    over = host.over(28)
    assert (over["cause"], over["exit"]["code"]) == ("time limit", 0)
    assert host.home("28.out").splitlines()[-1] == "saved"


TAKES = """
import mmap, os, sys, time
shared = mmap.mmap(-1, 64 << 20)
for _ in range(64):
    shared.write(os.urandom(1 << 20))
for _ in range(3):
    if os.fork() == 0:
        break
own = [os.urandom(1 << 20) for _ in range(int(sys.argv[1]))]
print(sum(shared[at] for at in range(0, 64 << 20, 4096)), len(own), flush=True)
time.sleep(1000)
"""


def test_a_task_that_takes_more_memory_than_it_may_ends(host: Host) -> None:
    """Four processes of 64 MiB that they share, and 10 MiB or 100 MiB of each alone."""
    for number, own in ((35, 10), (36, 100)):
        words = {"executable": "/usr/bin/python3", "arguments": ["-c", TAKES, str(own)]}
        host.want(job(number, "", memory=240, **words))
    over = host.over(36)
    assert (over["exit"]["cause"], over["exit"]["signal"]) == ("memory limit", 9)
    assert over["exit"]["processes_left"] == 0
    assert "MiB of memory, and its limit is 240 MiB" in over["exit"]["detail"]
    host.wait(lambda: said(host, 35).count("\n") == 4, "all processes to have it")
    host.run("sleep 2")
    assert host.task(35)["phase"] == "running"
    host.kill(35, grace=0.0)
    assert host.over(35)["exit"]["cause"] == ""


def test_a_process_that_takes_more_than_one_may_ends_its_task(host: Host) -> None:
    words = {"executable": "/usr/bin/python3", "arguments": ["-c", TAKES, "100"]}
    host.want(job(37, "", rss_limit=100, **words))
    over = host.over(37)
    assert over["exit"]["cause"] == "memory limit"
    assert "its RSS limit is 100 MiB" in over["exit"]["detail"]


SPENDS = """
import os, sys, time
def spend(seconds, count):
    data = os.urandom(1 << 20)
    with open(f"{sys.argv[1]}.{os.getpid()}", "wb") as file:
        for _ in range(count):
            file.write(data)
        os.fsync(file.fileno())
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
if os.fork() == 0:  # an orphan, with a child of its own that it waits for
    child = os.fork()
    if child == 0:
        spend(0.25, 10)
        os._exit(0)
    os.waitpid(child, 0)
    spend(0.25, 10)
    os._exit(0)
spend(0.5, 30)
keep = [os.urandom(1 << 20) for _ in range(60)]
time.sleep(float(sys.argv[2]))
"""


def test_what_a_task_took_is_told(host: Host) -> None:
    """50 MiB written and a second of CPU time, by three processes."""
    files = f"{ALICE}/spent"
    words = {"executable": "/usr/bin/python3", "arguments": ["-c", SPENDS, files, "3"]}
    host.want(job(38, "", **words))
    took = host.over(38)["exit"]["usage"]
    host.run(f"rm {files}.*")
    assert (took["sources"]["cpu"], took["sources"]["io"]) == ("cgroup", "wait")
    assert 1.0 <= took["cpu_seconds"] < 2.5
    both = took["user_seconds"] + took["system_seconds"]
    assert both == pytest.approx(took["cpu_seconds"], abs=0.01)
    assert 50 << 20 <= took["write_bytes"] < 55 << 20
    assert took["read_bytes"] < 20 << 20
    assert 60 << 10 < took["max_rss_kib"] < 100 << 10


def test_memory_of_several_processes_is_seen_together(host: Host) -> None:
    script = "import sys, time; sys.x = bytearray(b'x' * (40 << 20)); time.sleep(3)"
    host.want(job(39, f'for i in 1 2 3; do python3 -c "{script}" & done; wait'))
    took = host.over(39)["exit"]["usage"]
    assert took["sources"]["memory"] == "sampled"
    assert 120 << 10 < took["max_rss_kib"] < 300 << 10


def test_one_that_ends_in_time_has_no_cause(host: Host) -> None:
    host.want(job(29, "exit 3", time_limit=100))
    over = host.over(29)
    assert (over["cause"], over["exit"]["code"]) == ("", 3)


def test_a_suspended_task_stands_still_over_the_daemons_death_and_goes_on(host: Host) -> None:
    host.want(job(34, "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"))
    host.wait(lambda: "3" in said(host, 34), "the count to begin")
    host.want({**host.wanted[(34, 0, 1)], "suspend": True})
    host.wait(lambda: host.task(34)["suspended"], "the task to be suspended")
    before = host.home("34.out")
    host.kill_daemon()
    host.run("sleep 1")
    host.wait(lambda: host.task(34)["suspended"], "the new daemon to report")
    assert host.home("34.out") == before
    host.want({**host.wanted[(34, 0, 1)], "suspend": False})
    host.wait(lambda: host.home("34.out") != before, "the count to go on")
    host.want({**host.wanted[(34, 0, 1)], "suspend": True})
    host.wait(lambda: host.task(34)["suspended"], "the task to be suspended again")
    host.kill(34, grace=30.0)
    assert host.over(34)["exit"]["signal"] == 9
    lines = host.home("34.out").split()
    assert lines == [str(each) for each in range(len(lines))]


def test_frozen_task_is_killed(host: Host) -> None:
    start_stubborn(host, 24)
    path = f"/sys/fs/cgroup/kcms.slice/kcms-tasks.slice/kcms-task-24.0.1-{STORE}.service/task"
    host.run(f"echo 1 > {path}/cgroup.freeze")
    host.kill(24, grace=0.5)
    assert host.over(24)["exit"]["processes_killed"] == 21


def test_kill_before_the_start_never_runs(host: Host) -> None:
    host.want(job(25, "echo ran", want="kill"))
    end = host.over(25)
    assert (end["phase"], end["message"]) == ("refused", "killed before it was started")
    assert host.run(f"ls {ALICE}/25.out 2>&1; true").startswith("ls: cannot access")


def test_daemon_killed_within_the_grace_finishes_the_kill(host: Host) -> None:
    start_stubborn(host, 26)
    host.kill(26, grace=3.0)
    host.wait(lambda: host.run(f"cat {STATE}/tasks/26.0.1-{STORE}/kill; true"), "the kill record")
    host.kill_daemon()
    end = host.over(26)["exit"]
    assert (end["processes_killed"], end["processes_left"]) == (21, 0)


def test_daemon_killed_again_and_again_loses_and_repeats_nothing(host: Host) -> None:
    jobs = range(100, 130)
    script = f"echo $KCMS_JOB_ID >> {ALICE}/ran; sleep 0.$((KCMS_JOB_ID % 10)); exit $(({{}}))"
    dice = random.Random(7)
    for start in range(100, 130, 5):
        host.want(*(job(n, script.format(f"{n} % 7")) for n in range(start, start + 5)))
        for _ in range(2):
            host.run(f"sleep {dice.uniform(0.0, 0.6):.2f}")
            host.kill_daemon()
    codes = {n: host.over(n)["exit"]["code"] for n in jobs}
    assert codes == {n: n % 7 for n in jobs}
    assert sorted(host.home("ran").split()) == sorted(str(n) for n in jobs)


def test_init_killed_is_lost(host: Host) -> None:
    host.want(job(30, "echo ready; sleep 1000"))
    host.wait(lambda: ready(host, 30), "the program to be ready")
    where = f"/sys/fs/cgroup/kcms.slice/kcms-tasks.slice/kcms-task-30.0.1-{STORE}.service/init"
    inits = f"for p in $(cat {where}/cgroup.procs); do grep -l python3 /proc/$p/comm; done"
    (comm,) = host.run(f"{inits}; true").split()
    host.run(f"kill -KILL {comm.split('/')[2]}")
    end = host.over(30)
    assert (end["phase"], end["exit"]) == ("lost", None)
    assert "init was killed" in end["message"]
    assert host.processes(30) == []


def test_two_starts_of_one_task_run_once(host: Host) -> None:
    host.want(job(31, f"echo x >> {ALICE}/31.ran; sleep 2"))
    host.until(31, "running")
    node = f"{CODE}/kcms/node"
    start = f"{node}/task_start.sh {STATE}/tasks/31.0.1-{STORE} {node}/begin.py boot"
    host.run(f"systemd-run --quiet --wait -p Delegate=yes --unit=kcms-second /bin/sh {start}")
    assert host.over(31)["exit"]["code"] == 0
    host.run(f"systemd-run --quiet --wait -p Delegate=yes --unit=kcms-third /bin/sh {start}")
    assert host.home("31.ran") == "x\n"


def test_stopping_the_host_is_no_end_of_the_job(host: Host) -> None:
    host.want(job(32, "echo ready; sleep 1000"))
    host.wait(lambda: ready(host, 32), "the program to be ready")
    host.run(f"systemctl stop kcms-task-32.0.1-{STORE}.service")
    end = host.over(32)
    assert (end["phase"], end["exit"]["signal"]) == ("lost", 15)
    assert "being stopped" in end["message"]


def test_unmentioned_task_is_left_alone(host: Host) -> None:
    host.want(job(33, "sleep 1; exit 4"))
    host.until(33, "running")
    del host.wanted[(33, 0, 1)]
    host.publish()
    assert host.over(33)["exit"]["code"] == 4


def test_full_disk_keeps_the_task_waiting_and_the_exit_safe(host: Host) -> None:
    host.wanted.clear()
    host.publish()
    host.run("systemctl stop kcms-nodetest")
    host.run(f"mount -t tmpfs -o size=256k,mode=700 none {STATE}")
    try:
        host.start_daemon()
        host.run(f"dd if=/dev/zero of={STATE}/fill bs=4k 2>/dev/null; true")
        host.want(job(40, "sleep 2; exit 6"))
        waiting = host.until(40, "launching")
        host.wait(lambda: "No space left" in host.task(40).get("message", ""), "the reason")
        assert waiting["exit"] is None
        host.run(f"rm {STATE}/fill")
        host.until(40, "running")
        host.run(f"dd if=/dev/zero of={STATE}/fill bs=4k 2>/dev/null; true")
        assert host.over(40)["exit"]["code"] == 6
    finally:
        host.run(f"systemctl stop kcms-nodetest 'kcms-task-40*'; umount {STATE}")
        host.start_daemon()


def test_forgotten_tasks_leave_nothing_and_never_run_again(host: Host) -> None:
    host.want(job(50, f"echo x >> {ALICE}/50.ran"))
    host.over(50)
    host.write("/run/kcms-nodetest/forget.json", f'[[50, 0, 1, "{STORE}"]]')
    host.wait(lambda: host.task(50)["phase"] == "unknown", "the task to be forgotten")
    host.publish()  # an answer under way that still names it
    host.want(job(51, "true"))
    host.over(51)
    assert host.home("50.ran") == "x\n"
    assert host.run(f"ls -d {STATE}/tasks/50.0.1-{STORE} 2>/dev/null; true") == ""
    assert host.run("systemctl list-units --all --plain 'kcms-task-50.*' --no-legend") == ""

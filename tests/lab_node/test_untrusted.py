"""A job that wants more than is its user's: rights, other users' files, its own way out.

docs/security.md names each of these tries.
"""

from __future__ import annotations

import pytest

from tests.lab_node.host import ALICE, CODE, STATE, STORE, WORK, Host, job

SLICE = "/sys/fs/cgroup/kcms.slice/kcms-tasks.slice"


def said(host: Host, number: int) -> list[str]:
    """What the task wrote, once it is over."""
    assert host.over(number)["phase"] == "ended"
    return host.home(f"{number}.out").splitlines()


def root_of(host: Host, number: int) -> str:
    """The pid of the task's init, on the host."""
    where = f"{SLICE}/kcms-task-{number}.0.1-{STORE}.service/init/cgroup.procs"
    found = host.run(f"for p in $(cat {where}); do grep -l python3 /proc/$p/comm; done; true")
    (comm,) = found.split()
    return comm.split("/")[2]


# rights ------------------------------------------------------------------------------------------


def test_a_program_with_the_setuid_bit_gives_no_rights(host: Host) -> None:
    host.run("useradd -m -u 2002 bob 2>/dev/null; true")
    for name, mode, owner in (("suid", "4755", "root:root"), ("sgid", "2755", "root:shadow")):
        host.run(
            f"cp /usr/bin/python3 {ALICE}/{name}; chown {owner} {ALICE}/{name};"
            f" chmod {mode} {ALICE}/{name}"
        )
    tell = "import os; print(os.getresuid(), os.getresgid())"
    host.want(
        job(200, f"{ALICE}/suid -c '{tell}'; {ALICE}/sgid -c '{tell}'; cat /etc/shadow; true"),
        job(201, "", executable=f"{ALICE}/suid", arguments=["-c", tell]),
    )
    for number in (200, 201):
        ids = [each for each in said(host, number) if each.startswith("(")]
        assert ids == ["(2001, 2001, 2001) (2001, 2001, 2001)"] * (2 if number == 200 else 1)
    assert "root:" not in host.home("200.out")


def test_a_site_may_allow_what_setuid_programs_give(host: Host) -> None:
    host.run(f"cp /usr/bin/python3 {ALICE}/suid; chmod 4755 {ALICE}/suid")
    host.write(f"{WORK}/node.toml", host._config() + "\nallow_setuid = true\n")
    host.kill_daemon()
    tell = "import os; print(os.getresuid())"
    try:
        host.want(job(202, "", executable=f"{ALICE}/suid", arguments=["-c", tell]))
        assert said(host, 202) == ["(2001, 0, 0)"]
    finally:
        host.write(f"{WORK}/node.toml", host._config())
        host.kill_daemon()


VARIABLES = ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "ENV")


def test_variables_reach_nothing_that_runs_as_root(host: Host) -> None:
    """A library that says who loads it: only programs of the job's user do."""
    host.run(f"rm -f /tmp/loaded*; mkdir -p {ALICE}/lib; chown alice {ALICE}/lib")
    host.write(f"{ALICE}/lib/usercustomize.py", "open('/tmp/loaded', 'a').write('x')\n", "644")
    host.write(f"{ALICE}/lib/os.py", "open('/tmp/loaded', 'a').write('x')\n", "644")
    host.write(f"{ALICE}/lib/rc", "echo x >> /tmp/loaded.$(id -u)\n", "644")
    variables = dict.fromkeys(VARIABLES, f"{ALICE}/lib")
    variables |= {"LD_PRELOAD": f"{ALICE}/lib/none.so", "ENV": f"{ALICE}/lib/rc"}
    variables["BASH_ENV"] = f"{ALICE}/lib/rc"
    host.want(job(203, "env | sort; bash -c true; echo ready; sleep 60", environment=variables))
    host.wait(lambda: "ready" in host.run(f"cat {ALICE}/203.out; true"), "the job to be there")
    for name in VARIABLES:
        assert f"{name}=" in host.home("203.out")
    given = host.run(f"tr '\\0' '\\n' < /proc/{root_of(host, 203)}/environ")
    assert not [name for name in VARIABLES if f"{name}=" in given]
    host.kill(203, grace=0.0)
    assert host.over(203)["exit"]["code"] is None
    assert host.run("cat /tmp/loaded /tmp/loaded.0 2>/dev/null; true") == ""
    assert host.run("cat /tmp/loaded.2001") == "x\n"


# the way out -------------------------------------------------------------------------------------

ESCAPES = """
import ctypes, os, signal
def attempt(what, act):
    try:
        act()
        print(what, "WORKED", flush=True)
    except (OSError, PermissionError) as error:
        print(what, "refused", flush=True)

def write(path, text="0"):
    with open(path, "w") as file:
        file.write(text)

def own():
    return "/sys/fs/cgroup" + open("/proc/self/cgroup").read().strip().split("::")[1]

def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")

def signalled(number):
    os.kill(1, number)

task = own()
unit = os.path.dirname(task)
for name in ("KILL", "TERM", "STOP", "WINCH", "CHLD"):
    attempt("signal " + name, lambda: signalled(getattr(signal, "SIG" + name)))
attempt("trace", lambda: trace(1))
for name in ("environ", "mem", "maps", "auxv"):
    attempt("read " + name, lambda: open("/proc/1/" + name, "rb").read(1))
attempt("list fd", lambda: os.listdir("/proc/1/fd"))
attempt("open fd", lambda: open("/proc/1/fd/3", "rb"))
attempt("root of init", lambda: os.listdir("/proc/1/root"))
attempt("another cgroup", lambda: write("/sys/fs/cgroup/cgroup.procs"))
attempt("init's cgroup", lambda: write(unit + "/init/cgroup.procs"))
attempt("unit's cgroup", lambda: write(unit + "/cgroup.procs"))
attempt("own cgroup", lambda: write(task + "/cgroup.procs"))
attempt("thaw", lambda: write(task + "/cgroup.freeze"))
attempt("kill", lambda: write(unit + "/init/cgroup.kill", "1"))
attempt("new cgroup", lambda: os.mkdir(task + "/mine"))
for path in (STATE, STATE + "/tasks", STATE + "/tasks/204.0.1-" + STORE + "/wanted.json"):
    attempt("read " + path, lambda: os.listdir(path) if path[-5:] != ".json" else open(path))
attempt("node key", lambda: open(WORK + "/tls/node.key"))
attempt("code", lambda: write(CODE + "/kcms/node/init.py"))
print("init", open("/proc/1/comm").read().strip(), "alive", flush=True)
"""


def test_a_job_can_neither_touch_its_init_nor_leave_its_cgroup(host: Host) -> None:
    names = f"STATE, STORE, WORK, CODE = {STATE!r}, {STORE!r}, {WORK!r}, {CODE!r}\n"
    words = ["-c", names + ESCAPES]
    host.want(job(204, "", executable="/usr/bin/python3", arguments=words))
    lines = said(host, 204)
    assert [each for each in lines if "WORKED" in each] == []
    assert len(lines) == 26
    assert lines[-1] == "init python3 alive"


def test_namespaces_of_its_own_take_nothing_out_of_a_kill(host: Host) -> None:
    script = (
        "unshare -Urpfm sh -c 'setsid sleep 1007 & sleep 1008' &"
        " unshare -UrC sh -c 'echo 0 > /sys/fs/cgroup/cgroup.procs; sleep 1009' & sleep 1;"
        " echo ready; wait"
    )
    host.want(job(205, script))
    host.wait(lambda: "ready" in host.run(f"cat {ALICE}/205.out; true"), "the job to be there")
    assert len(host.processes(205)) >= 3
    host.kill(205, grace=0.0)
    assert host.over(205)["exit"]["processes_left"] == 0
    assert host.run("pgrep -f 'sleep 100[789]'; true") == ""


def test_one_job_reads_nothing_of_another_users(host: Host) -> None:
    """alice's job runs; bob's looks for it: in /proc, in the records, in her home."""
    host.run("id bob >/dev/null 2>&1 || useradd -m -u 2002 bob")
    host.run("install -d -m 700 -o bob -g bob /home/kcmsbob")
    host.want(job(206, "echo ready; sleep 60", environment={"SECRET": "of alice"}))
    host.wait(lambda: "ready" in host.run(f"cat {ALICE}/206.out; true"), "alice's job")
    look = (
        "ps ax -o user=,args= | grep -c '^alice';"
        " cat /proc/[0-9]*/environ 2>/dev/null | grep -c 'of alice';"
        f" ls {ALICE} {STATE} {STATE}/tasks; cat {STATE}/tasks/206.0.1-{STORE}/wanted.json; true"
    )
    ids = {"user": "bob", "uid": 2002, "gid": 2002, "base_directory": "/home/kcmsbob"}
    host.want(job(207, f"({look}) 2>&1", **ids, output="/home/kcmsbob/207.out"))
    assert host.over(207)["exit"]["code"] == 0
    lines = host.run("cat /home/kcmsbob/207.out").splitlines()
    assert lines[:2] == ["0", "0"]
    assert sum("Permission denied" in each for each in lines) == 4
    host.kill(206, grace=0.0)
    host.over(206)


# files -------------------------------------------------------------------------------------------

PREPARE = f"""set -e
rm -rf {ALICE}/t /home/kcmsopen; install -d -o alice {ALICE}/t; install -d -m 1777 /home/kcmsopen
id bob >/dev/null 2>&1 || useradd -m -u 2002 bob
install -d -m 755 -o bob /home/kcmsbob
mkfifo {ALICE}/t/fifo; chown alice {ALICE}/t/fifo
mknod {ALICE}/t/disk b 7 99; chmod 600 {ALICE}/t/disk
ln -s /etc/passwd {ALICE}/t/passwd; ln -s /etc/shadow {ALICE}/t/shadow
ln -s {STATE}/tasks/x {ALICE}/t/record
echo bobs > /home/kcmsbob/own; chown bob /home/kcmsbob/own; chmod 644 /home/kcmsbob/own
ln /home/kcmsbob/own /home/kcmsopen/hard
echo bobs > /home/kcmsopen/first; chown bob /home/kcmsopen/first; chmod 666 /home/kcmsopen/first
ln -s /home/kcmsbob/own {ALICE}/t/bobs
"""
REFUSED = [
    ("output", f"{ALICE}/t/fifo", "No such device or address"),
    ("input", f"{ALICE}/t/fifo", "it is neither a file nor a device"),
    ("output", f"{ALICE}/t/disk", "Permission denied"),
    ("input", f"{ALICE}/t/disk", "Permission denied"),
    ("input", "/dev/kmsg", ""),
    ("output", f"{ALICE}/t", "Is a directory"),
    ("input", f"{ALICE}/t", "it is neither a file nor a device"),
    ("output", f"{ALICE}/t/passwd", "Permission denied"),
    ("input", f"{ALICE}/t/shadow", "Permission denied"),
    ("output", f"{ALICE}/t/record", "Permission denied"),
    ("output", f"{ALICE}/t/../../../etc/x", "Permission denied"),
    ("output", f"//{STATE}/tasks//x", "Permission denied"),
    ("output", "/home/kcmsbob/own", "Permission denied"),
    ("output", f"{ALICE}/t/bobs", "Permission denied"),
    ("output", "/home/kcmsopen/hard", "Permission denied"),
    ("output", "/home/kcmsopen/first", "another user made it, in a directory that is open to all"),
    ("error", "/home/kcmsopen/first", "another user made it, in a directory that is open to all"),
    ("output", "/proc/self/fd/1", ""),
    ("output", "/dev/fd/2", ""),
    ("output", "/dev/stdout", ""),
    ("output", "/proc/1/fd/3", "Permission denied"),
    ("output", "/proc/self/mem", ""),
    ("output", "/proc/sysrq-trigger", ""),  # not every kernel has it
    ("base_directory", f"{STATE}/tasks", "Permission denied"),
    ("base_directory", "/proc/1/root", "Permission denied"),
    ("executable", f"{ALICE}/t/fifo", "Permission denied"),
    ("executable", f"{STATE}/tasks/x", "Permission denied"),
    ("output", f"{ALICE}/t/a\nb/c", "No such file or directory"),
    ("output", f"{ALICE}/t/{'x' * 300}", "File name too long"),
]


@pytest.fixture(scope="module")
def prepared(host: Host) -> Host:
    host.run(PREPARE)
    return host


def test_files_that_are_not_the_users_to_use_are_refused(prepared: Host) -> None:
    """As the node finds them: whatever they were when the gateway looked."""
    host = prepared
    wanted = [
        job(300 + at, "echo WRITTEN", **{field: path})
        for at, (field, path, _) in enumerate(REFUSED)
    ]
    host.want(*wanted)
    for at, (field, path, why) in enumerate(REFUSED):
        over = host.over(300 + at)
        assert over["phase"] == "refused", (field, path, over)
        assert why in over["message"], (field, path, over["message"])
        assert over["message"].startswith("cannot "), over["message"]
    for path in ("/home/kcmsbob/own", "/home/kcmsopen/first"):
        assert host.run(f"cat {path}") == "bobs\n"
    for number in range(3, 10):
        host.want(job(340 + number, "echo WRITTEN", output=f"/proc/self/fd/{number}"))
    for number in range(3, 10):
        assert host.over(340 + number)["phase"] == "refused"


def test_a_full_disk_for_output_is_the_jobs_to_hear_of(prepared: Host) -> None:
    host = prepared
    full = f"{ALICE}/full"
    host.run(
        f"mkdir -p {full}; mount -t tmpfs -o size=64k,nr_inodes=4,uid=2001,mode=700 none {full}"
    )
    try:
        script = "dd if=/dev/zero bs=4k count=100 2>/dev/null || { echo no room >&2; exit 9; }"
        files = {"output": f"{full}/out", "error": f"{ALICE}/380.err"}
        host.want(job(380, script, **files))
        assert host.over(380)["exit"]["code"] == 9
        assert host.home("380.err") == "no room\n"
        host.run(f"touch {full}/a {full}/b; true")
        host.want(job(381, "echo WRITTEN", output=f"{full}/new"))
        over = host.over(381)
        assert over["phase"] == "refused"
        assert over["message"].endswith("No space left on device")
    finally:
        host.run(f"umount -l {full}")


# the clock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [5, -5])
def test_a_wall_clock_that_is_set_ends_and_hurries_nothing(host: Host, hours: int) -> None:
    """That of the daemon alone, by a file; the host's is never touched."""
    first = 400 + 10 * (hours > 0)
    host.run(f"rm -f {WORK}/clock")
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.2; done"
    host.want(
        job(first, "echo ready; sleep 12; exit 4", time_limit=3600),
        job(first + 1, stubborn, time_limit=3600),
        job(first + 2, "echo ready; while :; do sleep 0.2; done", time_limit=6),
    )
    for number in range(first, first + 3):
        host.until(number, "running")
    host.write(f"{WORK}/clock", str(3600 * hours))
    try:
        host.kill(first + 1, grace=3.0)
        host.run("sleep 1.5")
        assert host.task(first)["phase"] == host.task(first + 1)["phase"] == "running"
        host.kill_daemon()
        over = host.over(first + 1)
        assert (over["exit"]["signal"], over["exit"]["processes_left"]) == (9, 0)
        assert host.over(first + 2)["cause"] == "time limit"
        assert host.over(first)["exit"]["code"] == 4
        host.want(job(first + 3, "exit 5"))
        assert host.over(first + 3)["exit"]["code"] == 5
    finally:
        host.run(f"rm -f {WORK}/clock")

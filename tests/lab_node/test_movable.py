"""Jobs of an ordinary user on a real host that hold each thing that cannot move, and some that can.

The jobs run as the node runs them, started by hand; no daemon is needed.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab_node.host import CODE, ROOT, WORK, Host

SHARED = "/srv/kcms-movable"
HOME = f"{SHARED}/alice"
PYTHON = "import os, socket, sys, time, ctypes, fcntl, mmap, signal, struct\n"
UNITS = itertools.count(1)
READY = "\nopen('ready.new', 'w').close(); os.rename('ready.new', 'ready'); time.sleep(1000)\n"


@pytest.fixture(scope="module")
def movable(prefix: list[str]) -> Iterator[Host]:
    host = Host(prefix)
    host.clean()
    host.run("id alice >/dev/null 2>&1 || useradd -m -u 2001 alice")
    host.run(
        f"rm -rf {SHARED}; mkdir -p {SHARED} /run/movable-shared && "
        f"mount -t tmpfs -o size=200m kcms-movable {SHARED} && install -d -m 700 -o alice {HOME}"
    )
    host._install()
    host.run("install -m 4755 /usr/bin/sleep /usr/local/bin/kcms-movable")
    try:
        yield host
    finally:
        host.run(
            "systemctl stop 'kcms-movable-*' 2>/dev/null; systemctl reset-failed 2>/dev/null;"
            f"umount {SHARED}; rm -rf {SHARED} /tmp/kcms-movable* /usr/local/bin/kcms-movable"
        )
        host.clean()


SCAN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import asdict
from kcms.node.movable import scan
from kcms.node.owner import Ids
asked = json.loads(sys.argv[2])
ids = Ids(asked.pop("uid"), asked.pop("gid"), tuple(asked.pop("groups")))
print(json.dumps(asdict(scan(asked.pop("cgroup"), ids=ids, **asked))))
"""


class Job:
    """A job that runs until the test is over."""

    def __init__(self, host: Host, argv: list[str]) -> None:
        self.host = host
        self.unit = f"kcms-movable-{next(UNITS)}.service"
        host.run(f"rm -f {HOME}/ready {HOME}/out")
        spec = {
            "executable": argv[0], "arguments": argv[1:], "base_directory": HOME, "input": None,
            "output": f"{HOME}/out", "error": None, "environment": {},
        }  # fmt: skip
        plan = {
            "wanted": {
                "user": "alice",
                "uid": 2001,
                "gid": 2001,
                "spec": spec,
                "job": 1,
                "task": 0,
            },
            "account": {"home": HOME, "shell": "/bin/sh", "groups": [2001]},
            "cluster": "c",
            "node": "n",
        }
        self.directory = f"{WORK}/{self.unit}"
        host.run(f"rm -rf {self.directory}")
        host.write(f"{self.directory}/wanted.json", json.dumps(plan))
        node = f"{CODE}/kcms/node"
        host.run(
            f"systemd-run --quiet --collect --unit={self.unit} -p Delegate=yes /bin/sh "
            f"{node}/task_start.sh {self.directory} {node}/begin.py boot"
        )

    def ready(self) -> None:
        ended = f"{self.directory}/exit"
        for _ in range(100):
            found = self.host.run(f"ls {HOME}/ready {ended} 2>/dev/null; true").split()
            assert ended not in found, self.host.run(f"cat {HOME}/out")
            if found:
                return
            time.sleep(0.1)
        raise AssertionError(self.host.run(f"cat {HOME}/out"))

    def scan(self) -> dict[str, Any]:
        where = self.host.run(f"systemctl show -P ControlGroup {self.unit}").strip()
        asked = {
            "cgroup": f"/sys/fs/cgroup{where}/task", "spec": {"base_directory": HOME},
            "shared_directories": [SHARED], "uid": 2001, "gid": 2001, "groups": [2001],
            "home": HOME, "image_directory": "/run",
        }  # fmt: skip
        program = f"/usr/bin/python3 -I -S -E -c {shlex.quote(SCAN)}"
        return dict(json.loads(self.host.run(f"{program} {CODE} {shlex.quote(json.dumps(asked))}")))

    def record(self, name: str) -> None:
        """Keep what /proc says of the job, for the unit tests, when a file for it is named."""
        if "KCMS_RECORD" not in os.environ:
            return
        place = Path(os.environ["KCMS_RECORD"])
        where = self.host.run(f"systemctl show -P ControlGroup {self.unit}").strip()
        where = f"/sys/fs/cgroup{where}"
        self.host.write(f"{WORK}/record.py", (ROOT / "tests/lab_node/record_proc.py").read_bytes())
        init = self.host.run(f"tail -n 1 {where}/init/cgroup.procs").strip()
        told = self.host.run(f"/usr/bin/python3 {WORK}/record.py {where}/task {init} {CODE}")
        known = json.loads(place.read_text()) if place.exists() else {}
        known[name] = json.loads(told)
        rows = (f"{json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(known.items()))
        place.write_text("{" + ",\n".join(rows) + "}\n")

    def stop(self) -> None:
        self.host.run(f"systemctl stop {self.unit}; true")


def look(host: Host, name: str, program: str) -> dict[str, Any]:
    """What is said of a job that runs the Python program, once it stands."""
    job = Job(host, ["/usr/bin/python3", "-c", PYTHON + program + READY])
    try:
        job.ready()
        job.record(name)
        return job.scan()
    finally:
        job.stop()


REFUSED = {
    "tcp": (
        "l = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection("
        "l.getsockname()); a = l.accept()[0]; l.close()",
        "has a TCP connection, 127.0.0.1:",
    ),
    "listen": ("s = socket.create_server(('127.0.0.1', 18999))", "listens on TCP 127.0.0.1:18999"),
    "listen6": ("s = socket.create_server(('::1', 18998), family=socket.AF_INET6)",
                "listens on TCP [::1]:18998"),
    "udp": ("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 18997))",
            "has a UDP socket at 127.0.0.1:18997"),
    "unbound": ("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "has a UDP socket open"),
    "unix": ("s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen()",
             "listens on the Unix socket sock"),
    "dbus": ("s = socket.socket(socket.AF_UNIX); s.connect('/run/dbus/system_bus_socket')",
             "is connected to /run/dbus/system_bus_socket outside the job"),
    "syslog": ("s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect('/dev/log')",
               "is connected to /run/systemd/journal/dev-log outside the job"),
    "io_uring": (
        "p = ctypes.create_string_buffer(120); n = ctypes.CDLL(None).syscall(425, 4, p)\n"
        "assert n >= 0",
        "has an io_uring open",
    ),
    "flock": ("f = open('locked', 'w'); fcntl.flock(f, fcntl.LOCK_EX)", "holds a lock (flock) on"),
    "fcntl": ("f = open('locked', 'w'); fcntl.lockf(f, fcntl.LOCK_EX)", "holds a lock (posix) on"),
    "shm": (
        "c = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p\n"
        "n = c.shmget(0, 4096, 0o1600); c.shmat(n, None, 0); c.shmctl(n, 0, None)",
        "has System V shared memory attached",
    ),
    "userns": ("assert ctypes.CDLL(None).unshare(0x10000000) == 0", "namespace of its own"),
    "tmp": ("f = open('/tmp/kcms-movable', 'w')", "has /tmp/kcms-movable open for writing"),
    "tmpread": ("open('/tmp/kcms-movable', 'w').close(); f = open('/tmp/kcms-movable')",
                "has /tmp/kcms-movable open, which lies on this node alone"),
    "devshm": (
        "f = os.open('/dev/shm/kcms-movable', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 4096)\n"
        "m = mmap.mmap(f, 4096); os.close(f)",
        "/dev/shm/kcms-movable",
    ),
    "cwd": ("open('ready', 'w').close(); os.chdir('/tmp'); time.sleep(1000)", "stands in /tmp"),
    "large": ("f = open('gone', 'w'); f.write('x' * 3000000); f.flush(); os.unlink('gone')",
              "has a removed file of 2929 KiB open"),
    "double fork": (
        "if os.fork() == 0:\n if os.fork() == 0: time.sleep(1000)\n os._exit(0)\nos.wait()",
        "no longer hangs on the job's first process",
    ),
    "hidden": ("assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0; f = open('own', 'w')",
               "hides what"),
    "setuid": (
        "if os.fork() == 0: os.execv('/usr/local/bin/kcms-movable', ['x', '1000'])\n"
        "time.sleep(0.3)",
        "runs with other ids than the job's owner, uid 0 gid 2001 (a setuid program",
    ),
    "proc": ("f = open('/proc/self/status')", "/status open, which lies on this node alone"),
    "userfault": (
        "n = ctypes.CDLL(None).syscall(323, 1 | 0o2000000)\nassert n >= 0", "has a userfaultfd open"
    ),
    "traced": (
        "if os.fork() == 0:\n ctypes.CDLL(None).ptrace(0, 0, 0, 0); time.sleep(1000)\n"
        "time.sleep(0.3)",
        "is traced by process",
    ),
    "sem": ("n = ctypes.CDLL(None).semget(0, 1, 0o1600)",
            "System V semaphores"),
    "terminal": (
        "m = os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)\n"
        "l = ctypes.CDLL(None); l.grantpt(m); l.unlockpt(m); l.ptsname.restype = ctypes.c_char_p\n"
        "s = os.open(l.ptsname(m).decode(), os.O_RDWR | os.O_NOCTTY); os.close(m)",
        "uses the terminal /dev/pts/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_move_is_refused_in_one_sentence(movable: Host, name: str) -> None:
    program, sentence = REFUSED[name]
    said = look(movable, name, program)
    movable.run("ipcs -s | awk '$3 == \"alice\" {print $2}' | xargs -rn1 ipcrm -s; true")
    assert not said["ok"], said
    assert sentence in said["message"]
    assert "\n" not in said["message"]


PASSING = {
    "pipe": "r, w = os.pipe()\nif os.fork() == 0: time.sleep(1000)",
    "half a pipe": "r, w = os.pipe(); os.close(r)",
    "socket pair": "a, b = socket.socketpair()",
    "removed": "f = open('gone', 'w'); f.write('x'); f.flush(); os.unlink('gone')",
    "tmpfile": "f = os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
    "memfd": "f = os.memfd_create('m'); os.ftruncate(f, 4096); m = mmap.mmap(f, 4096)",
    "shared anonymous": "m = mmap.mmap(-1, 1 << 20); m[:4] = b'abcd'",
    "own terminal": "m, s = os.openpty()",
    "inotify": "n = ctypes.CDLL(None).inotify_init(); "
    "assert ctypes.CDLL(None).inotify_add_watch(n, b'.', 0xfff) >= 0",
    "events": "import select; e = select.epoll(); f = os.eventfd(0); e.register(f)\n"
    "c = ctypes.CDLL(None); assert c.timerfd_create(1, 0) >= 0",
    "fifo": "os.path.exists('fifo') or os.mkfifo('fifo'); f = os.open('fifo', os.O_RDWR)",
    "devices": "f = [open(f'/dev/{n}') for n in ('null', 'zero', 'full', 'random', 'urandom')]",
    "pidfd": "p = os.fork()\nif p == 0: time.sleep(1000)\nf = os.pidfd_open(p)",
    "netlink": "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); s.bind((0, 0))",
    "system file": "f = open('/etc/passwd')",
}


@pytest.mark.parametrize("name", PASSING)
def test_what_can_move_passes(movable: Host, name: str) -> None:
    said = look(movable, name, PASSING[name])
    assert said["ok"], said["message"]


def test_a_shell_tree_passes_and_tells_what_it_needs(movable: Host) -> None:
    script = "sleep 1000 | cat > copied & (touch ready; sleep 1000; true) | cat; wait"
    job = Job(movable, ["/bin/sh", "-c", script])
    try:
        job.ready()
        job.record("shell tree")
        said = job.scan()
        assert said["ok"], said["message"]
        data = said["data"]
        assert (data["place"], data["cwd"], data["groups"]) == (HOME, [HOME], [2001])
        assert data["processes"] == 6
        assert data["root"] == 2
        paths = [each["path"] for each in data["files"]]
        assert "/usr/bin/dash" in paths
        for each in data["files"][:3]:
            told = movable.run(f"sha256sum {each['path']}; stat -c %s {each['path']}").split()
            assert (told[0], int(told[2])) == (each["sha256"], each["size"])
    finally:
        job.stop()


def test_a_job_that_never_rests_passes(movable: Host) -> None:
    script = "touch ready; while true; do echo x | cat | sed s/x/y/ > copied; done"
    job = Job(movable, ["/bin/sh", "-c", script])
    try:
        job.ready()
        said = [job.scan() for _ in range(10)]
        assert [each["message"] for each in said if not each["ok"]] == []
    finally:
        job.stop()


def test_a_pipe_that_a_stranger_holds_is_refused(movable: Host) -> None:
    program = PYTHON + "r, w = os.pipe(); open('own', 'w').write(str(os.getpid()))" + READY
    job = Job(movable, ["/usr/bin/python3", "-c", program])
    try:
        job.ready()
        hold = (
            "p=$(cat $(ls -d /sys/fs/cgroup/*/" + job.unit + ")/task/cgroup.procs); "
            "systemd-run --quiet --collect --unit=kcms-movable-stranger --uid=alice "
            "sh -c 'exec 9>/proc/'$p/fd/4'; exec sleep 1000'; sleep 0.5"
        )
        movable.run(hold)
        said = job.scan()
        assert not said["ok"]
        assert "has a pipe to process" in said["message"]
        assert "(sleep), which is outside the job" in said["message"]
    finally:
        movable.run("systemctl stop kcms-movable-stranger")
        job.stop()

"""How long a job stands still when it moves to another host, beside criu by hand.

    make bench NAME=migration

A program ticks about a thousand times a second, and its freeze is the longest time between two
ticks of the wall clock, which the lab hosts share.  It holds memory of which half is random.  The
two sides take turns, on the same two lab hosts:

* *bare*: ``criu dump`` into the shared directory, as root, and ``criu restore`` on the other host,
  one right after the other, where namespaces wait for the process; nothing is checked, nobody
  is asked, and what fails half-way loses the process;
* *ours*: a job moves, by a manager and two node daemons.

Then what the steps of ours took, from the journal of the hosts.  ``KCMS_BENCH_ROUNDS`` are the
rounds, 5 by default, ``KCMS_BENCH_MB`` the sizes, "50 250 1000" by default.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import _lab, _load
from bench._ours import ours
from kcms.tls import client_context

ROUNDS = int(os.environ.get("KCMS_BENCH_ROUNDS", "5"))
SIZES = [int(each) for each in os.environ.get("KCMS_BENCH_MB", "50 250 1000").split()]
SOURCE, TARGET = "alpha1", "alpha2"
USER, UID, GID = "alice", 2001, 2001
HOME = "/shared/home/alice/bench-migration"
PROGRAM = Path(__file__).with_name("still.c")
WORKS = 0.5
"""Seconds that the program ticks before and after the move."""

FACTOR, PLUS = 1.25, 100.0
"""The aim: at most FACTOR times bare, and PLUS ms."""

CRIU = "/usr/sbin/criu"
UNSHARE = "setsid unshare --pid --mount --fork --kill-child --mount-proc --propagation slave"
AS_OWNER = f"setpriv --ruid={UID} --rgid={GID} --keep-groups"
LAPS = re.compile(r"^(\w+) took: (.* ms)$")

Figures = defaultdict[tuple[str, int], list[float]]
"""Freezes in ms, of each side and size."""

Laps = defaultdict[tuple[int, str], list[float]]
"""Times in ms of the parts of our steps, for each size."""


class Hosts:
    """The two hosts, and the files of the program's owner on their shared directory."""

    def __init__(self, lab: _lab.Lab) -> None:
        self.files = lab.shared.parent / "home/alice/bench-migration"
        self.shells = {name: _lab.Shell(name) for name in (SOURCE, TARGET)}
        self.files.mkdir()
        program = self.files / "still"
        subprocess.run(["gcc", "-O2", "-o", program, PROGRAM], check=True)
        os.chown(self.files, UID, GID)

    def run(self, host: str, script: str) -> str:
        return self.shells[host].run(script)

    def close(self) -> None:
        for each in self.shells.values():
            each.close()
        shutil.rmtree(self.files)

    def await_ticks(self, name: str, seconds: float = WORKS) -> None:
        """Until the program ticked for some time, from now on."""
        path = self.files / name
        wait(lambda: path.exists() and path.stat().st_size > 0, 0.01)
        before = path.stat().st_size
        wait(lambda: path.stat().st_size > before, 0.001)
        time.sleep(seconds)

    def freeze(self, name: str) -> float:
        """Milliseconds of the longest pause, having seen that the clocks went on."""
        data = (self.files / name).read_bytes()
        ticks = list(struct.iter_unpack("qq", data[: len(data) // 16 * 16]))
        pairs = list(itertools.pairwise(ticks))
        if any(not 0 < after[0] - before[0] < 60e9 for before, after in pairs):
            raise SystemExit("bench: the monotonic clock of the program jumped")
        return float(max(after[1] - before[1] for before, after in pairs)) / 1e6


# bare --------------------------------------------------------------------------------------------


def bare(hosts: Hosts, megabytes: int) -> float:
    images, ticks = f"{HOME}/images", "bare.ticks"
    command = f"{UID} {GID} {HOME}/still run {megabytes} {HOME}/{ticks}"
    source = _namespaces(hosts, SOURCE, command)
    target = _namespaces(hosts, TARGET, "")
    hosts.await_ticks(ticks)
    hosts.run(SOURCE, f"mkdir {images}")
    hosts.run(
        SOURCE,
        f"nsenter -t {source} -p -m {AS_OWNER} {CRIU} dump -t 2 -D {images} -o dump.log "
        "--manage-cgroups=ignore",
    )
    hosts.run(
        TARGET,
        f"nsenter -t {target} -p -m {CRIU} restore -d -D {images} -o restore.log "
        "--manage-cgroups=ignore",
    )
    hosts.await_ticks(ticks)
    for host, init in ((SOURCE, source), (TARGET, target)):
        hosts.run(host, f"kill -9 {init}")
    found = hosts.freeze(ticks)
    shutil.rmtree(hosts.files / "images")
    (hosts.files / ticks).unlink()
    return found


def _namespaces(hosts: Hosts, host: str, command: str) -> str:
    """The pid, on its host, of PID 1 of new namespaces, which runs the command if there is one."""
    script = (
        f"{UNSHARE} {HOME}/still init {command} > /dev/null 2>&1 & "
        "for i in $(seq 100); do init=$(pgrep -P $! -x still) && break; sleep 0.02; done; "
        "echo $init"
    )
    return hosts.run(host, script).strip()


# ours --------------------------------------------------------------------------------------------


class Manager:
    """The manager's API, as a gateway calls it for the user."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.port = int(settings["clusters"][0]["port"])
        names = ("tls_ca", "tls_certificate", "tls_key")
        context = client_context(*(str(settings[name]) for name in names))
        self._line = _load.Connection(_load.tcp("127.0.0.1", self.port, context))
        self._headers = (f"Kcms-User: {USER}", f"Kcms-Uid: {UID}", f"Kcms-Gid: {GID}")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._asked(_load.post(path, _lab.dumped(body), self._headers))

    def get(self, path: str) -> dict[str, Any]:
        lines = (f"GET {path} HTTP/1.1", "Host: bench", *self._headers, "", "")
        return self._asked("\r\n".join(lines).encode())

    def job(self, number: int) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{number}")

    def _asked(self, request: bytes) -> dict[str, Any]:
        self._line.send(request)
        return dict(json.loads(self._line.receive()))

    def can_move(self) -> bool:
        nodes = self.get("/v1/nodes")["nodes"]
        return [each["mover"].get("trouble") for each in nodes if each["mover"]] == ["", ""]


def move(hosts: Hosts, manager: Manager, megabytes: int) -> float:
    ticks = "ours.ticks"
    spec = {
        "executable": f"{HOME}/still",
        "arguments": ["run", str(megabytes), f"{HOME}/{ticks}"],
        "base_directory": HOME,
        "output": "/dev/null",
        "error": "/dev/null",
    }
    number = int(manager.post("/v1/jobs", {"spec": spec})["id"])
    hosts.await_ticks(ticks)
    source = manager.job(number)["tasks"][0]["node"]
    wait(lambda: bool(manager.job(number)["start_time"]), 0.05)
    target = {SOURCE: TARGET, TARGET: SOURCE}[source]
    manager.post(f"/v1/jobs/{number}/migrate", {"node": target})
    wait(lambda: _is_over(manager.job(number)), 0.02)
    hosts.await_ticks(ticks)
    manager.post(f"/v1/jobs/{number}/kill", {})
    wait(lambda: manager.job(number)["state"] == "CANCELLED", 0.05)
    wait(lambda: not list(hosts.files.glob(".kcms/*")), 0.05)
    found = hosts.freeze(ticks)
    (hosts.files / ticks).unlink()
    return found


def _is_over(job: dict[str, Any]) -> bool:
    moving = job["migration"] or {}
    if moving.get("phase") in ("failed", "refused"):
        raise SystemExit(f"bench: the job did not move: {moving['message']}")
    return moving.get("phase") == "done"


def read_laps(hosts: Hosts, since: float, megabytes: int, laps: Laps) -> None:
    """What the steps say in the journals that their parts took."""
    for host in (SOURCE, TARGET):
        told = hosts.run(host, f"journalctl -q -o cat --no-pager --since=@{since:.3f}")
        for step, parts in filter(None, map(_lap, told.splitlines())):
            for name, took in parts.items():
                laps[megabytes, f"{step}: {name}"].append(took)


def _lap(line: str) -> tuple[str, dict[str, float]] | None:
    found = LAPS.match(line)
    if found is None:
        return None
    parts = (each.rpartition(" ") for each in found[2].removesuffix(" ms").split(" ms, "))
    return found[1], {name: float(took) for name, _, took in parts}


# both --------------------------------------------------------------------------------------------


def wait(ready: Callable[[], bool], pause: float) -> None:
    end = time.monotonic() + 120
    while not ready():
        if time.monotonic() > end:
            raise SystemExit("bench: nothing moves any more")
        time.sleep(pause)


def report(found: Figures, laps: Laps) -> str:
    lines = [f"{'freeze, ms':12}{'bare':>24}{'ours':>24}{'x bare':>8}{'aim':>8}"]
    for size in SIZES:
        cells = [found[side, size] for side in ("bare", "ours")]
        middle = [statistics.median(each) for each in cells]
        aim = FACTOR * middle[0] + PLUS
        words = "".join(f"{_cell(each):>24}" for each in cells)
        lines.append(f"{size:>5} MB    {words}{middle[1] / middle[0]:>8.2f}{aim:>8.0f}")
    names = dict.fromkeys(name for _, name in laps)
    lines += ["", f"{'of ours, ms':32}" + "".join(f"{size:>20} MB" for size in SIZES)]
    for name in names:
        cells = [laps.get((size, name), []) for size in SIZES]
        lines.append(f"{name:32}" + "".join(f"{_cell(each) if each else '':>23}" for each in cells))
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    """Median, and between which it lay."""
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def rounds(hosts: Hosts, manager: Manager, found: Figures, laps: Laps) -> None:
    for turn in range(ROUNDS):
        for size in SIZES:
            found["bare", size].append(bare(hosts, size))
            since = time.time()
            found["ours", size].append(move(hosts, manager, size))
            read_laps(hosts, since, size, laps)
        print(f"round {turn + 1} of {ROUNDS}", file=sys.stderr)


def main() -> int:
    if os.geteuid() != 0:
        raise SystemExit("bench: lab hosts need root")
    if shutil.which("gcc") is None:
        raise SystemExit("bench: the program that moves is in C: apt install gcc libc6-dev")
    found, laps = Figures(list), Laps(list)
    with _lab.lab(hosts=2) as lab:
        hosts = Hosts(lab)
        try:
            measure(lab, hosts, found, laps)
        finally:
            hosts.close()
    print(report(found, laps))
    print(
        f"\nmedian (least-most) of {ROUNDS} rounds; {os.cpu_count()} processors, load average "
        f"afterwards {os.getloadavg()[0]:.1f}"
    )
    return 0


def measure(lab: _lab.Lab, hosts: Hosts, found: Figures, laps: Laps) -> None:
    home = lab.shared / "grid"
    home.mkdir()
    nodes = {name: {"roles": ["node", "submit"]} for name in (SOURCE, TARGET)}
    listed = lab.shared / "hosts.json"
    listed.write_text(json.dumps({"hosts": {**nodes, "head": {"roles": ["admin"]}}}))
    with ours(home, address="0.0.0.0", hosts_file=str(listed)) as grid:
        manager = Manager(tomllib.loads((home / "alpha1.toml").read_text()))
        one = _lab.node(lab, grid, manager.port, 2, SOURCE, "/shared")
        with one, _lab.node(lab, grid, manager.port, 2, TARGET, "/shared"):
            wait(manager.can_move, 0.1)
            rounds(hosts, manager, found, laps)

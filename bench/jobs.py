"""Submitting and draining jobs beside Debian's Slurm, on the same machine and as many slots.

    make bench NAME=jobs

Each round brings up Slurm with the settings under which it drains best (*tuned*), Slurm with its
own (*default*) and ours, one after another, each alone on the machine and with no job from before;
the ratios are of medians over rounds.  See docs/performance.md for what is compared and why.

``KCMS_BENCH_ROUNDS`` are the rounds, 3 by default.  Root and systemd-nspawn are needed: our tasks
are units of systemd, so our node is a lab host (LAB, ``bench`` by default).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import _lab, _load, _slurm
from bench._ours import ALICE, ours
from kcms.tls import client_context

ROUNDS = int(os.environ.get("KCMS_BENCH_ROUNDS", "3"))
SLOTS = 4
SINGLE, MANY = 1000, 4000  # submissions of a row: one at a time, and quicker ones
BULK = 500  # jobs of one call
DEPTH = 64  # requests under way of a pipeline
ARRAY = 10_000
QUEUED = 10_000
STARTS = 15
DRAINED = {"kcms": 400, "tuned": 200, "default": 60}
PROGRAM = "#!/bin/sh\nexec date +%s.%N\n"
SUBMIT = "/slurm/v0.0.38/job/submit"

Figures = defaultdict[str, list[float]]
"""Of each row what the rounds gave."""


# Slurm -------------------------------------------------------------------------------------------


def slurm_job(script: str, hold: bool, output: str = "/dev/null") -> bytes:
    job = {
        "name": "bench",
        "hold": hold,
        "current_working_directory": "/tmp",
        "standard_output": output,
        "standard_error": output,
        "environment": {"PATH": "/usr/bin:/bin"},
    }
    return json.dumps({"script": f"#!/bin/sh\n{script}\n", "job": job}).encode()


def slurm_round(home: Path, figures: Figures, drained: int, more: str) -> None:
    with _slurm.slurm(home, SLOTS, rest=True, more=more) as slurm:
        headers = ("X-SLURM-USER-NAME: root", f"X-SLURM-USER-TOKEN: {slurm.token}")
        connect = _load.tcp("127.0.0.1", slurm.rest_port)

        def request(script: str, hold: bool, output: str = "/dev/null") -> bytes:
            return _load.post(SUBMIT, slurm_job(script, hold, output), headers)

        def is_idle() -> bool:
            return not slurm.run("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%i")

        line = _load.Connection(connect)
        for at in range(STARTS):
            output = home / f"start{at}"
            figures["start"].append(started(line, request(PROGRAM, False, str(output)), output))
            wait(is_idle, 0.02)
        held = request("true", True)
        figures["one"].append(_load.in_turn(connect, [held] * SINGLE))
        figures["four"].append(_load.in_turn(connect, [held] * SINGLE, 4))
        slurm.run("scancel", "--state=PENDING", "--user=root")
        array = f"--array=1-{ARRAY}"
        began = time.perf_counter()
        slurm.run("sbatch", "--hold", array, "-o", "/dev/null", "--wrap", "true")
        figures["array"].append((time.perf_counter() - began) * 1000)
        slurm.run("scancel", "--state=PENDING", "--user=root")
        wait(is_idle, 0.1)
        went = [request("true", False)] * drained
        figures["drain"].append(drain(lambda: _load.in_turn(connect, went, 4), is_idle, drained))
        _load.in_turn(connect, [held] * QUEUED, 4)
        figures["memory"].append(resident(slurm.running["slurmctld"].pid))


# ours --------------------------------------------------------------------------------------------


def ours_round(home: Path, figures: Figures, lab: _lab.Lab) -> None:
    with ours(home, max_open_jobs=1_000_000, address="0.0.0.0") as grid:
        caller = Caller.of(home)
        with _lab.node(lab, grid, caller.port, SLOTS):
            wait(caller.has_node, 0.1)
            figures["start"] += caller.starts()
            figures["drain"].append(caller.drain(DRAINED["kcms"]))
        submissions(caller, figures)


def queue_of_ours(home: Path, figures: Figures) -> None:
    """A manager of its own, as one keeps the memory that it once had."""
    with ours(home, max_open_jobs=1_000_000) as grid:
        caller = Caller.of(home)
        for _ in range(QUEUED // BULK):
            caller.bulk()
        figures["memory"].append(resident(grid.processes[0].pid))


def submissions(caller: Caller, figures: Figures) -> None:
    """No node is there any more: every job waits."""
    for where, connect, request, bulk in caller.ways():
        figures[f"{where}one"].append(_load.in_turn(connect, [request] * SINGLE))
        figures[f"{where}ahead"].append(_load.pipelined(connect, [request] * MANY, DEPTH))
        calls = MANY // BULK
        figures[f"{where}bulk"].append(BULK * _load.in_turn(connect, [bulk] * calls))
        figures[f"{where}eight"].append(_load.in_turn(connect, [request] * MANY, 8))
    began = time.perf_counter()
    caller.submit({"class": "batch", "total_tasks": ARRAY, "output": "/dev/null"})
    figures["array"].append((time.perf_counter() - began) * 1000)


class Caller:
    """A user of the gateway's socket, and a gateway as the manager's API sees one."""

    def __init__(self, home: Path, settings: dict[str, Any]) -> None:
        self.folder = home / ALICE
        self.spec = {
            "executable": str(self.folder / "own.sh"),
            "base_directory": str(self.folder),
        }
        self.headers = (f"Kcms-As: {ALICE}",)
        self.connect = _load.unix(str(home / "alpha1.sock"))
        self.port = int(settings["clusters"][0]["port"])
        names = ("tls_ca", "tls_certificate", "tls_key")
        context = client_context(*(str(settings[name]) for name in names))
        self.manager = _load.tcp("127.0.0.1", self.port, context)

    @classmethod
    def of(cls, home: Path) -> Caller:
        """As the gateway of alpha1 is configured."""
        return cls(home, tomllib.loads((home / "alpha1.toml").read_text()))

    def ways(self) -> list[tuple[str, _load.Connect, bytes, bytes]]:
        """The user's, and straight at the manager: a connection, a submission, and one in bulk."""
        ids = ("Kcms-User: games", "Kcms-Uid: 5", "Kcms-Gid: 60")
        output = f"{self.spec['base_directory']}/kcms-%j.out"
        whole = {**self.spec, "output": output, "error": output}
        return [
            (where, connect, *self._requests(spec, headers))
            for where, connect, spec, headers in (
                ("", self.connect, self.spec, self.headers),
                ("tls ", self.manager, whole, ids),
            )
        ]

    def _requests(self, spec: dict[str, Any], headers: tuple[str, ...]) -> tuple[bytes, bytes]:
        one = _load.post("/v1/jobs", _lab.dumped({"spec": spec}), headers)
        rows = [{"spec": spec}] * BULK
        return one, _load.post("/v1/jobs/bulk", _lab.dumped({"jobs": rows}), headers)

    def bulk(self) -> None:
        self._asked(self._requests(self.spec, self.headers)[1])

    def request(self, more: dict[str, Any]) -> bytes:
        return _load.post("/v1/jobs", _lab.dumped({"spec": {**self.spec, **more}}), self.headers)

    def submit(self, more: dict[str, Any]) -> dict[str, Any]:
        return self._asked(self.request(more))

    def get(self, path: str) -> dict[str, Any]:
        lines = (f"GET {path} HTTP/1.1", "Host: bench", *self.headers, "", "")
        return self._asked("\r\n".join(lines).encode())

    def _asked(self, request: bytes) -> dict[str, Any]:
        line = _load.Connection(self.connect)
        line.send(request)
        answer = dict(json.loads(line.receive()))
        line.close()
        return answer

    def has_node(self) -> bool:
        return any(each["state"] == "UP" for each in self.get("/v1/nodes")["nodes"])

    def is_idle(self) -> bool:
        return not self.get("/v1/jobs?state=active&limit=1")["jobs"]

    def starts(self) -> list[float]:
        program = self.folder / "start.sh"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        line = _load.Connection(self.connect)
        found = []
        for at in range(STARTS):
            output = self.folder / f"start{at}"
            request = self.request({"executable": str(program), "output": str(output)})
            found.append(started(line, request, output))
            wait(self.is_idle, 0.02)
        line.close()
        return found

    def drain(self, count: int) -> float:
        program = Path(self.spec["executable"]).with_name("noop")
        program.write_bytes(Path("/bin/true").read_bytes())
        program.chmod(0o755)
        request = self.request({"executable": str(program), "output": "/dev/null"})
        work = [request] * count
        rate = drain(lambda: _load.pipelined(self.connect, work, DEPTH), self.is_idle, count)
        states = {each["state"] for each in self.get(f"/v1/jobs?limit={count}")["jobs"]}
        if states != {"COMPLETED"}:
            raise SystemExit(f"bench: jobs ended as {', '.join(sorted(states))}")
        return rate


# both --------------------------------------------------------------------------------------------


def started(line: _load.Connection, request: bytes, output: Path) -> float:
    """Milliseconds from a submission to the first word of its program, on an idle cluster."""
    time.sleep(0.3)
    began = time.time()
    line.send(request)
    line.receive()
    wait(lambda: output.exists() and output.read_text().endswith("\n"), 0.002)
    return (float(output.read_text()) - began) * 1000


def drain(submit: Callable[[], object], is_idle: Callable[[], bool], count: int) -> float:
    """Jobs a second, from the first submission to the end of the last."""
    began = time.perf_counter()
    submit()
    wait(is_idle, 0.05)
    return count / (time.perf_counter() - began)


def wait(ready: Callable[[], bool], pause: float) -> None:
    end = time.monotonic() + 600
    while not ready():
        if time.monotonic() > end:
            raise SystemExit("bench: nothing moves any more")
        time.sleep(pause)


def resident(pid: int) -> float:
    """MB of memory, what is shared with others counted in part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"bench: no memory of {pid}")


ROWS = (
    # what, ours, Slurm's, aim as a ratio, whether less is better
    ("one at a time, one connection, per s", "one", "one", None, False),
    ("pipelined over one connection, per s", "ahead", "one", 5.0, False),
    (f"in bulk, {BULK} a call, per s", "bulk", "one", 5.0, False),
    ("eight connections (theirs four), per s", "eight", "four", 5.0, False),
    ("  straight at the manager: one, per s", "tls one", "one", None, False),
    ("  pipelined, per s", "tls ahead", "one", 5.0, False),
    ("  in bulk, per s", "tls bulk", "one", 5.0, False),
    ("  eight connections, per s", "tls eight", "four", 5.0, False),
    (f"an array of {ARRAY} tasks, ms", "array", "array", None, True),
    (f"no-op jobs drained on {SLOTS} slots, per s", "drain", "drain", 5.0, False),
    ("submit to start, idle, ms", "start", "start", None, True),
    (f"memory with {QUEUED} queued, MB", "memory", "memory", None, True),
)


def report(found: dict[str, Figures]) -> str:
    lines = [f"{'':42}{'ours':>20}{'tuned':>20}{'default':>20}{'x tuned':>9}{'aim':>5}"]
    for what, mine, theirs, aim, less in ROWS:
        cells = [found["kcms"][mine], found["tuned"][theirs], found["default"][theirs]]
        middle = [statistics.median(each) for each in cells]
        ratio = middle[1] / middle[0] if less else middle[0] / middle[1]
        words = "".join(f"{_cell(each):>20}" for each in cells)
        lines.append(f"{what:42}{words}{ratio:>9.1f}{'' if aim is None else f'{aim:g}':>5}")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    """Median, and between which it lay."""
    digits = 0 if statistics.median(values) >= 100 else 1
    low, middle, high = (
        f"{each:.{digits}f}" for each in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low}-{high})"


def main() -> int:
    if os.geteuid() != 0:
        raise SystemExit("bench: lab hosts, the gateway and slurmd need root")
    _slurm.install("sbatch", "slurmctld", "slurmd", "munged", "slurmrestd")
    found: dict[str, Figures] = {name: defaultdict(list) for name in DRAINED}
    with _lab.lab() as lab:
        for turn in range(ROUNDS):
            for name, more in (("tuned", _slurm.TUNED), ("default", "")):
                with tempfile.TemporaryDirectory(prefix="kcms-bench-") as scratch:
                    Path(scratch).chmod(0o755)
                    slurm_round(Path(scratch), found[name], DRAINED[name], more)
            homes = [lab.shared / f"{name}{turn}" for name in ("round", "queue")]
            for home in homes:
                home.mkdir()
            ours_round(homes[0], found["kcms"], lab)
            queue_of_ours(homes[1], found["kcms"])
            print(f"round {turn + 1} of {ROUNDS}", file=sys.stderr)
    print(report(found))
    print(
        f"\nmedian (least-most) of {ROUNDS} rounds; {os.cpu_count()} processors, load average "
        f"afterwards {os.getloadavg()[0]:.1f}"
    )
    return 0

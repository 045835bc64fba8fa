"""A job on its way to another node, held at a boundary between two phases of its move.

It is held by SIGSTOP of the daemon whose turn comes next, so nothing depends on how long a phase
takes.  A daemon that stands still, was killed or cannot be reached is the same to all others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.grid import Grid
from tests.e2e.test_migration import HOME, node_of, other, started

NODES = ("alpha1", "alpha2", "alpha3")
UNITS = {"source": "kcms-node", "target": "kcms-node", "manager": "kcms-manager@alpha"}
MOVES = "/var/lib/kcms/node/moves"
"""Where a node keeps the images of moves that are under way."""

FRESH = 3.0
"""Seconds within which the manager has decided on a report that it has read."""


class Move:
    """A job of alice's that runs ``program``, and its move from ``source`` to ``target``."""

    def __init__(self, grid: Grid, program: str, name: str) -> None:
        self.grid = grid
        self.name = name
        grid.shell("alpha1", f"rm -f {HOME}/{name}.*", user="alice")
        job = started(grid, program, name, f"{HOME}/{name}")
        self.id = int(job["id"])
        self.hosts = {"source": node_of(job), "target": other(node_of(job)), "manager": "head"}
        self.stopped: set[str] = set()

    def host(self, who: str) -> str:
        return self.hosts[who]

    def signal(self, who: str, name: str) -> None:
        words = f"systemctl kill --kill-whom=main -s {name} {UNITS[who]}"
        self.grid.shell(self.host(who), words)

    def stop(self, who: str) -> None:
        self.signal(who, "STOP")
        self.stopped.add(who)

    def go(self, *who: str) -> None:
        """Let daemons go on, those that were killed or rebooted meanwhile as well."""
        for each in who:
            if each in self.stopped:
                self.grid.shell(
                    self.host(each), f"systemctl kill -s CONT {UNITS[each]}", check=False
                )
                self.stopped.discard(each)

    def ask(self) -> None:
        words = ("migrate", str(self.id), self.host("target"), "--no-wait")
        self.grid.kcms("alpha1", *words, user="alice")

    def job(self) -> dict[str, Any]:
        """Its record, once somebody can tell of it."""
        said = ""

        def told() -> bool:
            nonlocal said
            words = ("job", str(self.id), "--cluster", "alpha", "--json")
            done = self.grid.kcms("head", *words, check=False)
            said = done.stdout
            return done.returncode == 0

        await_soon(told, "the manager to tell of the job")
        return dict(json.loads(said))

    def phase(self, *names: str, seconds: float = 60) -> None:
        """Wait until the record of the move says so."""
        said: dict[str, Any] = {}

        def reached() -> bool:
            said.update(self.job()["migration"] or {})
            return said.get("phase") in names

        await_soon(reached, (names, said), seconds)

    def image(self) -> str:
        """The file that the image passes in."""
        listed = self.grid.shell("alpha1", f"ls {HOME}/.kcms/{self.id}.*.image", user="alice")
        (path,) = listed.stdout.split()
        return path

    def frozen_on(self, who: str) -> bool:
        find = f"find /sys/fs/cgroup -path '*kcms-task-{self.id}.*/task/cgroup.freeze'"
        told = self.grid.shell(self.host(who), f"{find} -exec cat {{}} +").stdout
        return told.split() == ["1"]

    def processes(self) -> dict[str, int]:
        """How many there are of the job, on each node that has some."""
        count = f"pgrep -u alice -cf {HOME}/{self.name}; true"
        with ThreadPoolExecutor(len(NODES)) as pool:
            told = pool.map(lambda node: int(self.grid.shell(node, count).stdout), NODES)
        return {node: number for node, number in zip(NODES, told, strict=True) if number}


def await_soon(reached: Callable[[], object], what: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.1)


# the boundaries ----------------------------------------------------------------------------------


def checking(move: Move) -> None:
    """Asked for; the source has not heard of it."""
    move.stop("source")
    move.ask()
    move.phase("checking")


def preparing(move: Move) -> None:
    """The source said yes; the target has not heard of it."""
    move.stop("target")
    move.ask()
    move.phase("preparing")


def dumping(move: Move) -> None:
    """Both said yes; the source has not been told to freeze the job."""
    preparing(move)
    move.stop("source")
    move.go("target")
    move.phase("dumping")


def restoring(move: Move) -> None:
    """The job stands still on the source, its image lies there; the target has not begun."""
    dumping(move)
    move.stop("target")
    move.go("source")
    move.phase("restoring")
    assert move.frozen_on("source")


def restored(move: Move) -> None:
    """Frozen copies on both nodes, and the manager does not hear it: the last moment before the
    point of no return."""
    restoring(move)
    move.stop("manager")
    move.go("target")
    _await_restored(move)
    assert move.frozen_on("source")
    assert move.frozen_on("target")


def committed(move: Move) -> None:
    """The first moment after the point of no return: the target does not hear it, and its copy
    still stands."""
    restored(move)
    for _ in range(5):
        # The first report to be read may be from before the restore.
        move.stop("target")
        move.go("manager")
        _await_unread(move, False)
        if _is_done(move):
            break
        move.stop("manager")
        move.go("target")
        _await_unread(move, True)
    assert _is_done(move)
    assert move.frozen_on("target")


def released(move: Move) -> None:
    """The job runs on the target; the source, with its frozen copy, has not heard it."""
    restoring(move)
    move.stop("source")
    move.go("target")
    move.phase("done")
    await_soon(lambda: not move.frozen_on("target"), "the job to go on")
    assert move.frozen_on("source")


def _await_restored(move: Move) -> None:
    path = f"/var/lib/kcms/node/tasks/{move.id}.0.*/restored"
    move.grid.shell(
        move.host("target"), f"timeout 30 sh -c 'until ls {path}; do sleep 0.1; done 2>&1'"
    )


def _await_unread(move: Move, some: bool) -> None:
    """Wait until the manager has something to read of the target, or has read all."""
    address = move.grid.address(move.host("target"))
    look = f"ss -Htn state established '( sport = :8660 and dst {address} )'"

    def reached() -> bool:
        lines = move.grid.shell("head", look).stdout.splitlines()
        return any(int(line.split()[0]) for line in lines) is some

    await_soon(reached, "the manager's connections", 30)


def _is_done(move: Move) -> bool:
    end = time.monotonic() + FRESH
    while time.monotonic() < end:
        if move.job()["migration"]["phase"] == "done":
            return True
        time.sleep(0.1)
    return False

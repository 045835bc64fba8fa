"""Whatever strikes at a boundary of a move, one copy of the job runs, and it is told which.

Before the point of no return the job goes on where it was, or the move goes on when the fault is
over; after it the job is the target's.  What a job wrote is compared with an undisturbed run: two
copies would have written a line twice, and a copy that was lost would have left some out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e import moving
from tests.e2e.conftest import USUAL
from tests.e2e.grid import Grid
from tests.e2e.moving import MOVES, NODES, UNITS, Move, await_soon
from tests.e2e.test_faults import DAEMONS, fill, small_disk
from tests.e2e.test_migration import HOME, node_of
from tests.e2e.test_moves import SHELL, nothing_is_left, undisturbed, written

SILENCE = "node_timeout = 15.0"
"""Short, as tests wait for it; longer than a daemon of theirs stands still."""

PLACE = f"{HOME}/.kcms"
MAKE_PLACE = f"install -d -o alice -g alice -m 700 {PLACE}"


@dataclass(frozen=True)
class Row:
    """``fault`` strikes when the move is ``at`` a boundary; ``mend`` undoes what it did.

    ``runs`` is where the job goes on then: on the source, on the target, or on neither, as it died
    with its host.  ``says`` is a part of the sentence that its record has for it.
    """

    at: Callable[[Move], None]
    fault: Callable[[Move], None]
    runs: str
    says: str = ""
    mend: Callable[[Move], None] = lambda _: None


# what strikes ------------------------------------------------------------------------------------


def kill(who: str) -> Callable[[Move], None]:
    """Systemd would start the daemon anew after a pause; that is left out."""

    def strike(move: Move) -> None:
        move.signal(who, "KILL")
        move.stopped.discard(who)
        move.grid.shell(move.host(who), f"sleep 0.2; systemctl start {UNITS[who]}")

    return strike


def kill_all(move: Move) -> None:
    with ThreadPoolExecutor(4) as pool:
        words = f"systemctl kill -s KILL {DAEMONS}"
        list(pool.map(lambda host: move.grid.shell(host, words, check=False), ("head", *NODES)))
    move.stopped.clear()


def cut(who: str, *then: str, until: str = "") -> Callable[[Move], None]:
    """``then`` go on while the host is cut off, until the move has come to a phase."""

    def strike(move: Move) -> None:
        move.grid.lab("cut", move.host(who))
        move.go(*then)
        if until:
            move.phase(until)

    return strike


def heal(who: str) -> Callable[[Move], None]:
    return lambda move: _lab(move, "heal", who)


def power_off(who: str, *then: str, until: str = "") -> Callable[[Move], None]:
    def strike(move: Move) -> None:
        move.grid.lab("power-off", move.host(who))
        move.stopped.discard(who)
        move.go(*then)
        if until:
            move.phase(until)

    return strike


def start(who: str) -> Callable[[Move], None]:
    return lambda move: _lab(move, "start", who)


def _lab(move: Move, word: str, who: str) -> None:
    move.grid.lab(word, move.host(who))


def damage(script: str) -> Callable[[Move], None]:
    """Change the image, as whoever can write there could."""

    def strike(move: Move) -> None:
        path = move.image()
        move.grid.shell("alpha1", script.replace("IMAGE", path), user="alice")
        move.go("target")
        move.phase("failed")

    return strike


def full(who: str, directory: str) -> Callable[[Move], None]:
    """There is next to no room left where a host, whose turn it is, keeps the image."""

    def strike(move: Move) -> None:
        own = f"$(stat -c uid=%u,gid=%g,mode=%a {directory})"
        mount = f"mount -t tmpfs -o size=64k,{own} none {directory}"
        move.grid.shell(move.host(who), f"{MAKE_PLACE} && {mount}")
        move.go(who)
        move.phase("failed")

    return strike


def emptied(who: str, directory: str) -> Callable[[Move], None]:
    return lambda move: move.grid.shell(move.host(who), f"umount -l {directory}") and None


def criu_taken_away(move: Move) -> None:
    move.grid.shell(move.host("target"), "mv /usr/sbin/criu /usr/sbin/criu.kept")
    move.go("target")
    move.phase("failed")


def criu_put_back(move: Move) -> None:
    move.grid.shell(move.host("target"), "mv /usr/sbin/criu.kept /usr/sbin/criu")


ROWS = {
    "asked for, the source's daemon is killed": Row(moving.checking, kill("source"), "target"),
    "checked, the manager is killed": Row(moving.preparing, kill("manager"), "target"),
    "dumped, every daemon is killed": Row(moving.restoring, kill_all, "target"),
    "restored, the manager is killed": Row(moving.restored, kill("manager"), "target"),
    "committed, the target's daemon is killed": Row(moving.committed, kill("target"), "target"),
    "released, every daemon is killed": Row(moving.released, kill_all, "target"),
    "dumped, the image is another": Row(
        moving.restoring,
        damage("printf x | dd of=IMAGE bs=1 seek=5000 conv=notrunc"),
        "source",
        "not the one that was written",
    ),
    "dumped, the target has no criu any more": Row(
        moving.restoring, criu_taken_away, "source", "criu", criu_put_back
    ),
    "admitted, the shared directory is full": Row(
        moving.dumping,
        full("source", PLACE),
        "source",
        "No space left on device",
        emptied("source", PLACE),
    ),
    "admitted, the source's disk is full": Row(
        moving.dumping, full("source", MOVES), "source", "free", emptied("source", MOVES)
    ),
    "dumped, the target's disk is full": Row(
        moving.restoring, full("target", MOVES), "source", "free", emptied("target", MOVES)
    ),
    "admitted, the source is cut off": Row(
        moving.dumping,
        cut("source", "source", until="failed"),
        "source",
        "is not heard",
        heal("source"),
    ),
    "dumped, the target is cut off": Row(
        moving.restoring,
        cut("target", "target", until="failed"),
        "source",
        "is not heard",
        heal("target"),
    ),
    "restored, the manager is cut off": Row(
        moving.restored, cut("manager", "manager"), "target", "", heal("manager")
    ),
    "committed, the target is cut off": Row(
        moving.committed, cut("target", "target"), "target", "", heal("target")
    ),
    "dumped, the target loses power": Row(
        moving.restoring,
        power_off("target", until="failed"),
        "source",
        "is not heard",
        start("target"),
    ),
    "admitted, the source loses power": Row(
        moving.dumping, power_off("source"), "nowhere", "", start("source")
    ),
    "dumped, the source loses power": Row(
        moving.restoring, power_off("source", "target", until="done"), "target", "", start("source")
    ),
    "restored, the manager's host loses power": Row(
        moving.restored, power_off("manager"), "target", "", start("manager")
    ),
    "committed, the target loses power": Row(
        moving.committed, power_off("target"), "nowhere", "", start("target")
    ),
    "released, the source loses power": Row(
        moving.released, power_off("source"), "target", "", start("source")
    ),
}

SOON = {
    "dumped, every daemon is killed",
    "restored, the manager is killed",
    "committed, the target's daemon is killed",
    "dumped, the image is another",
    "dumped, the target has no criu any more",
    "admitted, the source's disk is full",
    "dumped, the target loses power",
    "dumped, the source loses power",
}
"""Rows of every run, one for each kind of verdict; all others are long."""
assert set(ROWS) >= SOON

CASES = [
    pytest.param(name, marks=() if name in SOON else (pytest.mark.long,), id=name) for name in ROWS
]


# the verdicts ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wanted(grid: Grid) -> Iterator[dict[str, str]]:
    """What an undisturbed run writes; meanwhile nodes are soon taken for silent."""
    program = grid.program("alice", "faults.sh", SHELL)
    with grid.managed(SILENCE):
        yield undisturbed(grid, program, "faults-still")


@pytest.mark.parametrize("name", CASES)
def test_one_copy_runs_and_it_is_told_where(
    movers: Grid, wanted: dict[str, str], name: str
) -> None:
    row = ROWS[name]
    move = Move(movers, f"{HOME}/faults.sh", f"faults-{list(ROWS).index(name)}")
    try:
        row.at(move)
        row.fault(move)
    finally:
        row.mend(move)
        move.go("source", "target", "manager")
    if row.runs == "nowhere":
        died_with_its_host(move, wanted)
    else:
        runs_there_and_ends(move, row, wanted)
    movers.wait(lambda: nothing_is_left(movers), "nothing to be left of the move")


def runs_there_and_ends(move: Move, row: Row, wanted: dict[str, str]) -> None:
    here = move.host(row.runs)
    move.phase("done" if row.runs == "target" else "failed")
    job = move.job()
    assert (job["state"], node_of(job)) == ("RUNNING", here)
    assert row.says in job["migration"]["message"], job["migration"]
    await_soon(lambda: set(move.processes()) == {here}, f"one copy on {here}")
    before = written(move.grid, move.name, "out")
    await_soon(lambda: written(move.grid, move.name, "out") != before, "the job to go on")
    move.grid.shell("alpha1", f"touch {HOME}/{move.name}.go", user="alice")
    ended = move.grid.wait_job(move.id, "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED")
    assert ended["reason"] == "exit status 3"
    assert written(move.grid, move.name, "out", "log") == wanted


def died_with_its_host(move: Move, wanted: dict[str, str]) -> None:
    """The job is told to be lost, with the host that took it along; no other copy goes on."""
    ended = move.grid.wait_job(move.id, "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED")
    (task,) = ended["tasks"]
    assert ended["state"] == "NODE_FAIL"
    assert task["node"] in ended["reason"]
    assert move.processes() == {}
    for end, text in written(move.grid, move.name, "out", "log").items():
        assert wanted[end].startswith(text)


@pytest.mark.long
def test_a_full_disk_of_the_manager_puts_the_decision_off(
    movers: Grid, wanted: dict[str, str]
) -> None:
    """Both copies stand still until it is written down which of them is the job."""
    store = ("head", "kcms-manager@alpha", "/var/lib/kcms/manager-alpha")
    row = Row(moving.restored, lambda _: None, "target")
    with small_disk(movers, *store) as ballast:
        movers.await_idle(*USUAL)
        move = Move(movers, f"{HOME}/faults.sh", "faults-store")
        row.at(move)
        fill(movers, "head", ballast)
        move.go("manager")
        for _ in range(10):
            assert move.job()["migration"]["phase"] == "restoring"
        assert move.frozen_on("source")
        assert move.frozen_on("target")
        movers.shell("head", f"rm {ballast}")
        runs_there_and_ends(move, row, wanted)
    movers.wait(lambda: nothing_is_left(movers), "nothing to be left of the move")

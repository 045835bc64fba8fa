"""Hosts between which a job cannot move: it is said in one plain sentence, and the job runs on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.e2e.grid import Grid
from tests.e2e.moving import MOVES, Move, await_soon
from tests.e2e.test_migration import HOME, leftovers, node_of, refusal
from tests.e2e.test_moves import SHELL, undisturbed, written

SOURCE, TARGET = "alpha1", "alpha2"
State = Callable[[Grid], AbstractContextManager[object]]

ANOTHER_KIND = """
mkdir -p /run/systemd/system/kcms-node.service.d
printf '[Service]\\nPersonality=x86\\n' > /run/systemd/system/kcms-node.service.d/kind.conf
systemctl daemon-reload
systemctl restart kcms-node
"""
OWN_KIND = """
rm -r /run/systemd/system/kcms-node.service.d
systemctl daemon-reload
systemctl restart kcms-node
"""
NO_ROOM, ROOM = f"mount -t tmpfs -o size=1m,mode=700 none {MOVES}", f"umount -l {MOVES}"


def mover(grid: Grid, node: str) -> dict[str, str]:
    found = {each["name"]: each for cluster in grid.clusters for each in grid.nodes(cluster)}
    return dict(found[node]["mover"])


def changed(node: str, before: str, after: str, **known: str) -> State:
    """A host that is another meanwhile; ``known``: what its manager hears of it then."""

    @contextmanager
    def state(grid: Grid) -> Iterator[None]:
        grid.shell(node, before)
        try:
            await_soon(lambda: known.items() <= mover(grid, node).items(), known)
            yield
        finally:
            grid.shell(node, after)

    return state


@contextmanager
def silent(grid: Grid) -> Iterator[None]:
    with grid.managed("node_timeout = 6.0"):
        await_states(grid, {SOURCE: "UP", TARGET: "UP"})
        grid.shell(TARGET, "systemctl stop kcms-node")
        try:
            await_states(grid, {SOURCE: "UP", TARGET: "DOWN"})
            yield
        finally:
            grid.shell(TARGET, "systemctl start kcms-node")


def await_states(grid: Grid, wanted: dict[str, str]) -> None:
    def reached() -> bool:
        return wanted.items() <= {each["name"]: each["state"] for each in grid.nodes()}.items()

    await_soon(reached, wanted)


STATES: dict[str, tuple[State, str]] = {
    "the target is not heard": (silent, f"{TARGET} is DOWN: it is not heard"),
    "the target has no criu": (
        changed(
            TARGET,
            "mv /usr/sbin/criu /usr/sbin/criu.kept",
            "mv /usr/sbin/criu.kept /usr/sbin/criu",
            trouble="criu is not installed (/usr/sbin/criu is not there)",
        ),
        f"no job can be moved to {TARGET}: criu is not installed",
    ),
    "the target is of another architecture": (
        changed(TARGET, ANOTHER_KIND, OWN_KIND, machine="i686", trouble=""),
        f"{SOURCE} is of kind x86_64, {TARGET} of kind i686",
    ),
    "a file differs": (
        changed(
            TARGET,
            "cd /usr/bin && cp -p dash dash.kept && cp -p dash dash.new && echo >> dash.new && "
            "mv dash.new dash",
            "mv /usr/bin/dash.kept /usr/bin/dash",
        ),
        f"/usr/bin/dash differs between {SOURCE} and {TARGET}: install the same packages on both",
    ),
    "no room on the source": (changed(SOURCE, NO_ROOM, ROOM), f"{MOVES}/"),
    "no room on the target": (
        changed(TARGET, NO_ROOM, ROOM),
        f"{TARGET} has 0 MiB free below {MOVES}/",
    ),
    "the user is another there": (
        changed(
            TARGET,
            "cp -p /etc/passwd /etc/passwd.kept && sed -i 's/^alice:x:2001/alice:x:2009/' "
            "/etc/passwd",
            "mv /etc/passwd.kept /etc/passwd",
        ),
        "alice",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_hosts_between_which_nothing_moves(movers: Grid, name: str) -> None:
    state, sentence = STATES[name]
    program = movers.program("alice", "refusal.sh", SHELL)
    wanted = undisturbed(movers, program, "refused-still")
    with movers.drained(TARGET):
        move = Move(movers, program, "refused")
    assert move.hosts["source"] == SOURCE
    with state(movers):
        assert sentence in refusal(movers, move.id, TARGET)
        runs_on(move)
    movers.shell("alpha1", f"touch {HOME}/refused.go", user="alice")
    assert movers.wait_job(move.id, "FAILED", "CANCELLED")["reason"] == "exit status 3"
    assert written(movers, "refused", "out", "log") == wanted
    movers.wait(lambda: mover(movers, TARGET).get("trouble") == "", "criu to be tried again")


def runs_on(move: Move) -> None:
    """Untouched: where it was, doing what it did, and with nothing made of it."""
    job = move.job()
    assert (job["state"], node_of(job)) == ("RUNNING", SOURCE)
    assert (job["migration"] or {"phase": "refused"})["phase"] == "refused"
    before = written(move.grid, move.name, "out")
    await_soon(lambda: written(move.grid, move.name, "out") != before, "the job to go on")
    assert set(move.processes()) == {SOURCE}
    assert leftovers(move.grid) == ""


# two releases of Debian --------------------------------------------------------------------------

PACK = """
rm -rf /shared/criu && mkdir /shared/criu && cd /shared/criu
cp -L /usr/sbin/criu /lib64/ld-linux-x86-64.so.2 .
ldd criu | awk '$3 ~ /^\\// {print $3}' | xargs -I{} cp -L {} .
"""
UNPACK = """
mv /shared/criu /opt/newer-criu
cat > /opt/newer-criu/run <<'END'
#!/bin/sh -p
exec /opt/newer-criu/ld-linux-x86-64.so.2 --library-path /opt/newer-criu /opt/newer-criu/criu "$@"
END
chmod 755 /opt/newer-criu/run
cp -p /etc/kcms/node.toml /etc/kcms/node.toml.kept
sed -i '/^criu /d; 1i criu = "/opt/newer-criu/run"' /etc/kcms/node.toml
systemctl restart kcms-node
"""
REMOVE = """
mv /etc/kcms/node.toml.kept /etc/kcms/node.toml
rm -rf /opt/newer-criu /shared/criu
systemctl restart kcms-node
"""


@pytest.fixture
def two_releases(quiet: Grid) -> Iterator[Grid]:
    """Debian 12 on beta1 and 13 on beta2, with a criu that works on both."""
    quiet.shell("beta2", PACK)
    quiet.shell("beta1", UNPACK)
    try:
        for node in ("beta1", "beta2"):
            await_soon(lambda node=node: mover(quiet, node).get("trouble") == "", "criu to work")
        yield quiet
    finally:
        quiet.shell("beta1", REMOVE)


@pytest.mark.parametrize(("source", "target"), [("beta2", "beta1"), ("beta1", "beta2")])
def test_between_releases_of_debian_the_file_that_differs_is_named(
    two_releases: Grid, source: str, target: str
) -> None:
    grid = two_releases
    versions = {
        node: grid.shell(node, ". /etc/os-release; echo $VERSION_ID").stdout.strip()
        for node in ("beta1", "beta2")
    }
    assert versions == {"beta1": "12", "beta2": "13"}
    program = grid.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
    drain = ("--cluster", "beta", "--reason", "for the test")
    grid.kcms("head", "drain", target, *drain)
    try:
        job = grid.submit("alice", "--cluster", "beta", program, host="beta2")["id"]
        grid.wait(lambda: grid.job(job, "beta")["start_time"], "the job to start")
    finally:
        grid.kcms("head", "resume", target, "--cluster", "beta")
    words = shlex.join(["migrate", str(job), target, "--cluster", "beta"])
    done = grid.shell("beta2", f"kcms {words}", user="alice", check=False)
    assert done.returncode == 1
    assert f"/usr/bin/dash differs between {source} and {target}" in done.stderr
    after = grid.job(job, "beta")
    assert (after["state"], node_of(after)) == ("RUNNING", source)
    assert after["migration"]["phase"] == "refused"

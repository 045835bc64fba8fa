"""An upgrade of a grid with jobs: in waves, stopped by one that fails, and no job the worse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.grid import ROOT, Grid, Play, run_whole

FROM = os.environ.get("KCMS_E2E_FROM", "0aa5f79")
"""The commit of the release that the grid has before."""

NODES = ("alpha1", "alpha2", "alpha3")
STARTS, GO = "/shared/home/alice/starts", "/shared/home/alice/go"
WAITS = f"""#!/bin/sh
echo "$KCMS_JOB_ID" >> {STARTS}
while [ ! -e {GO} ]; do sleep 1; done
exit "$1"
"""
BROKEN = "/etc/systemd/system/kcms-node.service.d/broken.conf"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A small grid that the release before was rolled out on."""
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root")
    tree = tmp_path_factory.mktemp("release") / "before"
    for command in (
        ("clone", "-q", str(ROOT), str(tree)),
        ("-C", str(tree), "checkout", "-q", FROM),
    ):
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this tree has no commit {FROM}: {done.stderr.strip()}")
    grid = Grid("upgrade", "head alpha=3", clusters=("alpha",))
    try:
        grid.up()
        roll_out(grid, tree)
        yield grid
    finally:
        grid.down()


def roll_out(grid: Grid, tree: Path) -> None:
    """Run the site playbook of another tree."""
    environment = {
        **grid.environment,
        "ANSIBLE_CONFIG": str(tree / "ansible.cfg"),
        # Connections that stay open must be those of this tree, which notice a dead host.
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none",
    }
    command = ("ansible-playbook", "-i", grid.inventory, "playbooks/site.yml")
    done = run_whole(command, tree, environment, 600)
    assert done.returncode == 0, done.stdout + done.stderr


def releases(grid: Grid) -> dict[str, str]:
    return {row["name"]: row["release"] for row in grid.nodes()}


def upgrade(grid: Grid, check: bool = True) -> Play:
    return grid.playbook("upgrade.yml", "-e", "kcms_upgrade_wave=100%", check=check)


@contextmanager
def broken(grid: Grid, host: str) -> Iterator[None]:
    """The node daemon of a host does not start."""
    directory = BROKEN.rsplit("/", 1)[0]
    grid.shell(host, f"mkdir {directory}")
    grid.shell(host, f"printf '[Service]\\nExecStartPre=/bin/false\\n' > {BROKEN}")
    try:
        yield
    finally:
        grid.shell(host, f"rm -r {directory}; systemctl daemon-reload")


def places(grid: Grid, jobs: list[int]) -> list[tuple[str, int, str]]:
    tasks = [(grid.job(job)["state"], grid.job(job)["tasks"][0]) for job in jobs]
    return [(state, task["epoch"], task["node"]) for state, task in tasks]


def test_an_upgrade_in_waves_harms_no_job(old: Grid) -> None:
    program = old.program("alice", "waits.sh", WAITS)
    old.shell("alpha1", f"rm -f {STARTS} {GO}", user="alice")
    jobs = [old.submit("alice", program, str(number % 3))["id"] for number in range(6)]
    for job in jobs:
        old.wait_job(job, "RUNNING")
    before, there = releases(old), places(old, jobs)

    # The first node does not come out well: the others are not touched.
    with broken(old, "alpha1"):
        stopped = upgrade(old, check=False)
    assert stopped.status != 0
    assert "kcms-node.service did not restart" in stopped.output
    assert "alpha2" in stopped.recap
    assert stopped.recap["head"]["failed"] == 0
    now = releases(old)
    assert {now["alpha2"], now["alpha3"]} == {before["alpha2"]}
    assert places(old, jobs) == there

    # Mended and run again, it goes on; now an older node is still under the newer manager.
    upgrade(old)
    after = releases(old)
    assert set(after) == set(NODES)
    assert len(set(after.values())) == 1
    assert set(after.values()) != set(before.values())
    assert places(old, jobs) == there

    old.shell("alpha1", f"touch {GO}", user="alice")
    for number, job in enumerate(jobs):
        ended = old.wait_job(job, "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED")
        assert ended["tasks"][0]["exit"]["code"] == number % 3, ended
    starts = old.shell("alpha1", f"cat {STARTS}", user="alice").stdout.split()
    assert sorted(map(int, starts)) == sorted(jobs)


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(old: Grid) -> None:
    again = upgrade(old)
    assert again.changed == 0, again.output
    assert set(again.recap) == {"head", *NODES}


def test_older_releases_stay_only_while_they_are_of_use(old: Grid) -> None:
    listed = old.shell("alpha2", "ls /opt/kcms/releases").stdout.split()
    assert listed
    assert releases(old)["alpha2"] in listed


def test_rollout_and_upgrade_go_on_without_a_host_that_is_cut_off(old: Grid) -> None:
    old.lab("cut", "alpha3")
    try:
        for name in ("site.yml", "upgrade.yml"):
            play = old.playbook(name, check=False)
            assert play.status == 4, play.output
            assert "alpha3: it cannot be reached and is left out" in play.output
            assert {host: row["failed"] for host, row in play.recap.items()} == dict.fromkeys(
                ("head", *NODES), 0
            )
            assert play.recap["alpha3"]["unreachable"] == 1
            assert play.recap["alpha2"]["ok"] > 10
        assert "not upgraded in this run: alpha3" in play.output
    finally:
        old.lab("heal", "alpha3")


def test_without_its_manager_nothing_is_begun(old: Grid) -> None:
    old.lab("cut", "head")
    try:
        play = old.playbook("site.yml", check=False)
        assert "head: it has a manager and cannot be reached" in play.output
        assert play.changed == 0
    finally:
        old.lab("heal", "head")

"""A site with a prologue and an epilogue: where one fails the node is drained, and the job goes on
elsewhere; what jobs took is summed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.grid import Grid

SITE, STORY = "/etc/kcms-site", "/shared/home/alice/story"
NODES = ("alpha1", "alpha2")
LOGUE = f"""#!/bin/sh
echo $KCMS_NODE $KCMS_LOGUE $KCMS_STATE >> {STORY}.$KCMS_JOB_ID
[ ! -e {SITE}/$KCMS_LOGUE.hangs ] || sleep 1000
[ ! -e {SITE}/$KCMS_LOGUE.fails ]
"""
SPENDS = """#!/usr/bin/python3
import os, sys, time
with open(sys.argv[1], "wb") as file:
    file.write(os.urandom(50 << 20))
    file.flush()
    os.fsync(file.fileno())
os.unlink(sys.argv[1])
while time.process_time() < 1.5:
    pass
"""


@pytest.fixture(scope="module")
def site(grid: Grid) -> Iterator[Grid]:
    """The grid with both programs in place, rolled out; without them after the tests."""
    install = (
        f"mkdir -p {SITE} && cat > {SITE}/logue <<'END'\n{LOGUE}END\nchmod 755 {SITE}/logue;"
        f"rm -f {STORY}.*"
    )
    try:
        for each in NODES:
            grid.shell(each, install)
        variables = {
            "kcms_prologue": f"{SITE}/logue",
            "kcms_epilogue": f"{SITE}/logue",
            "kcms_logue_seconds": 5,
        }
        grid.playbook("site.yml", "-e", json.dumps(variables))
        yield grid
    finally:
        for each in NODES:
            grid.shell(each, f"rm -rf {SITE} {STORY}.*")
        grid.playbook("site.yml")


@pytest.fixture(autouse=True)
def well(site: Grid, quiet: Grid) -> Iterator[None]:
    yield
    for each in NODES:
        site.shell(each, f"rm -f {SITE}/*.fails {SITE}/*.hangs")
        site.kcms("head", "resume", each, "--cluster", "alpha")


def node(grid: Grid, name: str) -> dict[str, Any]:
    return dict(next(each for each in grid.nodes() if each["name"] == name))


def story(grid: Grid, number: int) -> list[str]:
    return grid.shell("alpha1", f"cat {STORY}.{number}").stdout.splitlines()


def only(grid: Grid, name: str) -> None:
    """The next job goes there."""
    for each in NODES:
        if each != name:
            grid.kcms("head", "drain", each, "--cluster", "alpha", "--reason", "for the test")


@pytest.mark.parametrize(
    ("how", "why"),
    [("fails", "failed with exit status 1"), ("hangs", "took longer than 5 s and was killed")],
)
def test_where_the_prologue_fails_the_node_is_drained_and_the_job_goes_elsewhere(
    quiet: Grid, how: str, why: str
) -> None:
    quiet.shell("alpha1", f"touch {SITE}/prologue.{how}")
    only(quiet, "alpha1")
    program = quiet.program("alice", "logued.sh", "#!/bin/sh\necho x >> ran.$KCMS_JOB_ID\n")
    job = quiet.submit("alice", program)
    quiet.wait(lambda: node(quiet, "alpha1")["drained"], "alpha1 to be drained")
    waiting = quiet.job(job["id"])
    assert (waiting["state"], waiting["start_time"]) == ("PENDING", None)
    assert node(quiet, "alpha1")["drain_reason"].startswith(f"prologue of job {job['id']} {why}")
    assert why in quiet.kcms("head", "nodes", "--cluster", "alpha").stdout
    quiet.kcms("head", "resume", "alpha2", "--cluster", "alpha")
    ended = quiet.wait_job(job["id"], "COMPLETED")
    assert (ended["tasks"][0]["node"], ended["tasks"][0]["epoch"]) == ("alpha2", 2)
    assert story(quiet, job["id"]) == [
        "alpha1 prologue",
        "alpha1 epilogue PENDING",
        "alpha2 prologue",
        "alpha2 epilogue COMPLETED",
    ]
    home = f"/shared/home/alice/ran.{job['id']}"
    assert quiet.shell("alpha1", f"cat {home}; rm {home}", user="alice").stdout == "x\n"


def test_where_the_epilogue_fails_the_node_is_drained_and_the_job_is_over(quiet: Grid) -> None:
    quiet.shell("alpha2", f"touch {SITE}/epilogue.fails")
    only(quiet, "alpha2")
    program = quiet.program("alice", "seven.sh", "#!/bin/sh\nexit 7\n")
    job = quiet.submit("alice", program)
    ended = quiet.wait_job(job["id"], "FAILED")
    assert ended["reason"] == "exit status 7"
    row = node(quiet, "alpha2")
    assert row["drain_reason"].startswith(f"epilogue of job {job['id']} failed with exit status 1")
    assert row["availability"] == "drained"


def test_the_manager_killed_meanwhile_loses_neither_drain_nor_job(quiet: Grid) -> None:
    quiet.shell("alpha1", f"touch {SITE}/prologue.hangs")
    only(quiet, "alpha1")
    job = quiet.submit("alice", quiet.program("alice", "true.sh", "#!/bin/sh\n"))
    quiet.wait_job(job["id"], "RUNNING")
    for _ in range(8):
        quiet.shell("head", "sleep 1; systemctl kill -s KILL kcms-manager@alpha")
        quiet.shell("alpha1", "systemctl kill -s KILL kcms-node")

    def drained() -> bool:
        return any(each["name"] == "alpha1" and each["drained"] for each in quiet.nodes())

    quiet.wait(drained, "alpha1 to be drained")
    quiet.shell("alpha1", f"rm {SITE}/prologue.hangs")
    quiet.kcms("head", "resume", "alpha2", "--cluster", "alpha")
    quiet.wait_job(job["id"], "COMPLETED")
    assert [each for each in story(quiet, job["id"]) if "prologue" in each] == [
        "alpha1 prologue",
        "alpha2 prologue",
    ]


def test_what_jobs_took_is_summed_for_their_users(quiet: Grid) -> None:
    def took(user: str, *words: str) -> dict[str, Any]:
        told = json.loads(quiet.kcms("alpha1", "accounting", "--json", *words, user=user).stdout)
        assert [each["user"] for each in told["rows"]] == [user]
        return dict(told["rows"][0])

    program = quiet.program("alice", "spends.py", SPENDS)
    before = took("alice")
    job = quiet.submit("alice", program, "/shared/home/alice/spent")
    usage = quiet.wait_job(job["id"], "COMPLETED")["tasks"][0]["exit"]["usage"]
    assert 1.4 < usage["cpu_seconds"] < 3
    assert 50 << 20 <= usage["write_bytes"] < 60 << 20
    assert set(usage["sources"]) == {"cpu", "memory", "io"}
    after = took("alice", "--since", "1d")
    assert after["jobs"] == before["jobs"] + 1
    assert after["cpu_seconds"] == pytest.approx(before["cpu_seconds"] + usage["cpu_seconds"])
    refused = quiet.kcms("alpha1", "accounting", "--user", "alice", user="bob", check=False)
    assert "only root may list the jobs of others" in refused.stderr
    shown = quiet.kcms("alpha1", "job", str(job["id"]), user="alice").stdout
    assert "CPU " in shown
    assert "wrote 50." in shown

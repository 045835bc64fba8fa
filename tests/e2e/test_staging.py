"""Users whose homes lie on each host alone: files of their jobs are brought, and fetched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.grid import Grid
from tests.e2e.laptop import Laptop

CAROL, HOME = "carol", "/home/carol"
ONLY = "/var/tmp/only-here"
HOSTS = ("head", "alpha1", "alpha2", "alpha3")
STAGE = f"{HOME}/.kcms/stage"
MIB = 1 << 20
ADD = f"""
id {CAROL} 2>/dev/null || useradd --uid 2003 --create-home --shell /bin/bash {CAROL}
install -d -o {CAROL} -g {CAROL} -m 700 {HOME}
"""
WHO = '#!/bin/sh\nid -un; hostname; cat; echo "$1"; echo wrong >&2; echo result > result; exit 3\n'


@pytest.fixture(scope="module")
def apart(grid: Grid) -> Iterator[Grid]:
    """The grid, with Carol, who has a home on each host."""
    for each in HOSTS:
        grid.shell(each, ADD)
    yield grid
    for each in HOSTS:
        grid.shell(each, f"pkill -9 -u {CAROL}; userdel -r {CAROL}; rm -rf {ONLY}", check=False)


@pytest.fixture(autouse=True)
def elsewhere(apart: Grid, quiet: Grid) -> Iterator[None]:
    """She has nothing yet, and what she submits on alpha1 runs on alpha2."""
    for each in HOSTS:
        apart.shell(each, f"rm -rf {HOME}/.kcms {HOME}/* {ONLY}")
    drain = ("drain", "alpha1", "--cluster", "alpha", "--reason", "jobs are to run elsewhere")
    quiet.kcms("head", *drain)
    yield
    quiet.kcms("head", "resume", "alpha1", "--cluster", "alpha")


def carol(
    grid: Grid, script: str, host: str = "alpha1", check: bool = True
) -> subprocess.CompletedProcess[str]:
    return grid.shell(host, f"export HOME={HOME}; cd; {script}", user=CAROL, check=check)


def program(grid: Grid, name: str, text: str, host: str = "alpha1") -> str:
    """A file of a directory that one host alone has; its path."""
    path = f"{ONLY}/{name}"
    carol(grid, f"mkdir -p {ONLY}; cat > {path} <<'END'\n{text}END\nchmod 755 {path}", host)
    return path


def submit(grid: Grid, words: str, host: str = "alpha1") -> int:
    return int(json.loads(carol(grid, f"kcms submit --json --stage {words}", host).stdout)["id"])


def over(grid: Grid, number: int) -> dict[str, Any]:
    return grid.wait_job(number, "COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL")


def big(grid: Grid, mib: int) -> str:
    """A program that is so long that one can do something meanwhile; its path."""
    path = program(grid, "big", "#!/bin/sh\nhead -c 20 $0 | head -1; exit\n")
    carol(grid, f"head -c {mib}M /dev/urandom >> {path}")
    return path


def part(grid: Grid) -> int:
    """Bytes of what is on its way on alpha2."""
    said = carol(grid, f"stat -c %s {STAGE}/.kcms-*.part 2>/dev/null || echo 0", "alpha2").stdout
    return int(said.split()[0])


def stalled(grid: Grid, words: str) -> int:
    """A job of which a part is on alpha2, and no more comes."""
    number = submit(grid, words)
    grid.wait(lambda: part(grid) > MIB, "the file to be on its way")
    grid.shell("alpha1", "systemctl kill -s STOP kcms-gateway")
    return number


@pytest.fixture
def going_on(apart: Grid) -> Iterator[None]:
    yield
    apart.shell("alpha1", "systemctl kill -s CONT kcms-gateway")


def test_a_job_of_one_host_runs_on_another_and_its_files_come_back(apart: Grid) -> None:
    path = program(apart, "who.sh", WHO)
    given = program(apart, "in.txt", "the input\n")
    number = submit(apart, f"--input {given} --error {HOME}/e.%j {path} 'an argument'")
    job = over(apart, number)
    assert (job["state"], job["reason"]) == ("FAILED", "exit status 3"), job
    assert (job["submit_host"], job["tasks"][0]["node"]) == ("alpha1", "alpha2")
    said = f"{CAROL}\nalpha2\nthe input\nan argument\n"
    for host in ("alpha1", "head", "alpha2"):
        assert carol(apart, f"kcms output {number}", host).stdout == said
        got = carol(apart, f"mkdir got; kcms fetch {number} --to got; cat got/*", host).stdout
        assert got == f"got/kcms-{number}.out\ngot/e.{number}\nwrong\n{said}"
    assert apart.kcms("head", "output", str(number), "-M", "alpha").stdout == said  # as root
    assert carol(apart, f"kcms fetch {number} result; cat result").stdout == "result\nresult\n"
    assert apart.shell("alpha2", f"stat -c '%U %a' {STAGE}").stdout == f"{CAROL} 700\n"


def test_what_is_there_is_not_sent_again(apart: Grid) -> None:
    path = program(apart, "who.sh", WHO)
    over(apart, submit(apart, path))
    apart.shell("alpha1", "systemctl stop kcms-gateway.socket kcms-gateway", check=False)
    try:
        words = f"--json --base-directory {HOME} --stage {path}"
        carol(apart, f"cp {STAGE}/*/who.sh /tmp/who.$$; mkdir -p {ONLY}; mv /tmp/who.$$ {path}",
              "alpha2")  # fmt: skip
        said = carol(apart, f"kcms submit {words}", "alpha2").stdout
        assert over(apart, json.loads(said)["id"])["reason"] == "exit status 3"
    finally:
        apart.shell("alpha1", "systemctl start kcms-gateway")


def test_many_tasks_of_a_node_bring_it_once(apart: Grid) -> None:
    path = program(apart, "say.sh", "#!/bin/sh\necho $KCMS_TASK_INDEX\n")
    mark = apart.shell("alpha1", "date +%s").stdout.strip()
    number = submit(apart, f"--class batch --total-tasks 6 {path}")
    assert over(apart, number)["state"] == "COMPLETED"
    journal = f"journalctl -u kcms-gateway --since @{mark} | grep -c 'opens a stream to file'"
    assert apart.shell("alpha1", journal).stdout.split() == ["1"]
    carol(apart, f"mkdir got; kcms fetch {number} --to got")
    assert carol(apart, "cat got/*").stdout.split() == list("012345")


def test_a_kill_in_the_middle_leaves_no_process_and_the_next_goes_on(
    apart: Grid, going_on: None
) -> None:
    path = big(apart, 600)
    number = stalled(apart, path)
    apart.kcms("head", "kill", str(number))
    job = over(apart, number)
    assert (job["state"], job["tasks"][0]["exit"]["processes_left"]) == ("CANCELLED", 0)
    assert apart.shell("alpha2", f"pgrep -u {CAROL}", check=False).stdout == ""
    before = part(apart)
    apart.shell("alpha1", "systemctl kill -s CONT kcms-gateway")
    assert part(apart) == before > MIB
    mark = apart.shell("alpha2", f"stat -c %i {STAGE}/.kcms-*.part").stdout
    job = over(apart, submit(apart, path))
    assert job["state"] == "COMPLETED", job
    assert apart.shell("alpha2", f"stat -c %i {STAGE}/*/big").stdout == mark
    ours = carol(apart, f"sha256sum < {path}").stdout
    assert apart.shell("alpha2", f"cat {STAGE}/*/big | sha256sum").stdout == ours
    assert part(apart) == 0


def test_a_gateway_that_is_killed_in_the_middle_ends_nothing(apart: Grid, going_on: None) -> None:
    number = stalled(apart, big(apart, 600))
    apart.shell("alpha1", "systemctl kill -s KILL kcms-gateway")
    assert over(apart, number)["state"] == "COMPLETED"


def test_a_network_that_is_cut_for_a_moment_ends_nothing(apart: Grid) -> None:
    number = submit(apart, big(apart, 600))
    apart.wait(lambda: part(apart) > MIB, "the file to be on its way")
    apart.lab("cut", "alpha1")
    try:
        assert apart.job(number)["state"] == "RUNNING"
    finally:
        apart.lab("heal", "alpha1")
    assert over(apart, number)["state"] == "COMPLETED"


def test_what_was_changed_since_ends_the_job_in_plain_words(apart: Grid) -> None:
    path = program(apart, "who.sh", WHO)
    number = submit(apart, f"--hold {path}")
    carol(apart, f"echo 'true' >> {path}")  # of no matter: the job has a copy
    carol(apart, f"sed -i s/wrong/WRONG/ {STAGE}/*/who.sh")
    apart.kcms("head", "release", str(number))
    job = over(apart, number)
    assert (job["state"], job["reason"]) == (
        "FAILED",
        "alpha2: cannot bring executable who.sh here: it is not the file any more that was "
        "submitted",
    )
    number = submit(apart, f"--hold {path}")
    carol(apart, f"rm -r {STAGE}")
    apart.kcms("head", "release", str(number))
    assert over(apart, number)["reason"].endswith("/who.sh does not exist")


def test_a_disk_that_is_full_is_named(apart: Grid) -> None:
    path = big(apart, 20)
    options = "size=4m,uid=2003,gid=2003,mode=700"
    apart.shell("alpha2", f"mount -t tmpfs -o {options} none {HOME}")
    try:
        job = over(apart, submit(apart, path))
        assert job["state"] == "FAILED"
        assert "No space left on device" in job["reason"]
    finally:
        apart.shell("alpha2", f"umount {HOME}")


def test_nobody_else_gets_a_file(apart: Grid) -> None:
    number = submit(apart, program(apart, "who.sh", WHO))
    over(apart, number)
    for words in ("fetch", "output"):
        done = apart.shell("alpha1", f"cd /tmp; kcms {words} {number}", user="bob", check=False)
        assert done.returncode == 1
        assert done.stderr == f"kcms: there is no job {number} that bob may see\n"
    apart.shell("alpha2", f"ln -sf /etc/shadow {HOME}/kcms-{number}.out")
    done = carol(apart, f"kcms fetch {number}", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "symbolic link" in done.stderr


def test_it_works_from_outside_the_grid_the_same_way(apart: Grid, tmp_path: Path) -> None:
    laptop = Laptop(apart, tmp_path, CAROL)
    laptop.file("who.sh", WHO)
    laptop.file("in.txt", "the input\n", 0o644)
    words = ("--stage", "--wait", "--input", "in.txt", "-M", "alpha", "who.sh", "x")
    number = int(laptop.kcms("submit", *words, status=3).stdout.split()[1])
    assert apart.job(number)["tasks"][0]["node"] == "alpha2"
    said = f"{CAROL}\nalpha2\nthe input\nx\nwrong\n"
    assert sorted(laptop.kcms("output", str(number)).stdout) == sorted(said)
    (laptop.home / "got").mkdir()
    laptop.kcms("fetch", str(number), "--to", "got")
    assert sorted((laptop.home / f"got/kcms-{number}.out").read_text()) == sorted(said)
    laptop.kcms("fetch", str(number), "result")
    assert (laptop.home / "result").read_text() == "result\n"


def test_a_site_that_shares_nothing_is_rolled_out_and_proved(apart: Grid) -> None:
    nothing = json.dumps({"kcms_shared_directory": [], "kcms_verify_user": CAROL})
    try:
        apart.playbook("site.yml", "-e", nothing, "--limit", "head,alpha")
        proof = apart.playbook("verify.yml", "-e", nothing, "--limit", "head,alpha")
        assert f"of {CAROL} ran on alpha2, its output is right" in proof.output
        refused = carol(apart, "kcms submit /bin/true", check=False)
        assert "submit the job with --stage" in refused.stderr
    finally:
        apart.playbook("site.yml")

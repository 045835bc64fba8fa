"""The head is lost with everything on it, and comes back from an archive; jobs run all the while.

On a small lab of its own, as its head is destroyed.  KCMS_E2E_BACKUP_LAB names one that stands.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.grid import Grid, Play

STANDING = os.environ.get("KCMS_E2E_BACKUP_LAB")
ROLLOUT = ("-e", '{"kcms_slots": 1}')
UNTIL = """#!/bin/sh
echo "$KCMS_JOB_ID" >> /shared/home/alice/begun
while [ ! -e "/shared/home/alice/end-$1" ]; do sleep 0.2; done
exit "$2"
"""
CALL = """
import http.client, json, socket, sys
method, path, body = sys.argv[1:4]
line = http.client.HTTPConnection("gateway")
line.sock = socket.socket(socket.AF_UNIX)
line.sock.connect("/run/kcms-gateway/api.sock")
line.request(method, path, body, {"Content-Type": "application/json"})
answer = line.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]))
"""
RRD = "/var/lib/kcms/rrd/alpha/alpha1/load_one.rrd"


@pytest.fixture(scope="module")
def site() -> Iterator[Grid]:
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root")
    grid = Grid(STANDING or "backup", "head alpha=2", clusters=("alpha",))
    try:
        grid.up(fresh=not STANDING)
        grid.playbook("site.yml", *ROLLOUT)
        yield grid
    finally:
        if not STANDING:
            grid.down()


def lab_directory(grid: Grid) -> Path:
    return Path(grid.inventory).parent.parent


def wipe(grid: Grid, host: str) -> None:
    """A new machine of the same name and address, with nothing on it."""
    grid.lab("power-off", host)
    place = lab_directory(grid) / "hosts" / host
    subprocess.run(["umount", "--lazy", str(place / "root")], check=False, capture_output=True)
    for each in ("upper", "work"):
        shutil.rmtree(place / each)
    grid.lab("start", host)
    assert grid.shell(host, "ls /opt/kcms /etc/kcms /var/lib/kcms", check=False).returncode != 0


def call(grid: Grid, host: str, who: str, method: str, path: str, **body: Any) -> tuple[int, Any]:
    script = f"cat > /tmp/call-{who}.py <<'END'\n{CALL}\nEND\n"
    script += f"/usr/bin/python3 /tmp/call-{who}.py {method} {path} '{json.dumps(body)}'"
    status, answer = json.loads(grid.shell(host, script, user=who).stdout)
    return int(status), answer


def end(grid: Grid, name: str) -> None:
    grid.shell("alpha1", f"touch /shared/home/alice/end-{name}", user="alice")


def backup(grid: Grid, directory: Path, *more: str) -> Path:
    grid.playbook("backup.yml", "-e", f"kcms_backup_directory={directory}", *more)
    return max(directory.glob("*.tar"))


def restore(grid: Grid, archive: Path, *more: str, check: bool = True) -> Play:
    options = (*ROLLOUT, "-e", f"kcms_restore_archive={archive}", *more)
    return grid.playbook("restore.yml", *options, check=check)


def certificates(grid: Grid) -> str:
    ask = "sha256sum /etc/kcms/tls/*.pem /etc/kcms/tls/*.key"
    return "".join(grid.shell(host, ask).stdout for host in ("alpha1", "alpha2"))


def settled(grid: Grid, last: int) -> list[str]:
    """The rows of the ten minutes before ``last`` but the newest, which an update may change."""
    ask = f"rrdtool fetch {RRD} AVERAGE --start {last - 600} --end {last - 30}"
    lines = grid.shell("head", ask, check=False).stdout.splitlines()
    return [line for line in lines if ":" in line and "nan" not in line]


def last_update(grid: Grid) -> int:
    """Time of the last update of the file, seconds since the epoch; 0 when there is none yet."""
    done = grid.shell("head", f"rrdtool last {RRD}", check=False)
    return int(done.stdout or 0)


def test_the_head_comes_back_with_jobs_graphs_certificates_and_passwords(
    site: Grid, tmp_path: Path
) -> None:
    site.shell("alpha1", "rm -f /shared/home/alice/end-* /shared/home/alice/begun", user="alice")
    program = site.program("alice", "until.sh", UNTIL)
    end(site, "first")
    first = site.submit("alice", program, "first", "3")["id"]
    assert site.wait_job(first, "FAILED")["tasks"][0]["exit"]["code"] == 3
    through, ended = (site.submit("alice", program, name, "7")["id"] for name in ("on", "off"))
    for number in (through, ended):
        site.wait_job(number, "RUNNING")
        site.wait(lambda n=number: site.job(n)["tasks"][0]["start_time"], f"the start of {number}")
    waiting = site.submit("alice", program, "first", "0")["id"]
    assert site.job(waiting)["state"] == "PENDING"
    assert (
        call(site, "alpha1", "alice", "POST", "/v1/password", password="a long sentence")[0] == 200
    )
    site.wait(lambda: settled(site, last_update(site)), "values that no later update changes")

    known = {job["id"] for job in site.jobs("alpha")}
    archive = backup(site, tmp_path)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [archive.name]

    last = last_update(site)
    values = settled(site, last)
    keys = certificates(site)
    end(site, "off")
    assert site.wait_job(ended, "FAILED")["tasks"][0]["exit"]["code"] == 7
    assert site.wait_job(waiting, "COMPLETED")["state"] == "COMPLETED"
    forgotten = site.submit("alice", program, "first", "0")["id"]
    site.wait_job(forgotten, "COMPLETED")

    wipe(site, "head")
    pki = next(each for each in lab_directory(site).glob("pki") if each.is_dir())
    pki.rename(tmp_path / "lost-pki")

    bad = tmp_path / "bad.tar"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    bad.write_bytes(content)
    refused = restore(site, bad, check=False)
    assert refused.status != 0
    assert "was changed since it was made" in refused.output
    assert sum(host["changed"] for host in refused.recap.values()) == 0
    assert not pki.exists()

    restore(site, archive)
    assert certificates(site) == keys
    assert (pki / "ca.key").read_bytes() == (tmp_path / "lost-pki/ca.key").read_bytes()
    jobs = {job["id"]: job for job in site.jobs("alpha")}
    assert set(jobs) == known
    assert (jobs[first]["state"], jobs[first]["tasks"][0]["exit"]["code"]) == ("FAILED", 3)
    assert jobs[waiting]["state"] == "NODE_FAIL"
    assert "may have run since" in jobs[waiting]["reason"]
    assert "no record of the task" in site.wait_job(ended, "NODE_FAIL")["reason"]
    assert site.job(through)["state"] == "RUNNING"
    new = site.submit("alice", program, "first", "0")["id"]
    assert new == waiting + 1001
    assert site.wait_job(new, "COMPLETED")["state"] == "COMPLETED"
    end(site, "on")
    assert site.wait_job(through, "FAILED")["tasks"][0]["exit"]["code"] == 7
    begun = site.shell("alpha1", "cat /shared/home/alice/begun", user="alice").stdout.split()
    assert sorted(map(int, begun)) == [first, through, ended, waiting, forgotten, new]

    assert values
    assert settled(site, last) == values
    site.wait(lambda: int(site.shell("head", f"rrdtool last {RRD}").stdout) > last, "new values")
    said = call(
        site, "alpha1", "alice", "POST", "/v1/login", user="alice", password="a long sentence"
    )
    assert said[0] == 200, said
    assert site.playbook("site.yml", *ROLLOUT).changed == 0


def test_a_restore_over_what_is_there_has_to_be_told(site: Grid, tmp_path: Path) -> None:
    archive = backup(site, tmp_path)
    before = len(site.jobs("alpha"))
    refused = restore(site, archive, check=False)
    assert refused.status != 0
    assert "-e kcms_restore_replace=true" in refused.output
    assert refused.changed == 0
    program = site.program("alice", "nap.sh", "#!/bin/sh\nsleep 1\n")
    site.wait_job(site.submit("alice", program)["id"], "COMPLETED")
    restore(site, archive, "-e", "kcms_restore_replace=true")
    assert len(site.jobs("alpha")) == before
    kept = "/var/lib/kcms/before-*/manager-alpha/jobs.sqlite /var/lib/kcms/rrd/.before-*/alpha"
    assert len(site.shell("head", f"ls -d {kept}").stdout.split()) == 2


def test_a_planned_move_goes_on_with_jobs_that_wait(site: Grid, tmp_path: Path) -> None:
    site.shell("alpha1", "rm -f /shared/home/alice/end-* /shared/home/alice/begun", user="alice")
    program = site.program("alice", "until.sh", UNTIL)
    busy = [site.submit("alice", program, "busy", "0")["id"] for _ in range(2)]
    for number in busy:
        site.wait_job(number, "RUNNING")
    waiting = site.submit("alice", program, "wait", "0")["id"]
    archive = backup(site, tmp_path, "-e", "kcms_backup_final=true")
    ask = "systemctl is-active kcms-manager@alpha; systemctl is-enabled kcms-manager@alpha"
    assert site.shell("head", ask, check=False).stdout.split() == ["inactive", "disabled"]
    wipe(site, "head")
    restore(site, archive)
    assert site.job(waiting)["state"] == "PENDING"
    end(site, "busy")
    end(site, "wait")
    for number in (*busy, waiting):
        assert site.wait_job(number, "COMPLETED")["state"] == "COMPLETED"
    assert site.submit("alice", program, "wait", "0")["id"] == waiting + 1
    begun = site.shell("alpha1", "cat /shared/home/alice/begun", user="alice").stdout.split()
    assert sorted(map(int, begun))[:3] == [*busy, waiting]

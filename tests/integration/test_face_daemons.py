"""Real gateways and a real manager as processes, and the command line as several users."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Site, make_site
from tests.integration.face import ME

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT / "app"),
    "PATH": "/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
}
ALICE, BOB = "games", "news"  # users of every Debian, whose names nobody logs in with
TWO = "+setuid,+setgid"
# As the unit starts it: two capabilities, ambient, and no others to be had.
AS_GATEWAY = [
    "setpriv",
    "--reuid=daemon",
    "--regid=daemon",
    "--clear-groups",
    f"--bounding-set=-all,{TWO}",
    f"--inh-caps=-all,{TWO}",
    f"--ambient-caps=-all,{TWO}",
    "--no-new-privs",
]
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="several users need root")


@dataclass
class Grid:
    """One manager, a gateway of node alpha1 and one of head; files below ``directory``."""

    directory: Path
    site: Site
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def kcms(
        self, *words: str, user: str | None = None, host: str = "alpha1"
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kcms", *words]
        if user is not None:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
        return subprocess.run(
            command,
            env={**ENVIRONMENT, "KCMS_SOCKET": str(self.directory / f"{host}.sock")},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: str, **who: Any) -> dict[str, Any]:
        done = self.kcms(*words, "--json", **who)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def submit(self, user: str, *words: str) -> dict[str, Any]:
        base = ("--base-directory", str(self.directory / user))
        done = self.kcms("submit", "--json", *base, *words, user=user)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def start(self, name: str, file: str, settings: dict[str, Any], *prefix: str) -> None:
        """Start daemon ``name``; lists of tables go last, as TOML wants."""
        path = self.directory / f"{file}.toml"
        path.write_text(toml(settings))
        command = [*prefix, sys.executable, "-m", "kcms", "daemon", name, "--config", str(path)]
        log = (self.directory / f"{file}.log").open("w")
        self.processes.append(subprocess.Popen(command, env=ENVIRONMENT, stderr=log, text=True))
        log.close()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def toml(settings: dict[str, Any]) -> str:
    plain = {key: value for key, value in settings.items() if key != "clusters"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for table in settings.get("clusters", []):
        lines += ["[[clusters]]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, path.with_suffix(".log").read_text()
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def grid() -> Iterator[Grid]:
    with tempfile.TemporaryDirectory(prefix="kcms-face-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        made = Grid(directory, make_site(directory / "site"))
        prepare_files(made)
        try:
            start_daemons(made)
            yield made
        finally:
            made.stop()


def prepare_files(grid: Grid) -> None:
    """A closed directory for each user, and two programs."""
    for name in (ALICE, BOB, ME.pw_name):
        home = grid.directory / name
        home.mkdir(mode=0o700)
        program = home / "own.sh"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        if ME.pw_uid == 0:
            entry = pwd.getpwnam(name)
            for path in (home, program):
                os.chown(path, entry.pw_uid, entry.pw_gid)
    for mode, path in ((0o755, grid.directory / "run.sh"), (0o644, grid.directory / "plain.txt")):
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)


def start_daemons(grid: Grid, **manager: Any) -> None:
    """``manager``: settings of the manager beyond what it needs to be one."""
    directory, port = grid.directory, free_port()
    tls = {"tls_ca": grid.site.ca_path}
    hosts = {"alpha1": {"roles": ["node", "submit"]}, "head": {"roles": ["admin"]}}
    (directory / "hosts.json").write_text(json.dumps({"hosts": hosts}))
    (directory / "state").mkdir()
    certificate, key = grid.site.issue("manager", ("kcms://manager/alpha",))
    settings = {"cluster": "alpha", "address": "127.0.0.1", "port": port, **tls}
    settings |= {"state_directory": f"{directory}/state", "hosts_file": f"{directory}/hosts.json"}
    settings |= manager
    grid.start("manager", "manager", {**settings, "tls_certificate": certificate, "tls_key": key})
    for host, role in (("alpha1", "submit"), ("head", "admin")):
        start_gateway(grid, host, role, port)
    for host, process in zip(("alpha1", "head"), grid.processes[1:], strict=True):
        wait(directory / f"{host}.sock", process)
    answers(grid)


def start_gateway(grid: Grid, host: str, role: str, port: int) -> None:
    certificate, key = grid.site.issue(host, (f"kcms://{role}/{host}",))
    run = grid.directory / f"run-{host}"
    run.mkdir(mode=0o755)
    (grid.directory / f"{host}.sock").symlink_to(run / "api.sock")
    prefix: list[str] = []
    if ME.pw_uid == 0:
        entry = pwd.getpwnam("daemon")
        for path in (run, Path(key)):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        prefix = AS_GATEWAY
    settings = {
        "host": host,
        "socket": f"{run}/api.sock",
        "shared_directories": [str(grid.directory)],
        "tls_ca": grid.site.ca_path,
        "tls_certificate": certificate,
        "tls_key": key,
        "clusters": [{"name": "alpha", "address": "127.0.0.1", "port": port}],
        "address": "127.0.0.1",
        "port": free_port(),
    }
    grid.start("gateway", host, settings, *prefix)


def answers(grid: Grid) -> None:
    end = time.monotonic() + 60
    while grid.kcms("clusters").stdout.find(" UP ") < 0:
        assert time.monotonic() < end, (grid.directory / "manager.log").read_text()
        time.sleep(0.2)


def one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    """A refusal: exit 1, nothing printed, one line that says why."""
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.startswith("kcms: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_job_from_submission_to_its_end(grid: Grid) -> None:
    me = ("--user", ME.pw_name)
    base = ("--base-directory", str(grid.directory / ME.pw_name))
    done = grid.kcms("submit", *me, *base, "--priority", "7", "run.sh", "a", "--json", host="head")
    assert done.returncode == 0, done.stderr
    number = done.stdout.split()[1]
    assert done.stdout == f"job {number}\n"
    job = grid.json("job", number, host="head")
    assert (job["state"], job["user"], job["uid"]) == ("PENDING", ME.pw_name, ME.pw_uid)
    assert (job["priority"], job["submit_host"]) == (7, "head")
    assert job["spec"]["arguments"] == ["a", "--json"]
    assert job["spec"]["executable"] == f"{grid.directory}/run.sh"
    assert job["spec"]["output"] == f"{grid.directory}/{ME.pw_name}/kcms-%j.out"
    listed = grid.kcms("jobs", host="head").stdout.splitlines()
    assert any(line.split()[:4] == [number, ME.pw_name, "run.sh", "PENDING"] for line in listed)
    assert "PENDING" in grid.kcms("job", number, host="head").stdout
    killed = grid.kcms("kill", number, host="head")
    assert (killed.returncode, killed.stdout) == (0, f"job {number} is cancelled\n")
    one_line(grid.kcms("kill", number, host="head"), "is over already (CANCELLED)")
    ids = [each["id"] for each in grid.json("jobs", host="head")["jobs"]]
    everything = [each["id"] for each in grid.json("jobs", "--all", host="head")["jobs"]]
    assert int(number) not in ids
    assert int(number) in everything


def test_the_same_key_is_one_job(grid: Grid) -> None:
    me = ("--user", ME.pw_name, "--base-directory", str(grid.directory / ME.pw_name))
    first = grid.kcms("submit", "--key", "k", *me, "run.sh", host="head")
    again = grid.kcms("submit", "--key", "k", *me, "run.sh", host="head")
    assert again.stdout == first.stdout.rstrip() + " (there already)\n"
    one_line(grid.kcms("submit", "--key", "k", *me, "run.sh", "other", host="head"), "other fields")


def test_nodes_and_clusters(grid: Grid) -> None:
    (cluster,) = grid.json("clusters", host="head")["clusters"]
    assert (cluster["name"], cluster["state"]) == ("alpha", "UP")
    for host in ("alpha1", "head"):
        assert [node["name"] for node in grid.json("nodes", host=host)["nodes"]] == ["alpha1"]


def test_bad_requests_are_one_line(grid: Grid) -> None:
    me = ("--user", ME.pw_name)
    one_line(grid.kcms("submit", *me, "missing"), "/missing does not exist")
    one_line(grid.kcms("submit", *me, "/bin/true"), "not on a shared directory")
    one_line(grid.kcms("submit", *me, "--cluster", "gamma", "run.sh"), "no cluster 'gamma'")
    one_line(grid.kcms("job", "999999", host="head"), "there is no job 999999")
    one_line(grid.kcms("kill", "999999", host="head"), "there is no job 999999")


@needs_root
def test_a_closed_directory_is_used_by_its_user_alone(grid: Grid) -> None:
    own = str(grid.directory / ALICE / "own.sh")
    job = grid.submit(ALICE, own)
    assert (job["user"], job["uid"], job["gid"]) == (ALICE, 5, 60)
    one_line(grid.kcms("submit", own, user=BOB), f"executable {own} is below a directory closed")
    output = f"{grid.directory}/{ALICE}/o"
    refused = grid.kcms("submit", "--output", output, f"{grid.directory}/run.sh", user=BOB)
    assert refused.returncode == 1
    plain = grid.kcms("submit", f"{grid.directory}/plain.txt", user=BOB)
    one_line(plain, "may not be executed")


@needs_root
def test_the_gateways_root_is_no_master_of_closed_directories(grid: Grid) -> None:
    """Root that speaks for itself is checked without the capabilities that make it root."""
    own = str(grid.directory / ALICE / "own.sh")
    one_line(grid.kcms("submit", "--user", "root", own, host="head"), "closed to this user")


@needs_root
def test_bob_cannot_see_or_kill_alices_job(grid: Grid) -> None:
    number = str(grid.submit(ALICE, f"{grid.directory}/run.sh")["id"])
    one_line(grid.kcms("job", number, user=BOB), f"there is no job {number}")
    one_line(grid.kcms("kill", number, user=BOB), f"there is no job {number}")
    one_line(grid.kcms("job", number, "--user", ALICE, user=BOB), "only root may act")
    one_line(grid.kcms("jobs", "--user", ALICE, user=BOB), "only root may list")
    assert grid.json("jobs", "--all", user=BOB)["jobs"] == []
    assert grid.json("job", number, user=ALICE)["state"] == "PENDING"


@needs_root
def test_root_of_a_node_acts_for_a_user_it_names_and_root_of_the_head_for_all(grid: Grid) -> None:
    number = str(grid.submit(ALICE, f"{grid.directory}/run.sh")["id"])
    run = f"{grid.directory}/run.sh"
    one_line(grid.kcms("submit", run), "root must say whose job this is")
    one_line(grid.kcms("submit", run, host="head"), "root must say whose job this is")
    one_line(grid.kcms("job", number), "not the grid's root")
    assert grid.json("job", number, "--user", ALICE)["user"] == ALICE
    users = {job["user"] for job in grid.json("jobs", "--user", ALICE)["jobs"]}
    assert users == {ALICE}
    assert int(number) in [job["id"] for job in grid.json("jobs", host="head")["jobs"]]
    (killed,) = grid.json("kill", number, host="head")["jobs"]
    assert (killed["state"], killed["killed_by"]) == ("CANCELLED", "root")


PAGE = "www-data"  # as whom a page might run: it owns nothing here
PASSWORD = "correct horse"


def as_user(grid: Grid, user: str, code: str, host: str = "alpha1", **client: Any) -> Any:
    """What ``code`` says of ``client``, in a process of ``user``; an error is its code."""
    program = (
        "import json\n"
        "from kcms.client import Client, ClientError\n"
        f"client = Client({str(grid.directory / f'{host}.sock')!r}, **{client!r})\n"
        f"try: print(json.dumps({code}))\n"
        "except ClientError as error: print(json.dumps([error.code, error.message]))\n"
    )
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    done = subprocess.run(
        [*become, sys.executable, "-c", program],
        env=ENVIRONMENT,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def logged_in(grid: Grid, user: str) -> str:
    """The token of a new login of ``user``, which the page asked for."""
    assert as_user(grid, user, f"client.set_password({PASSWORD!r})") is None
    login = as_user(grid, PAGE, f"client.login({user!r}, {PASSWORD!r})")
    assert (login["user"], login["root"]) == (user, False)
    return str(login["token"])


def spec_of(grid: Grid, user: str) -> dict[str, Any]:
    home = str(grid.directory / user)
    return {"executable": f"{home}/own.sh", "base_directory": home}


@needs_root
def test_the_page_acts_for_those_who_logged_in_and_for_nobody_else(grid: Grid) -> None:
    alice, bob = logged_in(grid, ALICE), logged_in(grid, BOB)
    submit = f"client.submit({spec_of(grid, ALICE)!r})"
    job, new = as_user(grid, PAGE, submit, token=alice)
    assert (job["user"], job["uid"], job["submit_host"], new) == (ALICE, 5, "alpha1", True)
    number = job["id"]
    code, message = as_user(grid, PAGE, submit, token=bob)
    assert (code, message.endswith("is below a directory closed to this user")) == (
        "invalid_request",
        True,
    )
    for call in ("job", "kill", "output"):
        code, message = as_user(grid, PAGE, f"client.{call}({number})", token=bob)
        assert (code, message) == ("not_found", f"there is no job {number} that {BOB} may see")
        code, _ = as_user(grid, PAGE, f"client.{call}({number})")
        assert code == "not_found"
    assert as_user(grid, PAGE, f"client.jobs(user={ALICE!r})")[0] == "forbidden"
    assert as_user(grid, PAGE, f"client.jobs(user={ALICE!r})", token=bob)[0] == "forbidden"
    assert number in [each["id"] for each in as_user(grid, PAGE, "client.jobs()", token=alice)]
    assert as_user(grid, PAGE, f"client.kill({number})", token=alice)["killed_by"] == ALICE
    assert as_user(grid, PAGE, "client.logout()", token=alice) is None
    assert as_user(grid, PAGE, "client.session()", token=alice)[0] == "unauthorized"
    assert as_user(grid, PAGE, submit, token=alice)[0] == "unauthorized"


@needs_root
def test_the_end_of_a_closed_file_is_read_for_its_owner_alone(grid: Grid) -> None:
    job = grid.submit(ALICE, str(grid.directory / ALICE / "own.sh"))
    number = job["id"]
    as_user(grid, ALICE, f"client.kill({number})")
    path = grid.directory / ALICE / f"kcms-{number}.out"
    assert as_user(grid, ALICE, f"client.output({number})") == [
        "not_found",
        f"output {path} does not exist",
    ]
    path.write_text("a result\n")
    path.chmod(0o600)
    os.chown(path, 5, 60)
    expected = {"path": str(path), "size": 9, "offset": 2, "end": 9, "text": "result\n"}
    call = f"client.output({number}, limit=7)"
    assert as_user(grid, ALICE, call) == expected
    assert as_user(grid, PAGE, call, token=logged_in(grid, ALICE)) == expected
    assert as_user(grid, "root", call, host="head") == expected
    assert as_user(grid, BOB, call)[0] == "not_found"
    assert as_user(grid, PAGE, call, token=logged_in(grid, BOB))[0] == "not_found"
    path.unlink()
    path.symlink_to("/etc/shadow")
    for user, host in ((ALICE, "alpha1"), ("root", "head")):
        code, message = as_user(grid, user, call, host=host)
        assert (code, message) == ("forbidden", f"output {path} may not be read by this user")


@needs_root
def test_no_daemon_writes_a_secret_down(grid: Grid) -> None:
    token = logged_in(grid, ALICE)
    assert as_user(grid, PAGE, "client.login('games', 'another secret')")[0] == "unauthorized"
    as_user(grid, PAGE, "client.jobs()", token=token)
    for name in ("manager", "alpha1", "head"):
        written = (grid.directory / f"{name}.log").read_text()
        assert not any(each in written for each in (token, PASSWORD, "another secret"))
    assert f"{ALICE} logs in by {PAGE} of alpha1" in (grid.directory / "manager.log").read_text()
    file = grid.directory / "state" / "passwords.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()

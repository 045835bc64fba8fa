"""Interactive jobs between two hosts: a terminal, streams, ends, strangers, and daemons killed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator

import paramiko
import pytest

from tests.e2e.grid import Grid
from tests.e2e.terminal import newest_job, piped, terminal

CAUGHT = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"
STUBBORN = """
import os, signal, sys, time
for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(each, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        time.sleep(1000)
print("ready", flush=True)
time.sleep(1000)
"""
COUNTING = "n=0; while [ $n -lt {} ]; do n=$((n+1)); echo line $n; sleep 0.1; done; exit 3"


@pytest.fixture
def away(quiet: Grid) -> Iterator[Grid]:
    """The grid, whose jobs run on alpha2 alone."""
    quiet.kcms("head", "drain", "alpha1", "--cluster", "alpha", "--reason", "test")
    yield quiet
    quiet.kcms("head", "resume", "alpha1", "--cluster", "alpha")


@pytest.fixture
def alice(away: Grid) -> Iterator[paramiko.SSHClient]:
    with away.login("alpha1", "alice") as client:
        yield client


def left(grid: Grid, pattern: str = "sleep|python3|cat") -> str:
    """What of alice's runs on alpha2, but for her ssh sessions."""
    done = grid.shell(
        "alpha2", f"pgrep -u alice -a -f '{pattern}'; ls /run/kcms-sessions", check=False
    )
    return done.stdout.strip()


def nothing_left(grid: Grid) -> None:
    grid.wait(lambda: not left(grid), "everything of alice's to be gone from alpha2")


def test_the_terminal_follows_in_size_and_interrupts(away: Grid, alice: paramiko.SSHClient) -> None:
    shell = "hostname; id -un; while read x; do stty size; done"
    session = terminal(alice, "--", "/bin/sh", "-c", shell, size=(101, 31))
    session.until("alpha2\r\nalice\r\n")
    session.type(b"x\n")
    session.until("31 101\r\n")
    session.channel.resize_pty(77, 20)
    for _ in range(50):
        session.type(b"x\n")
        if session.until(r"(\d+ \d+)\r\n")[1] == b"20 77":
            break
    else:
        raise AssertionError("the size did not follow")
    session.type(b"\x04")
    assert session.status() == 0
    session = terminal(alice, "--", "/bin/sh", "-c", CAUGHT)
    session.until("ready")
    session.type(b"\x03")
    session.until("caught")
    assert session.status() == 7
    nothing_left(away)


def test_a_login_shell_has_job_control(away: Grid, alice: paramiko.SSHClient) -> None:
    session = terminal(alice, "--environment", "PS1=here> ", "--", "/bin/bash", "--norc", "-i")
    session.until("here> ")
    session.type(b"sleep 1000\n")
    away.wait(lambda: "sleep 1000" in left(away), "the sleep to begin")
    session.type(b"\x1a")
    session.until("Stopped")
    session.type(b"kill %1; exit 4\n")
    session.until("exit 4")
    session.type(b"exit 4\n")  # a shell asks once when there are stopped jobs
    assert session.status() == 4
    nothing_left(away)


def test_streams_arrive_whole_both_ways_and_apart(away: Grid, alice: paramiko.SSHClient) -> None:
    script = (
        "f=$(mktemp); head -c 20971520 /dev/urandom > $f; sha256sum < $f >&2; cat $f; rm $f; exit 9"
    )
    session = piped(alice, "--", "/bin/sh", "-c", script)
    output = session.rest()
    assert (len(output), session.status()) == (20971520, 9)
    assert session.errors().split()[0].decode() == hashlib.sha256(output).hexdigest()
    given = os.urandom(5 << 20)
    done = away.shell(
        "alpha1",
        "head -c 20971520 /dev/urandom > /tmp/given; sha256sum < /tmp/given; "
        "kcms run -- cat < /tmp/given | sha256sum; rm /tmp/given; "
        "kcms run yes | head -n 1",
        user="alice",
    )
    first, second, third = done.stdout.splitlines()
    assert first == second
    assert third == "y"
    assert given
    nothing_left(away)


@pytest.mark.parametrize("signal", ["KILL", "TERM", "HUP"])
def test_with_its_client_ends_everything(
    away: Grid, alice: paramiko.SSHClient, signal: str
) -> None:
    session = terminal(alice, "--", "/usr/bin/python3", "-c", STUBBORN)
    session.until("ready")
    assert len(left(away, "signal.SIG_IGN").splitlines()) >= 11
    away.shell("alpha1", f"pkill -{signal} -u alice -f 'kcms run'")
    ended = away.wait_job(newest_job(away), "CANCELLED", "FAILED")
    assert ended["reason"] == "the kcms run that was attached to it ended"
    assert ended["tasks"][0]["exit"]["processes_left"] == 0
    assert ended["tasks"][0]["exit"]["processes_killed"] >= 10
    nothing_left(away)


def test_limits_kills_and_refusals_are_those_of_any_job(
    away: Grid, alice: paramiko.SSHClient
) -> None:
    session = piped(alice, "--time-limit", "2s", "--", "sleep", "1000")
    assert session.status() in (128 + 15, 128 + 9)
    assert b"time limit" in session.errors()
    assert away.wait_job(newest_job(away), "TIMEOUT")["spec"]["interactive"] == "pipes"
    session = terminal(alice, "--", "/bin/sh", "-c", "echo ready; exec sleep 1000")
    session.until("ready")
    number = str(newest_job(away))
    done = away.kcms("alpha1", "migrate", number, "alpha1", user="alice", check=False)
    assert "is interactive: it stays where somebody is attached to it" in done.stderr
    done = away.kcms("alpha1", "requeue", number, user="alice", check=False)
    assert "is interactive: it begins once" in done.stderr
    done = away.kcms("alpha1", "output", number, user="alice", check=False)
    assert "is interactive: what it wrote went to its kcms run alone" in done.stderr
    assert "RUNNING" in away.kcms("head", "jobs").stdout
    away.kcms("alpha1", "suspend", number, user="alice")
    away.kcms("alpha1", "resume", number, user="alice")
    away.kcms("alpha1", "kill", number, user="alice")
    assert session.status() in (128 + 15, 128 + 9)
    assert away.wait_job(int(number), "CANCELLED")["reason"] == "killed by alice"
    nothing_left(away)


def test_what_finds_no_place_says_why_and_leaves_nothing(
    away: Grid, alice: paramiko.SSHClient
) -> None:
    away.kcms("head", "drain", "alpha2", "--cluster", "alpha", "--reason", "test")
    try:
        session = piped(alice, "--wait", "1", "--", "true")
        assert session.status() == 125
        assert b"did not begin within 1 s, and is cancelled: every node that is up is drained" in (
            session.errors()
        )
        waiting = piped(alice, "--wait", "forever", "--", "sleep", "1000")
        away.wait(lambda: away.job(newest_job(away))["state"] == "PENDING", "it to wait")
        away.shell("alpha1", "pkill -KILL -u alice -f 'kcms run'")
        assert waiting.status() != 0
        away.wait_job(newest_job(away), "CANCELLED")
    finally:
        away.kcms("head", "resume", "alpha2", "--cluster", "alpha")


@pytest.mark.parametrize(("node", "other"), [("beta1", "beta2"), ("beta2", "beta1")])
def test_it_runs_in_another_cluster_and_on_an_older_system(
    quiet: Grid, node: str, other: str
) -> None:
    if "beta" not in quiet.kcms("head", "clusters").stdout:
        pytest.skip("the lab that stands has one cluster")
    quiet.kcms("head", "drain", other, "--cluster", "beta", "--reason", "test")
    try:
        with quiet.login("alpha1", "alice") as client:
            session = terminal(client, "-M", "beta", "--", "/bin/sh", "-c", "hostname; read x")
            session.until(f"{node}\r\n")
            session.type(b"\n")
            assert session.status() == 0
    finally:
        quiet.kcms("head", "resume", other, "--cluster", "beta")


OPEN = """
import socket, sys
sys.path.insert(0, "/opt/kcms/current")
from kcms.client import Client, ClientError
try:
    Client().open("/v1/jobs/{job}/attach", "kcms-attach")
except ClientError as error:
    print(error.code)
try:
    socket.socket(socket.AF_UNIX).connect("/run/kcms-sessions/{name}.sock")
except OSError as error:
    print(error.strerror)
"""
FORGED = """
import json, socket, ssl, sys
name, ticket = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.load_verify_locations("/etc/kcms/tls/ca.pem")
context.load_cert_chain(f"/etc/kcms/tls/{name}.pem", f"/etc/kcms/tls/{name}.key")
with context.wrap_socket(socket.create_connection(("ADDRESS", 8659), 10)) as tls:
    tls.sendall(json.dumps({"kind": "attach", "ticket": ticket}).encode() + b"\\n")
    print(tls.recv(1000).decode())
"""


def test_nobody_else_gets_at_a_terminal(away: Grid, alice: paramiko.SSHClient) -> None:
    session = terminal(alice, "--", "/bin/sh", "-c", "echo ready; cat")
    session.until("ready")
    job = away.job(newest_job(away))
    names = away.shell("alpha2", "ls /run/kcms-sessions").stdout.split()
    assert len(names) == 1
    script = OPEN.format(job=job["id"], name=names[0].removesuffix(".sock"))
    away.shell("alpha1", f"cat > /tmp/open.py <<'END'\n{script}\nEND")
    away.shell("alpha2", f"cat > /tmp/open.py <<'END'\n{script}\nEND")
    for user in ("bob", "alice"):
        said = away.shell("alpha2", "python3 /tmp/open.py", user=user).stdout.split("\n")
        assert said[-2] == "Permission denied"
    said = away.shell("alpha1", "python3 /tmp/open.py", user="bob").stdout.split("\n")
    assert said[0] == "not_found"
    devices = away.shell("alpha2", "stat -c '%U %a' /dev/pts/*").stdout.splitlines()
    assert "alice 600" in devices
    forged = FORGED.replace("ADDRESS", away.address("alpha2"))
    away.shell("alpha1", f"cat > /tmp/forged.py <<'END'\n{forged}\nEND")
    for name, message in (
        ("gateway", "this ticket is not good (any more)"),
        ("node", "this certificate may not speak for users"),
    ):
        said_there = away.shell("alpha1", f"python3 /tmp/forged.py {name} {'x' * 43}").stdout
        assert json.loads(said_there)["error"] == {"code": "forbidden", "message": message}
    session.type(b"still mine\n")
    session.until("still mine\r\nstill mine\r\n")
    session.type(b"\x04")
    assert session.status() == 0


def test_a_session_outlives_the_daemons(away: Grid, alice: paramiko.SSHClient) -> None:
    session = piped(alice, "--", "/bin/sh", "-c", COUNTING.format(120))
    session.until("line 3\n")
    for host, unit in (
        ("head", "kcms-manager@alpha"),
        ("alpha2", "kcms-node"),
        ("alpha2", "kcms-gateway"),
        ("alpha1", "kcms-gateway"),
    ):
        away.shell(host, f"systemctl kill -s KILL {unit}")
    lines = session.rest().decode().splitlines()
    assert lines == [f"line {n}" for n in range(4, 121)]
    assert session.status() == 3
    job = away.wait_job(newest_job(away), "FAILED")
    assert job["reason"] == "exit status 3"


def test_a_cut_is_outlived_up_to_a_bound_and_then_ends_it(
    three: Grid, away: Grid, alice: paramiko.SSHClient
) -> None:
    """The hosts that run the two jobs are cut off; the clients are on another."""
    whole = ("--cpus-per-task", "2", "--", "/bin/sh", "-c")
    waits = piped(alice, *whole, "echo ready; exec sleep 1000")
    waits.until("ready")
    lonely = str(away.job(newest_job(away))["tasks"][0]["node"])
    counts = piped(alice, *whole, COUNTING.format(300))
    counts.until("line 3\n")
    soon = str(away.job(newest_job(away))["tasks"][0]["node"])
    away.lab("cut", lonely)
    away.lab("cut", soon)
    try:
        away.shell(soon, "sleep 25")  # longer than TCP waits
        away.lab("heal", soon)
        assert counts.rest().decode().splitlines() == [f"line {n}" for n in range(4, 301)]
        assert counts.status() == 3
        ended = "! pgrep -u alice -x sleep"
        away.wait(
            lambda: away.shell(lonely, ended, check=False).returncode == 0,
            "the job to end where it was cut off",
            150,
        )
    finally:
        away.lab("heal", soon)
        away.lab("heal", lonely)
    assert waits.status() == 125
    away.wait_job(newest_job(away) - 1, "CANCELLED", "NODE_FAIL")

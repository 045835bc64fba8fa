"""What untrusted users and hosts try on a real grid; docs/security.md lists each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.api import SOCKET
from tests.e2e.grid import Grid

HOME = "/shared/home/alice"
AS_NODE = """python3 - <<'END'
import http.client, json, ssl
context = ssl._create_unverified_context()
context.load_cert_chain("/etc/kcms/tls/node.pem", "/etc/kcms/tls/node.key")
found = []
for method, path, body in CALLS:
    connection = http.client.HTTPSConnection("ADDRESS", 8660, context=context, timeout=20)
    headers = {"Kcms-User": "alice", "Kcms-Uid": "2001", "Kcms-Gid": "2001"}
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    found.append([path, answer.status, json.loads(answer.read())])
print(json.dumps(found))
END"""
AT_SOCKET = """python3 - <<'END'
import http.client, json, socket
connection = http.client.HTTPConnection("gateway")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("SOCKET")
connection.request("POST", "/v1/jobs", json.dumps(BODY), HEADERS)
answer = connection.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]))
END"""


@pytest.fixture
def running(quiet: Grid) -> int:
    program = quiet.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
    job = quiet.submit("alice", program)
    quiet.wait_job(job["id"], "RUNNING")
    return int(job["id"])


def as_node(grid: Grid, host: str, *calls: tuple[str, str, Any]) -> list[list[Any]]:
    """Calls of the manager as root of a host with the certificate whose role is node."""
    address = grid.shell(host, "grep manager_address /etc/kcms/node.toml").stdout.split('"')[1]
    script = AS_NODE.replace("CALLS", repr(list(calls))).replace("ADDRESS", address)
    return list(json.loads(grid.shell(host, script).stdout))


def test_a_host_with_role_node_alone_speaks_for_nobody_and_no_other(
    quiet: Grid, running: int
) -> None:
    """Root of the node that the job is not on, with that node's own certificate."""
    there = quiet.job(running)["tasks"][0]["node"]
    other = next(name for name in ("alpha1", "alpha2") if name != there)
    spec = {"executable": "/bin/true"}
    report = {"boot_id": "b", "release": "1", "slots": 9, "load": {}, "tasks": []}
    answers = as_node(
        quiet,
        other,
        ("POST", "/v1/jobs", {"spec": spec}),
        ("GET", "/v1/jobs", None),
        ("GET", f"/v1/jobs/{running}", None),
        ("POST", f"/v1/jobs/{running}/kill", {}),
        ("POST", f"/v1/jobs/{running}/suspend", {}),
        ("POST", f"/v1/jobs/{running}/migrate", {"node": other}),
        ("POST", f"/v1/nodes/{there}/state", {"state": "drain", "reason": "x"}),
        ("POST", f"/v1/nodes/{there}/report", report),
        ("GET", f"/v1/nodes/{there}/desired?seen=0&wait=0", None),
    )
    for path, status, document in answers:
        assert (status, document["error"]["code"]) == (403, "forbidden"), (path, document)
    store = as_node(quiet, there, ("GET", f"/v1/nodes/{there}/desired?seen=0&wait=0", None))
    ended = {
        **{"job": running, "task": 0, "epoch": 1, "phase": "ended", "start_time": 1.0},
        **{"store": store[0][2]["store"], "exit": {"code": 0, "signal": None, "time": 2.0}},
    }
    said = as_node(
        quiet, other, ("POST", f"/v1/nodes/{other}/report", {**report, "tasks": [ended]})
    )
    assert said[0][1] == 200  # it may say what it likes of itself
    job = quiet.job(running)
    assert (job["state"], job["tasks"][0]["node"], job["killed_by"]) == ("RUNNING", there, None)


def test_a_user_takes_no_name_by_a_header(quiet: Grid) -> None:
    program = quiet.program("alice", "short.sh", "#!/bin/sh\nid -un\n")
    quiet.shell("alpha1", f"chmod 711 {HOME}; chmod 755 {program}", user="alice")
    headers = {"Kcms-User": "alice", "Kcms-Uid": "2001", "Kcms-Gid": "2001"}
    body = {"spec": {"executable": program, "base_directory": "/shared/home/bob"}}
    script = AT_SOCKET.replace("SOCKET", SOCKET).replace("BODY", repr(body))
    answered = quiet.shell("alpha1", script.replace("HEADERS", repr(headers)), user="bob")
    status, job = json.loads(answered.stdout)
    quiet.shell("alpha1", f"chmod 700 {HOME}", user="alice")
    assert (status, job["user"], job["uid"]) == (201, "bob", 2002)
    for name in ("alice", "root", "alice\r\nKcms-User: root", "../alice", "alice\0"):
        quoted = "".join(f"%{each:02x}" for each in name.encode())
        answered = quiet.shell(
            "alpha1", script.replace("HEADERS", repr({"Kcms-As": quoted})), user="bob"
        )
        status, document = json.loads(answered.stdout)
        assert (status, document["error"]["code"]) == (403, "forbidden"), (name, document)


TRIES = [
    ("--output", "/etc/x", "not on a shared directory"),
    ("--output", f"{HOME}/../../../etc/x", "not on a shared directory"),
    ("--output", "/proc/self/fd/1", "not on a shared directory"),
    ("--output", "/dev/fd/1", "not on a shared directory"),
    ("--output", "/dev/stdout", "not on a shared directory"),
    ("--output", f"{HOME}/t/etc/x", "not on a shared directory"),
    ("--output", f"{HOME}/t/fifo", "neither a file nor a device"),
    ("--output", "/shared/home/bob/x", "may not be entered by this user"),
    ("--error", f"{HOME}/t/%j/x", "in the file's name only"),
    ("--input", f"{HOME}/t/fifo", "neither a file nor a device"),
    ("--input", f"{HOME}/t/shadow", "not on a shared directory"),
    ("--input", "/dev/kmsg", "not on a shared directory"),
    ("--base-directory", f"{HOME}/t/etc", "not on a shared directory"),
    ("--base-directory", "/proc/1/root", "not on a shared directory"),
]


def test_paths_that_lead_elsewhere_are_refused_when_they_are_asked_for(quiet: Grid) -> None:
    program = quiet.program("alice", "short.sh", "#!/bin/sh\ntrue\n")
    quiet.shell(
        "alpha1",
        f"rm -rf {HOME}/t; mkdir {HOME}/t; cd {HOME}/t; ln -s /etc etc; mkfifo fifo;"
        " ln -s /etc/shadow shadow; ln -s /usr/bin/true tool",
        user="alice",
    )
    before = len(quiet.jobs("alpha"))
    for option, path, why in TRIES:
        done = quiet.kcms("alpha1", "submit", option, path, program, user="alice", check=False)
        assert (done.returncode, done.stdout) == (1, ""), (option, path)
        assert why in done.stderr, (path, done.stderr)
        assert done.stderr.count("\n") == 1
    for path in (f"{HOME}/t/tool", "/usr/bin/true", f"{HOME}/t/fifo", "/proc/self/exe"):
        done = quiet.kcms("alpha1", "submit", path, user="alice", check=False)
        assert done.returncode == 1, path
    assert len(quiet.jobs("alpha")) == before


def test_a_link_that_is_put_there_after_the_check_opens_nothing(quiet: Grid) -> None:
    """The job is held while its files are exchanged."""
    program = quiet.program("alice", "short.sh", "#!/bin/sh\necho WRITTEN\n")
    quiet.shell("alpha1", "echo bobs > /shared/home/bob/own", user="bob")
    quiet.shell("alpha1", f"rm -rf {HOME}/s; mkdir {HOME}/s; echo in > {HOME}/s/in", user="alice")
    jobs = {}
    for name, option, link in (
        ("out", "--output", "/shared/home/bob/own"),
        ("etc", "--output", "/etc/passwd"),
        ("in", "--input", "/etc/shadow"),
        ("err", "--error", "/var/lib/kcms/node/x"),
    ):
        place = f"{HOME}/s/{name}"
        job = quiet.submit("alice", "--hold", option, place, program)
        quiet.shell("alpha1", f"rm -f {place}; ln -s {link} {place}", user="alice")
        jobs[job["id"]] = place
    for number in jobs:
        quiet.kcms("alpha1", "release", str(number), user="alice")
    for number, place in jobs.items():
        ended = quiet.wait_job(number, "FAILED", "COMPLETED")
        assert ended["state"] == "FAILED"
        assert f"{place}: Permission denied" in ended["reason"]
    assert quiet.shell("alpha1", "cat /shared/home/bob/own", user="bob").stdout == "bobs\n"


SUID = "import os; print(os.getresuid(), os.getresgid())"


def test_a_program_of_root_with_the_setuid_bit_runs_as_the_user(quiet: Grid) -> None:
    place = f"{HOME}/suid"
    quiet.shell("alpha1", f"cp /usr/bin/python3 {place}; chmod 6755 {place}")
    try:
        job = quiet.submit("alice", "--output", f"{HOME}/suid.out", place, "-c", SUID)
        quiet.wait_job(job["id"], "COMPLETED")
        told = quiet.shell("alpha1", f"cat {HOME}/suid.out", user="alice").stdout
        assert told == "(2001, 2001, 2001) (2001, 2001, 2001)\n"
    finally:
        quiet.shell("alpha1", f"rm {place}")


def test_keys_records_and_stores_are_closed_to_users(quiet: Grid, running: int) -> None:
    for host, paths in (
        ("alpha1", ("/etc/kcms/tls/node.key", "/etc/kcms/tls/gateway.key", "/var/lib/kcms/node")),
        ("head", ("/var/lib/kcms/manager-alpha", "/etc/kcms/tls/gateway.key")),
    ):
        for path in paths:
            done = quiet.shell(host, f"ls {path}/ || cat {path}", user="alice", check=False)
            assert done.returncode != 0, path
            assert "Permission denied" in done.stderr, (path, done.stderr)
    done = quiet.kcms("head", "admin", "check", "--cluster", "alpha", user="alice", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Permission denied" in done.stderr


def test_after_all_that_the_job_stores_are_sound(quiet: Grid) -> None:
    done = quiet.kcms("head", "admin", "check", "--json")
    for found in json.loads(done.stdout)["stores"]:
        assert found["findings"] == []
        assert found["jobs"] > 0 or found["cluster"] != "alpha"

"""Who may do what: by command line, module and API alike; and which certificates get anywhere."""

from __future__ import annotations

import json

import pytest

from tests.e2e.api import api
from tests.e2e.grid import Grid


@pytest.fixture
def alices(quiet: Grid) -> int:
    program = quiet.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
    job = quiet.submit("alice", program)
    quiet.wait_job(job["id"], "RUNNING")
    return int(job["id"])


def test_bob_cannot_see_or_kill_by_command_line(quiet: Grid, alices: int) -> None:
    assert quiet.kcms("alpha2", "job", str(alices), user="bob", check=False).returncode == 1
    assert quiet.kcms("alpha2", "kill", str(alices), user="bob", check=False).returncode == 1
    move = ("migrate", str(alices), "alpha2")
    assert quiet.kcms("alpha2", *move, user="bob", check=False).returncode == 1
    assert quiet.kcms("alpha2", "output", str(alices), user="bob", check=False).returncode == 1
    listed = json.loads(quiet.kcms("alpha2", "jobs", "--all", "--json", user="bob").stdout)
    assert all(job["user"] == "bob" for job in listed["jobs"])
    assert quiet.job(alices)["state"] == "RUNNING"


def test_bob_cannot_see_or_kill_by_module(quiet: Grid, alices: int) -> None:
    for module, more in (("job_info", {}), ("job_kill", {}), ("job_migrate", {"node": "alpha2"})):
        answer = quiet.adhoc("alpha1", module, check=False, id=alices, user="bob", **more)
        assert answer.status != 0
        assert str(alices) in answer.result["msg"]
        assert "long.sh" not in answer.output
    assert quiet.job(alices)["state"] == "RUNNING"


def test_bob_cannot_see_or_kill_by_api(quiet: Grid, alices: int) -> None:
    for method, path in (("GET", f"/v1/jobs/{alices}"), ("POST", f"/v1/jobs/{alices}/kill")):
        for headers in ({}, {"Kcms-User": "alice", "Kcms-Uid": "2001", "Kcms-Gid": "2001"}):
            status, body = api(quiet, "bob", method, path, headers)
            assert (status, body["error"]["code"]) == (404, "not_found"), body
        status, body = api(quiet, "bob", method, path, {"Kcms-As": "alice"})
        assert status == 403, body
    assert quiet.job(alices)["state"] == "RUNNING"


def test_root_of_the_head_sees_and_kills(quiet: Grid, alices: int) -> None:
    answer = quiet.adhoc("head", "job_kill", id=alices, cluster="alpha")
    assert answer.result["changed"] is True
    assert quiet.wait_job(alices, "CANCELLED")["killed_by"] == "root"
    again = quiet.adhoc("head", "job_kill", id=alices, cluster="alpha")
    assert again.result["changed"] is False


def test_root_must_say_whose_job_it_is(quiet: Grid) -> None:
    program = quiet.program("alice", "short.sh", "#!/bin/sh\ntrue\n")
    answer = quiet.adhoc("alpha1", "job_submit", check=False, executable=program)
    assert answer.status != 0
    assert "user" in answer.result["msg"]
    done = quiet.kcms("alpha1", "submit", "--user", "alice", program, user="bob", check=False)
    assert done.returncode == 1
    assert "root" in done.stderr
    unknown = quiet.adhoc("alpha1", "job_submit", check=False, executable=program, user="carol")
    assert "carol" in unknown.result["msg"]


def test_check_mode_predicts_and_starts_nothing(quiet: Grid) -> None:
    program = quiet.program("alice", "short.sh", "#!/bin/sh\ntrue\n")
    before = len(quiet.jobs("alpha"))
    answer = quiet.adhoc("alpha1", "job_submit", "--check", executable=program, user="alice")
    assert answer.result["changed"] is True
    assert len(quiet.jobs("alpha")) == before


CALL = """python3 - <<'END'
import http.client, ssl
context = ssl._create_unverified_context()
LOAD
try:
    connection = http.client.HTTPSConnection("ADDRESS", 8660, context=context, timeout=10)
    root = {"Kcms-User": "root", "Kcms-Uid": "0", "Kcms-Gid": "0"}
    connection.request("GET", "PATH", headers=root)
    print(connection.getresponse().status)
except (OSError, ssl.SSLError, http.client.HTTPException) as error:
    print("refused", type(error).__name__)
END"""
FORGE = """cd /tmp && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
 -nodes -days 9 -keyout forged.key -out forged.pem -subj /CN=head \
 -addext subjectAltName=DNS:head,URI:kcms://admin/head 2>/dev/null"""


def call_manager(grid: Grid, host: str, load: str, path: str = "/v1/jobs") -> str:
    address = grid.shell("head", "sed -n 's/^address = //p' /etc/kcms/manager-alpha.toml").stdout
    script = CALL.replace("LOAD", load).replace("ADDRESS", address.strip().strip('"'))
    return grid.shell(host, script.replace("PATH", path)).stdout.strip()


def test_certificates_that_are_not_ours_get_nowhere(quiet: Grid) -> None:
    quiet.shell("alpha1", FORGE)
    forged = 'context.load_cert_chain("/tmp/forged.pem", "/tmp/forged.key")'
    assert call_manager(quiet, "alpha1", forged).startswith("refused")
    assert call_manager(quiet, "alpha1", "pass").startswith("refused")
    node = 'context.load_cert_chain("/etc/kcms/tls/node.pem", "/etc/kcms/tls/node.key")'
    assert call_manager(quiet, "alpha1", node) == "403"
    assert call_manager(quiet, "alpha1", node, "/v1/nodes/alpha2/desired") == "403"
    gateway = 'context.load_cert_chain("/etc/kcms/tls/gateway.pem", "/etc/kcms/tls/gateway.key")'
    assert call_manager(quiet, "beta1", gateway) == "403"


def test_a_host_that_was_removed_gets_nowhere(quiet: Grid) -> None:
    path = "/etc/kcms/manager-alpha.hosts.json"
    load = 'context.load_cert_chain("/etc/kcms/tls/node.pem", "/etc/kcms/tls/node.key")'
    assert call_manager(quiet, "alpha2", load, "/v1/nodes/alpha2/desired?wait=0") == "200"
    quiet.shell("head", f"cp -p {path} /tmp/hosts.json")
    edit = (
        f"import json; p='{path}'; d=json.load(open(p)); del d['hosts']['alpha2']; "
        "json.dump(d, open(p, 'w'))"
    )
    quiet.shell("head", f'python3 -c "{edit}"')
    try:
        quiet.wait(
            lambda: call_manager(quiet, "alpha2", load, "/v1/nodes/alpha2/desired?wait=0") == "403",
            "the manager to refuse alpha2",
        )
    finally:
        quiet.shell("head", f"cp -p /tmp/hosts.json {path}; touch {path}")


def test_alice_logs_in_by_ssh_and_works(quiet: Grid) -> None:
    program = quiet.program("alice", "hello.sh", "#!/bin/sh\necho hello from $USER\n")
    with quiet.login("alpha2", "alice") as session:
        _, output, problems = session.exec_command(f"kcms submit --json {program}")
        job = json.loads(output.read())
        assert problems.read() == b""
        assert (job["user"], job["submit_host"]) == ("alice", "alpha2")
        quiet.wait_job(job["id"], "COMPLETED")
        with session.open_sftp() as files, files.open(f"kcms-{job['id']}.out") as text:
            assert text.read() == b"hello from alice\n"

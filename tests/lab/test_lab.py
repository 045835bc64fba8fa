"""A small lab of real hosts beside whatever else stands on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.spec import pick_tag

ROOT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/kcms-lab/labtest")
ENVIRONMENT = {**os.environ, "LAB": "labtest", "LAB_HOSTS": "head node=1"}
TAG = pick_tag("labtest", set())
GROUP, PORT = "239.2.11.71", 18649

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="lab hosts need root")

RECEIVE = f"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("{GROUP}", {PORT}))
s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("{GROUP}") + bytes(4))
s.settimeout(20)
print("ready", flush=True)
print(s.recvfrom(100), flush=True)
"""
SEND = f"""
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("{GROUP}", {PORT}))
"""


def lab(*words: str, check: bool = True) -> str:
    command = [sys.executable, "-m", "lab", *words]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=400,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + ("" if check else done.stderr)


def last(output: str) -> str:
    return output.splitlines()[-1]


@pytest.fixture(scope="module", autouse=True)
def hosts() -> Iterator[None]:
    lab("down")
    try:
        assert last(lab("up")) == "changed"
        yield
    finally:
        lab("down")


def uptime(host: str) -> float:
    return float(lab("exec", host, "cat", "/proc/uptime").split()[0])


def inventory() -> dict[str, dict[str, str]]:
    document = yaml.safe_load(Path(lab("inventory").strip()).read_text())["all"]
    groups = document["children"]
    return {
        "vars": document["vars"],
        **groups["kcms_head"]["hosts"],
        **groups["kcms_nodes"]["children"]["node"]["hosts"],
    }


def ssh(host: str, user: str, command: str) -> subprocess.CompletedProcess[str]:
    variables = inventory()
    argv = ["ssh", "-i", variables["vars"]["ansible_ssh_private_key_file"], "-o", "BatchMode=yes"]
    argv += variables["vars"]["ansible_ssh_common_args"].split()
    argv += [f"{user}@{variables[host]['ansible_host']}", command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_a_second_up_changes_nothing() -> None:
    assert last(lab("up")) == "unchanged"


@pytest.mark.parametrize(
    ("user", "uid"), [("root", 0), ("admin", 2000), ("alice", 2001), ("bob", 2002)]
)
def test_every_user_gets_in_with_the_labs_key(user: str, uid: int) -> None:
    for host in ("head", "node1"):
        done = ssh(host, user, "id -u; hostname")
        assert done.stdout.split() == [str(uid), host], done.stderr


def test_a_host_key_of_another_host_is_refused() -> None:
    known = STATE / "ssh/known_hosts"
    text = known.read_text()
    keys = [line.split(maxsplit=1) for line in text.splitlines()]
    swapped = f"{keys[0][0]} {keys[1][1]}\n{keys[1][0]} {keys[0][1]}\n"
    try:
        known.write_text(swapped)
        done = ssh("node1", "root", "true")
    finally:
        known.write_text(text)
    assert done.returncode == 255
    assert "verification failed" in done.stderr


def test_admin_needs_the_labs_password_for_sudo() -> None:
    password = (STATE / "admin_password").read_text().strip()
    right = ssh("node1", "admin", f"echo {password} | sudo -S -p '' id -u")
    assert right.stdout.strip() == "0", right.stderr
    wrong = ssh("node1", "admin", "echo wrong | sudo -S -p '' id -u")
    assert wrong.stdout == ""
    assert wrong.returncode == 1


def test_secrets_are_for_root_only() -> None:
    for name in ("admin_password", "admin_vars.yml", "ssh/id_ed25519"):
        assert (STATE / name).stat().st_mode & 0o777 == 0o600, name
    assert (STATE / "pki").stat().st_mode & 0o777 == 0o700


def test_boot_clocks_differ_and_the_wall_clock_does_not() -> None:
    assert 100_000 <= uptime("head") < 101_000
    assert 200_000 <= uptime("node1") < 201_000
    clocks = [int(lab("exec", host, "date", "+%s")) for host in ("head", "node1")]
    assert abs(clocks[0] - clocks[1]) < 30


def test_hosts_have_control_groups_of_their_own() -> None:
    lab("exec", "head", "systemd-run", "--quiet", "--unit=same-name", "sleep", "300")
    lab("exec", "node1", "systemd-run", "--quiet", "--unit=same-name", "sleep", "300")
    kill = "echo 1 > /sys/fs/cgroup/system.slice/same-name.service/cgroup.kill"
    lab("exec", "head", "sh", "-c", kill)
    state = ("systemctl", "is-active", "same-name")
    assert "active" in lab("exec", "node1", *state).split()
    assert "active" not in lab("exec", "head", *state, check=False).split()
    lab("exec", "node1", "systemctl", "stop", "same-name")


def test_machine_ids_names_and_hosts_files() -> None:
    ids = {lab("exec", host, "cat", "/etc/machine-id") for host in ("head", "node1")}
    assert len(ids) == 2
    assert (
        lab("exec", "head", "getent", "hosts", "node1").split()[0]
        == (inventory()["node1"]["kcms_address"])
    )


def test_multicast_crosses_the_bridge() -> None:
    receiver = subprocess.Popen(
        [sys.executable, "-m", "lab", "exec", "head", "python3", "-c", RECEIVE],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        lab("exec", "node1", "python3", "-c", SEND)
        got = receiver.stdout.readline()
    assert "hello" in got
    assert inventory()["node1"]["kcms_address"] in got


def test_homes_are_shared_and_for_their_owners_only() -> None:
    show = "stat -c '%a %U %u' /shared/home/alice /shared/home/bob"
    for host in ("head", "node1"):
        text = lab("exec", host, "sh", "-c", show)
        assert text.splitlines() == ["700 alice 2001", "700 bob 2002"]
    assert ssh("head", "alice", "echo mine > ~/note").returncode == 0
    assert ssh("node1", "alice", "cat ~/note").stdout == "mine\n"
    assert ssh("node1", "bob", "cat /shared/home/alice/note").returncode != 0


def test_a_cut_host_answers_nobody_until_it_is_healed() -> None:
    assert last(lab("cut", "node1")) == "changed"
    assert last(lab("cut", "node1")) == "unchanged"
    assert ssh("node1", "root", "-o ConnectTimeout=1 true").returncode == 255
    assert "cut off" in lab("status")
    assert lab("exec", "node1", "hostname") == "node1\n"
    assert last(lab("heal", "node1")) == "changed"
    assert ssh("node1", "root", "hostname").stdout == "node1\n"


def test_a_power_failure_is_sudden_and_the_files_stay() -> None:
    lab("exec", "node1", "sh", "-c", "echo kept > /root/note; sync; echo gone > /run/note")
    assert last(lab("power-off", "node1")) == "changed"
    assert last(lab("power-off", "node1")) == "unchanged"
    assert "node1 is off" in lab("exec", "node1", "true", check=False)
    assert last(lab("start", "node1")) == "changed"
    assert last(lab("start", "node1")) == "unchanged"
    assert lab("exec", "node1", "cat", "/root/note") == "kept\n"
    assert "No such file" in lab("exec", "node1", "cat", "/run/note", check=False)
    assert 200_000 <= uptime("node1") < 200_100


@pytest.mark.parametrize("how", ["from outside", "from inside"])
def test_a_reboot_is_a_new_boot(how: str) -> None:
    lab("exec", "node1", "touch", "/run/before")
    if how == "from outside":
        assert last(lab("reboot", "node1")) == "changed"
    else:
        lab("exec", "node1", "systemctl", "reboot", check=False)
        lab("up")
    assert lab("exec", "node1", "sh", "-c", "test -e /run/before || echo new") == "new\n"


def test_a_host_that_died_is_started_again_by_up() -> None:
    lab("power-off", "head")
    assert last(lab("up")) == "changed"
    assert ssh("head", "root", "hostname").stdout == "head\n"


def test_a_bare_host_without_a_way_out_joins() -> None:
    assert last(lab("add", "node2", "--no-route")) == "changed"
    assert last(lab("add", "node2", "--no-route")) == "unchanged"
    missing = lab("exec", "node2", "python3", "-c", "import psutil", check=False)
    assert "ModuleNotFoundError" in missing
    assert "node2" in lab("exec", "head", "cat", "/etc/hosts")
    assert "node2" in inventory()


def test_the_proxy_serves_whom_it_may() -> None:
    url = lab("proxy", "start").splitlines()[0]
    assert last(lab("proxy", "start")) == "unchanged"
    ask = f"""
import urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{"http": "{url}"}}))
try:
    opener.open("http://{url.split("/")[2]}/", timeout=10)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    assert lab("exec", "node2", "python3", "-c", ask) == "403\n"
    assert lab("exec", "head", "python3", "-c", ask) != "403\n"
    assert last(lab("proxy", "stop")) == "changed"
    assert last(lab("proxy", "stop")) == "unchanged"


def traces() -> list[str]:
    """Whatever of this lab can be seen on the machine."""
    links = json.loads(subprocess.check_output(["ip", "-json", "link", "show"]))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    commands = subprocess.check_output(["ps", "-eo", "args"], text=True).splitlines()
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("**/kcms-lab.labtest*")]
    return [
        *(link["ifname"] for link in links if TAG in link["ifname"]),
        *(line for line in mounts if "labtest" in line),
        *(line for line in commands if str(STATE) in line),
        *(str(path) for path in Path("/run/systemd/nspawn").glob(f"*/{TAG}-*")),
        *groups,
        *([str(STATE)] if STATE.exists() else []),
    ]


def test_down_leaves_nothing() -> None:
    lab("up")
    lab("proxy", "start")
    assert len(traces()) >= 8
    assert last(lab("down")) == "changed"
    assert traces() == []
    assert last(lab("down")) == "unchanged"


def test_an_interrupted_up_can_be_gone_on_from_and_removed() -> None:
    command = [sys.executable, "-u", "-m", "lab", "up"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("starting")
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("lab: interrupted")
    assert len(errors.splitlines()) == 1
    lab("up")
    assert ssh("node1", "root", "hostname").stdout == "node1\n"
    lab("down")
    assert traces() == []


def test_down_copes_with_a_lab_that_is_half_there() -> None:
    lab("up")
    (STATE / "lab.json").write_text("{ half")
    assert "down` removes the lab" in lab("up", check=False)
    lab("down")
    assert traces() == []


def test_up_fresh_makes_a_lab_anew_whatever_was_left_of_it() -> None:
    lab("up")
    assert ssh("node1", "root", "touch /etc/left").returncode == 0
    lab("up", "--fresh")
    assert ssh("node1", "root", "ls /etc/left").returncode != 0
    (STATE / "lab.json").write_text("{ half")
    lab("up", "--fresh")
    assert ssh("node1", "root", "hostname").stdout == "node1\n"
    lab("down")
    assert traces() == []

"""From a machine that is no host of the grid: ``kcms --via``, over a user's own SSH login."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcms.via.errors import ViaError
from kcms.via.login import TRIES, Login
from kcms.via.target import parse
from tests.e2e.grid import Grid
from tests.e2e.laptop import INTERRUPT, KILL, Laptop, sha256, size

MIB = 1 << 20
BIG = 200 * MIB
STAGE = "home/alice/.kcms/stage"


@pytest.fixture
def laptop(quiet: Grid, tmp_path: Path) -> Laptop:
    return Laptop(quiet, tmp_path)


@pytest.fixture
def no_forwarding(quiet: Grid) -> Iterator[None]:
    """A head whose sshd connects to no socket for alice."""
    place = "/etc/ssh/sshd_config.d/via.conf"
    rule = "Match User alice\\n AllowStreamLocalForwarding no\\n"
    quiet.shell("head", f"printf '{rule}' > {place}; systemctl reload ssh")
    yield
    quiet.shell("head", f"rm {place}; systemctl reload ssh")


def test_a_staged_job_runs_as_who_logged_in_and_is_fetched(quiet: Grid, laptop: Laptop) -> None:
    laptop.file("who.sh", '#!/bin/sh\nid -un; cat; echo "$1"; echo wrong >&2; exit 3\n')
    laptop.file("in.txt", "the input\n", 0o644)
    words = ("--stage", "--input", "in.txt", "--error", "e.%j", "who.sh", "an argument")
    done = laptop.kcms("submit", "--wait", *words, status=3)
    number = int(done.stdout.split()[1])
    job = quiet.job(number)
    assert (job["user"], job["uid"], job["submit_host"]) == ("alice", 2001, "head")
    staged = Path(job["spec"]["executable"])
    status = (laptop.shared / staged.relative_to("/shared")).stat()
    assert (status.st_uid, status.st_mode & 0o777) == (2001, 0o755)
    assert laptop.kcms("output", str(number)).stdout == "alice\nthe input\nan argument\n"
    (laptop.home / "got").mkdir()
    fetched = laptop.kcms("fetch", str(number), "--to", "got").stdout.splitlines()
    assert fetched == [f"got/kcms-{number}.out", f"got/e.{number}"]
    assert (laptop.home / fetched[0]).read_text() == "alice\nthe input\nan argument\n"
    assert (laptop.home / fetched[1]).read_text() == "wrong\n"
    again = laptop.kcms("fetch", str(number), "--to", "got").stdout
    assert again.count("(there already)") == 2


def test_every_command_goes_that_way(quiet: Grid, laptop: Laptop) -> None:
    laptop.file("long.sh", "#!/bin/sh\nsleep 600\n")
    number = laptop.submit("--stage", "long.sh")
    quiet.wait_job(number, "RUNNING")
    assert f"{number}  alice" in laptop.kcms("jobs").stdout
    assert "long.sh" in laptop.kcms("--via", "alice@head", "job", str(number)).stdout
    assert "alpha1" in laptop.kcms("nodes", "--via", "head").stdout
    laptop.kcms("suspend", str(number))
    laptop.kcms("resume", str(number))
    laptop.kcms("kill", str(number))
    assert quiet.wait_job(number, "CANCELLED")["killed_by"] == "alice"
    assert "only root" in laptop.kcms("jobs", "--user", "bob", status=1).stderr


def test_output_is_followed_while_the_gateway_starts_again(quiet: Grid, laptop: Laptop) -> None:
    laptop.file("count.sh", "#!/bin/sh\nfor i in 1 2 3 4 5 6; do echo $i; sleep 1; done\n")
    number = laptop.submit("--stage", "count.sh")
    quiet.wait_job(number, "RUNNING")
    with laptop.start("output", "-f", str(number)) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        first = following.stdout.readline()
        quiet.shell("head", "systemctl restart kcms-gateway")
        assert (first + following.stdout.read()).split() == list("123456")
        assert (following.stderr.read(), following.wait(60)) == ("", 0)


def test_following_ends_in_a_line_when_the_login_does(quiet: Grid, laptop: Laptop) -> None:
    laptop.file("long.sh", "#!/bin/sh\nwhile :; do echo x; sleep 0.2; done\n")
    number = laptop.submit("--stage", "long.sh")
    quiet.wait_job(number, "RUNNING")
    following = laptop.start("output", "-f", str(number))
    assert following.stdout is not None
    following.stdout.readline()
    quiet.shell("head", "pkill -u alice sshd")
    _, errors = following.communicate(timeout=60)
    assert following.returncode == 1
    assert errors == ("kcms: the SSH connection to head broke; what was submitted there goes on\n")
    assert quiet.job(number)["state"] == "RUNNING"


def test_where_sshd_forwards_to_no_socket_a_relay_does(
    quiet: Grid, laptop: Laptop, no_forwarding: None
) -> None:
    told = quiet.shell("head", "sshd -T -C user=alice,host=x,addr=1.2.3.4").stdout
    assert "\nallowstreamlocalforwarding no\n" in told
    laptop.file("who.sh", "#!/bin/sh\nid -un\n")
    done = laptop.kcms("submit", "--stage", "--wait", "--json", "who.sh")
    assert json.loads(done.stdout)["user"] == "alice"
    said = laptop.kcms("jobs", "--socket", "/run/none", status=1).stderr
    assert said.startswith("kcms: no way to the gateway of head: it says: no gateway on this host")


@pytest.fixture
def big(laptop: Laptop) -> Path:
    laptop.file("sum.sh", "#!/bin/sh\nsha256sum\n")
    return laptop.file("big", os.urandom(BIG), 0o640)


@pytest.mark.parametrize(("how", "status"), [(KILL, -9), (INTERRUPT, 130)])
def test_an_upload_that_broke_goes_on_and_is_verified(
    laptop: Laptop, big: Path, how: int, status: int
) -> None:
    part = laptop.shared / STAGE / f".kcms-{sha256(big)[:32]}.part"
    words = ("submit", "--stage", "--input", "big", "sum.sh")
    assert laptop.broken_off(*words, how=how, reached=lambda: size(part) > BIG // 2) == status
    left = size(part)
    assert BIG // 2 < left < BIG
    number = laptop.submit(*words[1:])
    assert not part.exists()
    staged = laptop.shared / STAGE / sha256(big)[:32] / "big"
    assert (size(staged), staged.stat().st_mode & 0o777) == (BIG, 0o640)
    job = laptop.grid.wait_job(number, "COMPLETED")
    assert job["state"] == "COMPLETED"
    assert laptop.kcms("output", str(number)).stdout.split()[0] == sha256(big)


def test_a_part_that_is_damaged_is_found_out(laptop: Laptop, big: Path) -> None:
    digest = sha256(big)
    part = laptop.shared / STAGE / f".kcms-{digest[:32]}.part"
    words = ("submit", "--stage", "--input", "big", "sum.sh")
    laptop.broken_off(*words, how=KILL, reached=lambda: size(part) > BIG // 4)
    with part.open("r+b") as file:
        file.seek(MIB)
        file.write(b"damaged")
    laptop.submit(*words[1:])
    assert sha256(laptop.shared / STAGE / digest[:32] / "big") == digest


def test_a_download_that_broke_goes_on_and_is_verified(laptop: Laptop) -> None:
    source = laptop.shared / "home/alice/result"
    source.write_bytes(os.urandom(BIG))
    os.chown(source, 2001, 2001)
    laptop.file("true.sh", "#!/bin/sh\n")
    number = str(laptop.submit("--stage", "true.sh"))
    part = laptop.home / f".kcms-{sha256(source)[:32]}.part"
    words = ("fetch", number, "result")
    laptop.broken_off(*words, how=KILL, reached=lambda: size(part) > BIG // 2)
    assert BIG // 2 < size(part) < BIG
    assert laptop.kcms(*words).stdout == "result\n"
    assert sha256(laptop.home / "result") == sha256(source)
    assert not part.exists()


def test_a_host_key_that_is_unknown_or_changed_is_refused(laptop: Laptop) -> None:
    known = laptop.home / ".ssh/known_hosts"
    true = known.read_text()
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-F", laptop.address, "-f", known],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    fingerprint = next(each for each in shown if each.startswith("SHA256:"))
    known.unlink()
    said = laptop.kcms("jobs", status=1).stderr
    assert said.startswith(f"kcms: {laptop.address} is not known to this machine")
    assert fingerprint in said
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", laptop.home / "other"], check=True
    )
    other = (laptop.home / "other.pub").read_text().rsplit(" ", 1)[0]
    known.write_text(f"{laptop.address} {other}\n")
    said = laptop.kcms("jobs", status=1).stderr
    assert said.startswith(f"kcms: THE HOST KEY OF {laptop.address} HAS CHANGED")
    assert fingerprint in said
    (laptop.home / "mine").write_text(true)
    laptop.kcms("--known-hosts", "mine", "jobs")


def test_another_users_files_and_jobs_are_out_of_reach(quiet: Grid, laptop: Laptop) -> None:
    secret = laptop.shared / "home/bob/secret"
    secret.write_text("bob's")
    secret.chmod(0o600)
    os.chown(secret, 2002, 2002)
    laptop.file("cat.sh", "#!/bin/sh\ncat\n")
    number = laptop.submit("--stage", "--input", "cat.sh", "cat.sh")
    theft = ("--stage", "--input", ":/shared/home/bob/secret", "cat.sh")
    said = laptop.kcms("submit", *theft, status=1).stderr
    assert "/shared/home/bob/secret" in said
    said = laptop.kcms("fetch", str(number), "/shared/home/bob/secret", status=1).stderr
    assert said == "kcms: cannot fetch /shared/home/bob/secret on head: Permission denied\n"
    said = laptop.kcms("submit", "--stage", "--stage-to", "/shared/home/bob/x", "cat.sh", status=1)
    assert said.stderr.count("\n") == 1
    theirs = quiet.submit("bob", quiet.program("bob", "true.sh", "#!/bin/sh\n"))["id"]
    assert laptop.kcms("fetch", str(theirs), status=1).stderr == (
        f"kcms: there is no job {theirs} that alice may see\n"
    )


def test_who_may_not_log_in_is_told_so(laptop: Laptop) -> None:
    (laptop.home / ".ssh/config").write_text(f"Host head\n  HostName {laptop.address}\n")
    said = laptop.kcms("--via", "alice@head", "jobs", status=1).stderr
    assert said.startswith("kcms: head does not let alice in: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "way", ["ProxyJump alice@gate", "ProxyCommand ssh -F {home}/.ssh/config -W %h:%p alice@gate"]
)
def test_a_head_behind_another_host_is_reached(laptop: Laptop, way: str) -> None:
    config = laptop.home / ".ssh/config"
    text = config.read_text()
    known = f"  UserKnownHostsFile {laptop.home}/.ssh/known_hosts\n"
    gate = text.replace("Host head", "Host gate").replace(
        laptop.address, laptop.grid.address("alpha1")
    )
    config.write_text(f"{text}{known}  {way.format(home=laptop.home)}\n{gate}{known}")
    assert "alpha1" in laptop.kcms("nodes").stdout


def test_a_password_is_asked_for_three_times(quiet: Grid, laptop: Laptop) -> None:
    quiet.shell("head", "echo alice:right | chpasswd")
    answers = ["wrong", "right"]
    asked: list[str] = []

    def ask(question: str) -> str | None:
        asked.append(question)
        return answers[min(len(asked), len(answers)) - 1]

    known = str(laptop.home / ".ssh/known_hosts")
    target = parse(f"alice@{laptop.address}")
    login = Login(known, "/nonexistent", ask)
    _, client = login.log_in(target)
    client.close()
    assert asked == [f"Password for alice@{laptop.address}: "] * 2
    asked.clear()
    answers[1] = "wrong"
    with pytest.raises(ViaError, match="does not let alice in: Authentication failed"):
        Login(known, "/nonexistent", ask).log_in(target)
    assert len(asked) == TRIES

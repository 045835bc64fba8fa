"""What of a login can be seen without a head."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from kcms.via import hostkeys, login, route
from kcms.via.errors import HostKeyError, ViaError

APP = Path(__file__).resolve().parents[3] / "app"


def test_a_configuration_takes_in_others(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/2").write_text("Host b\n  User two\nInclude d/3")
    (tmp_path / "d/1").write_text("Host a\n  User one\n")
    (tmp_path / "config").write_text("Include d/*\nInclude missing\nHost c\n")
    found = login.configuration(tmp_path / "config")
    assert found.split() == ["Host", "a", "User", "one", "Host", "b", "User", "two", "Host", "c"]
    assert login.configuration(tmp_path / "none") == ""


def test_a_configuration_that_takes_in_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host a\nInclude config\n")
    assert login.configuration(tmp_path / "config").count("Host a") == login.DEPTH + 1


def test_a_host_is_asked_for_every_signature_of_an_rsa_key() -> None:
    asked = login.key_types(["ssh-rsa", "ssh-ed25519"])
    assert asked == ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa", "ssh-ed25519"]


def test_a_port_where_nobody_listens_is_one_line(tmp_path: Path) -> None:
    entry = login.Login(config=str(tmp_path / "none"))
    with pytest.raises(ViaError, match=r"no SSH server answers at 127\.0\.0\.1 port 1"):
        entry.log_in(login.Target("127.0.0.1", "me", 1))


def test_what_the_site_revoked_is_heeded_beside_a_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (base64.b64encode(each).decode() for each in (b"bad", b"good"))
    (tmp_path / "mine").write_text(f"head ssh-ed25519 {bad}\n")
    (tmp_path / "site").write_text(f"head ssh-ed25519 {good}\n@revoked * ssh-ed25519 {bad}\n")
    monkeypatch.setattr(route, "SITE_KNOWN_HOSTS", str(tmp_path / "site"))
    entry = login.Login(str(tmp_path / "mine"), config=str(tmp_path / "none"))
    way = route.route(login.Target("head"), {}, "me", str(tmp_path / "mine"))
    known = entry._known(way)
    with pytest.raises(HostKeyError, match="IS REVOKED"):
        hostkeys.check(known, "head", "ssh-ed25519", b"bad", way.known_hosts)
    with pytest.raises(HostKeyError, match="HAS CHANGED"):  # no other line of the site's
        hostkeys.check(known, "head", "ssh-ed25519", b"good", way.known_hosts)


@pytest.mark.parametrize(
    "words", [("--via", "head", "jobs"), ("jobs", "--via=head"), ("--via=head", "fetch", "1")]
)
def test_without_paramiko_it_says_which_package(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-IS", "-c", WITHOUT, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "kcms: --via needs paramiko: apt install python3-paramiko, or pip install 'kcms[via]'\n"
    )


WITHOUT = f"""
import sys
sys.path.insert(0, {str(APP)!r})
sys.modules["paramiko"] = None
from kcms.cli import main
sys.exit(main(sys.argv[1:]))
"""

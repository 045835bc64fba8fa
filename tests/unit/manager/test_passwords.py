"""The file of passwords: what is in it, what is written, and that it survives what happens."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from kcms.errors import Conflict, InvalidRequest, Unavailable
from kcms.manager import passwords
from kcms.manager.passwords import Cost, Entry, Passwords, check_password
from kcms.manager.sessions import Account
from kcms.node import durable

ALICE = Account("alice", 2001, 2002)
CHEAP = Cost(n=4, r=1, p=1)
ROW = '{"users": {"a": {"uid": %s, "gid": 1, "n": %d, "r": 8, "p": 1, "salt": "", "hash": ""}}}'


def entry(account: Account = ALICE, password: str = "correct horse", cost: Cost = CHEAP) -> Entry:
    return Entry.make(account, password, cost)


def test_a_hash_is_that_of_rfc_7914() -> None:
    """Second vector of section 12."""
    found = Cost(n=1024, r=8, p=16).hash("password", b"NaCl")
    assert found.hex() == "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"


def test_the_default_cost_is_32_mib_three_times() -> None:
    assert (Cost().n * Cost().r * 128, Cost().p) == (32 << 20, 3)


def test_a_password_fits_and_no_other_does() -> None:
    made = entry()
    assert made.fits("correct horse")
    assert not any(
        made.fits(each) for each in ("", "correct hors", "correct horse ", "Correct horse")
    )
    assert not Entry.nobody(CHEAP).fits("")
    assert entry().salt != entry().salt
    assert entry(password="caf\u00e9caf\u00e9").fits("cafe\u0301cafe\u0301")


@pytest.mark.parametrize(
    "bad", [None, 7, "", "seven77", "x" * 1025, ["correct horse"], "correct\ud800horse"]
)
def test_what_can_be_no_password(bad: Any) -> None:
    with pytest.raises(InvalidRequest, match="a password must be ") as caught:
        check_password(bad)
    assert "horse" not in caught.value.message


def test_the_shortest_and_the_longest() -> None:
    assert check_password("x" * 8) == "x" * 8
    assert check_password("\u00e9" * 1024) == "\u00e9" * 1024


def test_the_file_holds_hashes_for_its_owner_alone(tmp_path: Path) -> None:
    made = entry()
    Passwords(str(tmp_path)).put("alice", made)
    file = tmp_path / "passwords.json"
    assert file.stat().st_mode & 0o7777 == 0o600
    row = json.loads(file.read_text())["users"]["alice"]
    assert row == {
        "uid": 2001,
        "gid": 2002,
        "n": 4,
        "r": 1,
        "p": 1,
        "salt": made.salt.hex(),
        "hash": made.hash.hex(),
    }
    assert "horse" not in file.read_text()
    assert Passwords(str(tmp_path)).get("alice") == made
    assert [each.name for each in tmp_path.iterdir()] == ["passwords.json"]


def test_a_password_can_be_changed_and_taken_away(tmp_path: Path) -> None:
    table = Passwords(str(tmp_path))
    table.put("alice", entry())
    table.put("bob", entry(Account("bob", 2002, 2002)))
    other = entry(password="another one")
    table.put("alice", other)
    table.put("bob", None)
    table.put("carol", None)
    again = Passwords(str(tmp_path))
    assert (again.get("alice"), again.get("bob")) == (other, None)


def test_a_full_disk_leaves_file_and_memory_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Passwords(str(tmp_path))
    table.put("alice", entry())
    before, kept = (tmp_path / "passwords.json").read_bytes(), table.get("alice")

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "replace", full)
    with pytest.raises(Unavailable, match="cannot be stored: No space left on device"):
        table.put("alice", None)
    assert (tmp_path / "passwords.json").read_bytes() == before
    assert table.get("alice") is kept


def test_a_write_that_was_broken_off_leaves_nothing(tmp_path: Path) -> None:
    Passwords(str(tmp_path)).put("alice", entry())
    (tmp_path / ".passwords.json.0123").write_text("{")
    assert Passwords(str(tmp_path)).get("alice") is not None
    assert [each.name for each in tmp_path.iterdir()] == ["passwords.json"]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "[]",
        '{"users": []}',
        '{"users": {"alice": {}}}',
        ROW % ("1", 3),
        ROW % ("true", 4),
        ROW % ("1", 1 << 30),
        "\xff",
    ],
)
def test_a_file_that_cannot_be_used_is_kept_and_said(
    tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "passwords.json"
    file.write_bytes(bad.encode("latin-1"))
    table = Passwords(str(tmp_path))
    assert "passwords.json cannot be used: " in caplog.text
    for call in (table.require, lambda: table.put("alice", entry())):
        with pytest.raises(Unavailable, match="file of passwords cannot be used"):
            call()
    assert file.read_bytes() == bad.encode("latin-1")


def test_users_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MOST_USERS", 2)
    table = Passwords(str(tmp_path))
    for name in ("a", "b", "b"):
        table.put(name, entry())
    with pytest.raises(Conflict, match="2 users have a password already"):
        table.put("c", entry())

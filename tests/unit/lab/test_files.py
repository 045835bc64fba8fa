"""Files, locks, groups of processes and the command line, without a lab."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from lab import access, cli, processes, shell, state
from lab.errors import LabError


def test_write_tells_whether_the_content_is_new(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    assert state.write(path, "one\n", 0o600) is True
    assert state.write(path, "one\n", 0o600) is False
    assert state.write(path, "two\n", 0o600) is True
    assert path.read_text() == "two\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_lock_holds_others_off_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOCKS", tmp_path)
    inside: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        for _ in range(20):
            with state.lock("x"):
                inside.append(1)
                most = max(most, len(inside))
                os.sched_yield()
                inside.pop()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failed_program_tells_its_last_words() -> None:
    with pytest.raises(LabError, match="exit status 3\nno such thing"):
        shell.run("sh", "-c", "echo no such thing >&2; exit 3")


def test_a_missing_program_names_the_package() -> None:
    assert "install mmdebstrap systemd-container" in shell.missing_line(
        ["systemd-nspawn", "mmdebstrap"]
    )


def test_numbers_of_this_process_end_with_its_own() -> None:
    assert processes.namespace_numbers("self")[-1] == os.getpid()
    assert processes.namespace_numbers("0") == []


def test_no_host_runs_under_an_id_nobody_has() -> None:
    assert processes.find_init("0123456789ab4def8123456789abcdef") is None


def test_mount_points_with_blanks() -> None:
    assert processes.unescape(r"/a\040b\134c") == r"/a b\c"


def test_a_command_on_a_host_keeps_its_words_apart() -> None:
    argv = access.enter_command(42, ["sh", "-c", "echo 'a b' \"$HOME\""])
    assert argv[:3] == ["nsenter", "--all", "--target=42"]
    assert argv[-3:] == ["sh", "-c", "echo 'a b' \"$HOME\""]


def test_a_bad_lab_name_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB", "../etc")
    assert cli.main(["status"]) == 1
    assert "'../etc' is no lab" in capsys.readouterr().err

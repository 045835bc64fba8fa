"""Copies of a job store: of one moment while it is written, and settled before they are used."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from kcms.jobs.checkpoint import Image
from kcms.jobs.checkpointing import Kept, Saved
from kcms.jobs.states import State
from kcms.manager.store import Store
from tests.integration.test_manager_store import event, job, task

TAKEN = 1_700_000_000.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "manager-alpha"
    made.mkdir(mode=0o700)
    return made


def command(*words: str) -> int:
    """The real command: it forks, which no process with threads may."""
    program = [sys.executable, "-m", "kcms", "store", *words]
    environment = {**os.environ, "PYTHONPATH": "app"}
    return subprocess.run(program, env=environment, timeout=120, check=False).returncode


def backup(state: Path, to: Path) -> int:
    return command("backup", "alpha", str(to), "--from", str(state))


def settle(copy: Path, *more: str) -> int:
    return command("settle", "alpha", str(copy), "--taken", str(TAKEN), *more)


def test_a_copy_is_of_one_commit_while_the_store_is_written(state: Path, tmp_path: Path) -> None:
    """Each commit has two jobs: a copy with an odd number would be of half a commit."""
    store, stop = Store(str(state), "alpha"), threading.Event()
    (state / "passwords.json").write_text('{"users": {}}')

    def write() -> None:
        number = 1
        while not stop.is_set():
            pair = [job(number, reason="x" * 500), job(number + 1, reason="x" * 500)]
            store.commit(pair, [event(number)])
            number += 2

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(5):
            assert backup(state, tmp_path / str(turn)) == 0
    finally:
        stop.set()
        writer.join()
        store.close()
    for turn in range(5):
        copy = tmp_path / str(turn)
        assert sorted(each.name for each in copy.iterdir()) == ["jobs.sqlite", "passwords.json"]
        assert {each.stat().st_mode & 0o777 for each in copy.iterdir()} == {0o600}
        with sqlite3.connect(copy / "jobs.sqlite") as found:
            assert found.execute("SELECT count(*) % 2 FROM jobs").fetchone() == (0,)
    assert (copy / "passwords.json").read_text() == '{"users": {}}'
    assert [each.name for each in state.iterdir() if each.name.startswith(".copy")] == []


def test_a_damaged_store_is_no_copy(
    state: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(state), "alpha")
    store.commit([job(number) for number in range(1, 300)], [])
    store.close()
    damaged = bytearray((state / "jobs.sqlite").read_bytes())
    damaged[8192:16384] = os.urandom(8192)
    (state / "jobs.sqlite").write_bytes(damaged)
    assert backup(state, tmp_path / "copy") != 0
    assert "the job store" in capfd.readouterr().err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("spec", ["{", '"text"'])
def test_a_damaged_row_is_one_line(
    state: Path, spec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(state), "alpha")
    store.commit([job(1)], [])
    store.close()
    with sqlite3.connect(state / "jobs.sqlite") as found:
        found.execute("UPDATE jobs SET spec = ?", (spec,))
    assert settle(state) == 78
    said = capfd.readouterr().err
    assert said.startswith("kcms: the job store cannot be read: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("taken", ["nan", "1e300", "x", "-1e20"])
def test_a_time_that_is_none_is_one_line(
    state: Path, taken: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Store(str(state), "alpha").close()
    assert command("settle", "alpha", str(state), f"--taken={taken}") == 2
    assert "--taken: must be seconds since the epoch" in capfd.readouterr().err


def test_no_store_is_said_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert backup(tmp_path, tmp_path / "copy") != 0
    assert "there is no job store in" in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_root_reads_nothing_that_the_manager_could_not_read(state: Path, tmp_path: Path) -> None:
    """A manager gone wrong may put links where its files were."""
    Store(str(state), "alpha").close()
    secret = tmp_path / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    (state / "passwords.json").symlink_to(secret)
    tmp_path.chmod(0o755)
    for each in (state, *state.iterdir()):
        os.chown(each, 65534, 65534, follow_symlinks=False)
    path = tmp_path
    while path != Path("/tmp") and path != path.parent:  # pytest's directories are root's own
        path.chmod(path.stat().st_mode | 0o011)
        path = path.parent
    assert backup(state, tmp_path / "copy") != 0
    assert not (tmp_path / "copy").exists()


def test_a_settled_copy_gives_up_what_may_have_run_and_leaves_numbers_out(
    state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(state), "alpha")
    begun = replace(task(), start_time=TAKEN - 9)
    store.commit(
        [
            job(1, state=State.COMPLETED),
            job(2, state=State.RUNNING, tasks=(begun,)),
            job(3, state=State.RUNNING, tasks=(task(),)),
            job(4),
        ],
        [event(4)],
    )
    identity = store.id
    store.close()
    assert settle(state) == 0
    said = json.loads(capfd.readouterr().out)
    assert said == {"given_up": 2, "kept": 1, "last_job": 1004}
    store = Store(str(state), "alpha")
    states = {each.id: each.state.value for each in (store.job(n) for n in range(1, 5)) if each}
    assert states == {1: "COMPLETED", 2: "RUNNING", 3: "NODE_FAIL", 4: "NODE_FAIL"}
    assert (store.id, store.last_job(), store.sequence()) == (identity, 1004, 3)
    assert store.unsure() == {(2, 0, 1)}
    store.close()


def test_images_of_a_job_that_is_given_up_are_removed(state: Path) -> None:
    store = Store(str(state), "alpha")
    kept = Kept(Image(1, "/shared/.kcms/x", 10, "ab", 1003.0), 1, "alpha1")
    waiting = replace(task(), state=State.PENDING, node="", saved=Saved((kept,), last=1))
    store.commit([job(1, tasks=(waiting,))], [event(1)])
    store.close()
    assert settle(state) == 0
    store = Store(str(state), "alpha")
    given_up = store.job(1)
    assert given_up is not None
    assert given_up.tasks[0].saved.kept == ()
    assert [each.paths for each in store.litter().values()] == [("/shared/.kcms/x",)]
    store.close()


def test_a_store_that_was_moved_goes_on_as_it_was(state: Path) -> None:
    store = Store(str(state), "alpha")
    store.commit([job(1), job(2, state=State.RUNNING, tasks=(task(),))], [])
    store.close()
    assert settle(state, "--keep", "--gap", "0") == 0
    store = Store(str(state), "alpha")
    assert [each.state.value for each in store.active()] == ["PENDING", "RUNNING"]
    assert (store.last_job(), store.unsure()) == (2, frozenset())
    store.close()


def test_a_store_in_use_is_not_settled(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(str(state), "alpha")
    try:
        assert settle(state) != 0
    finally:
        store.close()
    assert "another manager uses" in capfd.readouterr().err


def test_the_command_line_says_what_it_wants(capfd: pytest.CaptureFixture[str]) -> None:
    assert command("settle", "alpha", "/nowhere") == 2
    assert "--taken" in capfd.readouterr().err

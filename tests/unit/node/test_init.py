"""What a task's init does when the machine refuses it processes or directories."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kcms.node import init, session

ME = pwd.getpwuid(os.getuid()).pw_name
TOO_MANY = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
REFUSED = "cannot begin the program: Resource temporarily unavailable"


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, init._SIGNALS)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def task(path: Path, *ranks: int, **spec: Any) -> init._Task:
    group = path / "task"
    group.mkdir()
    wanted = {"task": 0, "ranks": ranks, "spec": spec, "uid": os.getuid(), "gid": os.getgid()}
    place = {"directory": str(path / "sessions"), "user": ME}
    plan = {"wanted": wanted, "session": place, "node": "alpha1"}
    return init._Task(str(path), "boot", plan, str(group), None)


def forks(monkeypatch: pytest.MonkeyPatch, *pids: int) -> None:
    """There are these forks and no more."""
    left = list(pids)

    def fork() -> int:
        if left:
            return left.pop(0)
        raise TOO_MANY

    monkeypatch.setattr(os, "fork", fork)


def test_a_program_that_cannot_be_forked_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks(monkeypatch)
    name, document = task(tmp_path).run()
    assert (name, document["message"]) == ("refused", REFUSED)


def test_where_one_rank_cannot_be_forked_the_others_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as first:
        forks(monkeypatch, first.pid)
        one = task(tmp_path, 0, 1, 2)
        name, document = one.run()
    assert (name, document["message"]) == ("refused", REFUSED)
    assert [each.status for each in one.programs] == [signal.SIGKILL, 127 << 8, 127 << 8]


def test_a_rank_without_a_cgroup_is_refused(tmp_path: Path) -> None:
    one = task(tmp_path, 0)
    (tmp_path / "task" / "0").mkdir()
    assert one.run()[1]["message"] == "cannot begin the program: File exists"


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may give the socket to another group."""
    for name in ("chown", "fchown"):
        monkeypatch.setattr(os, name, lambda *_: None)


@pytest.mark.usefixtures("listening")
def test_a_session_that_cannot_be_served_refuses_the_task(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks(monkeypatch)
    name, document = task(short, interactive="pipes").run()
    told = "nobody can be attached: [Errno 11] Resource temporarily unavailable"
    assert (name, document["message"]) == ("refused", told)
    assert not [*(short / "sessions").iterdir()]


@pytest.mark.usefixtures("listening")
def test_whoever_is_attached_is_told_that_the_program_cannot_be_begun(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["/bin/true"]) as serving:
        told: list[dict[str, Any]] = []
        forks(monkeypatch, serving.pid)
        monkeypatch.setattr(session.Session, "finish", lambda _, how: told.append(how))
        monkeypatch.setattr(session, "await_end", lambda *_: None)
        name, document = task(short, interactive="pipes").run()
    assert (name, document["message"]) == ("refused", REFUSED)
    assert [(each["why"], each["refused"]) for each in told] == [(REFUSED, True)]

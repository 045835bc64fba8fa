"""What brings a staged file does while its task is suspended, and when it fails itself."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.client import ClientError
from kcms.node import program, staging
from kcms.stage.far import Stream
from kcms.stage.part import Part, Place

CONTENT = b"#!/bin/sh\n" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Far:
    """A file that comes in parts of 10 bytes; before each ``between`` happens."""

    def __init__(self, between: Any) -> None:
        self._between = between

    def read(self, begin: int) -> Any:
        parts = [CONTENT[at : at + 10] for at in range(begin, len(CONTENT), 10)]

        def recv(_size: int) -> bytes:
            self._between()
            return parts.pop(0)

        about = {"size": len(CONTENT), "mode": 0o700}
        return SimpleNamespace(about=about, recv=recv, close=lambda: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    tmp_path.chmod(0o700)
    return Place.below(str(tmp_path), "prog.sh", DIGEST, len(CONTENT))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a time pass."""
    monotonic, passed = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed[0])

    def pass_(seconds: float) -> None:
        passed[0] += seconds

    return pass_


def test_a_task_that_was_suspended_meanwhile_goes_on(place: Place, later: Any) -> None:
    steps = iter([86400.0])
    far = Far(lambda: later(next(steps, 0.0)))
    with place:
        staging._Bringing(place, far, executable=True).bring()  # type: ignore[arg-type]
        assert place.is_there(executable=True)


def test_one_that_is_too_slow_is_not(place: Place, later: Any) -> None:
    with (
        place,
        pytest.raises(staging.StagingError, match=r"too slowly, .* of 1000 bytes") as raised,
    ):
        staging._Bringing(place, Far(lambda: later(50)), executable=True).bring()  # type: ignore[arg-type]
    assert raised.value.again


def test_who_waits_for_another_task_may_be_suspended_too(
    place: Place, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, naps = staging.Clock(), []
    with place, Part(place, 1.0) as other:

        def sleep(_seconds: float) -> None:
            later(86400.0)
            naps.append(1)
            if len(naps) == 2:
                os.close(other.file)

        monkeypatch.setattr(time, "sleep", sleep)
        with Part(place, clock() + 600, clock) as part:
            part.drop()
        other.file = os.open("/dev/null", os.O_RDONLY)
    assert len(naps) == 2


@pytest.mark.parametrize("error", [ImportError("no module"), MemoryError(), RecursionError()])
def test_a_process_that_becomes_the_program_never_goes_on_as_the_init(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(program, "_run", fail)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            program.become({}, 0, "", writing, None)
        finally:
            os._exit(1)
    os.close(writing)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == program.NOT_RUN
    assert said == f"cannot prepare the program: {str(error) or type(error).__name__}"


@pytest.mark.parametrize("line", [b'{"failed": "MemoryError"}\n', b"[" * 60000 + b"\n", b"[]\n"])
def test_a_reader_that_failed_is_perhaps_there_later(line: bytes) -> None:
    given = [line]
    channel = SimpleNamespace(recv=lambda _: given.pop(), close=lambda: None)
    with pytest.raises(ClientError, match="broke off") as raised:
        Stream(channel)
    assert raised.value.code in staging.FOR_NOW


def test_an_interrupt_meanwhile_ends_the_task_as_any_other_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staging, "bring", lambda _plan: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(program, "_run", lambda plan, *_: program._staged(plan))
    child = os.fork()
    if not child:
        program.become({}, 0, "", 2, None)
    assert os.waitpid(child, 0)[1] == signal.SIGINT

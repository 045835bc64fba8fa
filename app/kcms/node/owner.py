"""Looks at a user's files with that user's ids: root itself touches no path on a shared directory.

:mod:`kcms.node.eyes` looks.  The owner can trace that program and make it say anything, so that its
answer protects nobody else: for that there is :mod:`kcms.node.opened`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

PYTHON = "/usr/bin/python3"
EYES = str(Path(__file__).with_name("eyes.py"))
SECONDS = 20.0
ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer; a child that its owner traces can be made to say anything."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class OwnerError(Exception):
    """One sentence that says why the user's files could not be looked at."""


@dataclass(frozen=True)
class Ids:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def ask(
    ids: Ids, request: dict[str, Any], seconds: float = SECONDS, program: str = EYES
) -> dict[str, Any]:
    """The answer of a child with the owner's ids, and so without any capability.

    ``program`` reads the request and writes the answer, as :mod:`kcms.node.eyes` does.

    A child that hangs in a dead file server is killed and not waited for.

    :raises OwnerError: no answer
    """
    with _prepared.pop() if _is_prepared(ids, program) else _Child(ids, program) as child:
        return child.answer(request, seconds)


def prepare(ids: Ids, count: int) -> None:
    """Start children that :func:`ask` is to use: soon a job stands still, and waits for them."""
    dismiss()
    for _ in range(count):
        _prepared.append(_Child(ids, EYES))


def dismiss() -> None:
    """End the children that were not used."""
    while _prepared:
        with _prepared.pop() as child:
            child.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a file server
                child.process.wait(1.0)


def _is_prepared(ids: Ids, program: str) -> bool:
    return bool(_prepared) and _prepared[-1].made_for == (ids, program)


class _Child:
    """One that waits for its request."""

    def __init__(self, ids: Ids, program: str) -> None:
        self.made_for = ids, program
        with contextlib.ExitStack() as files:
            self._said = files.enter_context(tempfile.TemporaryFile())
            self._complaint = files.enter_context(tempfile.TemporaryFile())
            self.process = _start(ids, subprocess.PIPE, self._said, self._complaint, program)
            self._open = files.pop_all()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        with contextlib.suppress(OSError):
            cast(IO[bytes], self.process.stdin).close()

    def answer(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            self.process.communicate(json.dumps(request).encode(), seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise OwnerError(
                f"looking at the owner's files took over {seconds:g} s; "
                "does the shared directory answer?"
            ) from None
        return _parsed(_content(self._said), _content(self._complaint))


_prepared: list[_Child] = []


def _start(
    ids: Ids,
    order: IO[bytes] | int,
    said: IO[bytes],
    complaint: IO[bytes],
    program: str = EYES,
) -> subprocess.Popen[bytes]:
    """The child, which can write no more than the limit, whatever its owner makes it do."""
    command = [PYTHON, "-I", "-S", "-E", os.path.realpath(program)]
    change: dict[str, Any] = {}
    if os.geteuid() != ids.uid:
        change = {"user": ids.uid, "group": ids.gid, "extra_groups": list(ids.groups)}
    try:
        return subprocess.Popen(
            command, stdin=order, stdout=said, stderr=complaint, cwd="/", env=ENVIRONMENT,
            start_new_session=True, preexec_fn=_bound, **change,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise OwnerError(f"cannot look at files as their owner: {error}") from error


def _bound() -> None:
    """Of the child, for good: not even root may lower the limits of others everywhere."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_LIMIT, ANSWER_LIMIT))


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(ANSWER_LIMIT)


def _parsed(answer: bytes, complaint: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        words = complaint.decode(errors="replace").strip().splitlines()
        why = words[-1][:200] if words else "no answer"
        raise OwnerError(f"cannot look at files as their owner: {why}")
    return found

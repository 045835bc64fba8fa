"""Questions to file systems that may never answer, asked by a child of this process."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

SECONDS = 20.0


class ChildError(Exception):
    """One sentence that says why there is no answer."""


def in_child(work: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What ``work`` returns, as JSON carries it, when a child without an image of its own does it.

    The caller must have one thread.  A child that hangs in a dead file server is killed and not
    waited for.

    :raises ChildError: no answer
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(work, tell)
    os.close(tell)
    try:
        answer = _read(told, seconds)
    finally:
        os.close(told)
        os.kill(child, signal.SIGKILL)
        _reap(child)
    try:
        return json.loads(answer)
    except ValueError:
        raise ChildError("the child that was to look at files gave no answer") from None


def _answer(work: Callable[[], Any], tell: int) -> NoReturn:
    try:
        answer = json.dumps(work()).encode()
        while answer:
            answer = answer[os.write(tell, answer) :]
    finally:
        os._exit(0)


def _read(pipe: int, seconds: float) -> bytes:
    parts: list[bytes] = []
    until = time.monotonic() + seconds
    while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
        part = os.read(pipe, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    raise ChildError(f"looking at files took over {seconds:g} s; does the shared directory answer?")


def _reap(child: int) -> None:
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)

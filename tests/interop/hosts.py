"""Hosts that are network namespaces, and the programs that run on them.

A namespace has no name: it lives as long as its holder, which ends when its standard input closes,
and every program dies with the process that started it.  So nothing stays, however a run ends.
Everything here must be called from the main thread, whose end is what the programs look for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kcms.errors import KcmsError

T = TypeVar("T")

LINK = "lan"
CHANNELS = "239.0.0.0/8"
_CLONE_NEWNET = 0x40000000
_ENDING = 5.0  # seconds a program has to end by itself


@dataclass
class Host:
    """A namespace with an address of its own."""

    address: str
    holder: subprocess.Popen[bytes]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def network(self) -> str:
        return f"/proc/{self.holder.pid}/ns/net"

    def command(self, *words: str) -> list[str]:
        """``words`` as a command on this host."""
        return ["nsenter", f"--net={self.network}", "--", *words]

    def run(self, *words: str, env: Mapping[str, str] | None = None, given: str = "") -> str:
        """Run a command to its end; what it said.  :raises AssertionError: it failed"""
        done = subprocess.run(
            self.command(*words), env=env, input=given, capture_output=True, text=True, timeout=30
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {said}"
        return done.stdout

    def start(
        self, *words: str, log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a daemon; what it says goes to ``log``."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command(*words)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """End a daemon; how it ended."""
        self.running.remove(process)
        process.terminate()
        try:
            return process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def here(self, work: Callable[[], T]) -> T:
        """``work()`` in a thread of this process that is on this host."""
        with ThreadPoolExecutor(1, initializer=_enter, initargs=(self.network,)) as thread:
            return thread.submit(work).result()


def _enter(network: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(network, os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {network}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def host(address: str) -> Iterator[Host]:
    """A host without a network; at the end its programs are gone, and so is it."""
    holder = subprocess.Popen(
        ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert holder.stdin is not None
    made = Host(address, holder)
    try:
        eventually(lambda: _is_apart(made.network), 5)
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        for process in made.running[::-1]:
            made.end(process)
        holder.stdin.close()
        holder.wait()


def _is_apart(network: str) -> None:
    assert Path(network).readlink() != Path("/proc/self/ns/net").readlink(), "no namespace"


def connect(one: Host, other: Host) -> None:
    """A cable between two hosts, with the route for channels."""
    peer = ("peer", "name", LINK, "netns", str(other.holder.pid))
    one.run("ip", "link", "add", "name", LINK, "type", "veth", *peer)
    for each in (one, other):
        _address(each)


def alone(one: Host) -> None:
    """A link that leads nowhere, with the route for channels."""
    one.run("ip", "link", "add", "name", LINK, "type", "veth", "peer", "name", "end")
    one.run("ip", "link", "set", "end", "up")
    _address(one)


def _address(one: Host) -> None:
    one.run("ip", "address", "add", f"{one.address}/16", "dev", LINK)
    one.run("ip", "link", "set", LINK, "up", "multicast", "on")
    one.run("ip", "route", "add", CHANNELS, "dev", LINK)


def eventually(check: Callable[[], T], seconds: float) -> T:
    """What ``check`` returns once it raises nothing any more.

    Tries again on AssertionError, OSError, LookupError and KcmsError; after ``seconds`` raises it.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, OSError, LookupError, KcmsError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)

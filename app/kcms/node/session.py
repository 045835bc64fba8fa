"""The init's part in an interactive task: makes its terminal or pipes, and the process that serves
them (:mod:`kcms.node.relay`), and tells that one how the program ended.

The program begins only when somebody is attached, and nobody is attached but through the node's
gateway: the socket lies in a directory that root and that gateway alone may enter.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH101, PTH104, PTH108, PTH208

from __future__ import annotations

import fcntl
import json
import os
import pwd
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from typing import Any

from kcms.node import relay

DIRECTORY_MODE = 0o750
SOCKET_MODE = 0o660
ROWS, COLUMNS = 24, 80
FINISH_SECONDS = relay.LOST_SECONDS + 15.0
"""In which the relay can end by itself, be anybody attached or not."""

HURRY_SECONDS = 5.0


class SessionError(Exception):
    """One sentence that says why nobody can be attached."""


class Session:
    """Of one task, from before its program is forked until its end is told.

    ``ended`` is how the relay ended, one of the words of :data:`relay.ENDS`, once it has.
    """

    def __init__(self, plan: dict[str, Any], name: str) -> None:
        """:raises SessionError: nobody can be attached here"""
        self.ended: str | None = None
        wanted, place = plan["wanted"], plan["session"]
        self.terminal = wanted["spec"]["interactive"] == "terminal"
        self.path = f"{place['directory']}/{name}.sock"
        try:
            gateway = pwd.getpwnam(place["user"])
            listener = _listen(place["directory"], self.path, gateway.pw_gid)
            self._files, ours = _ends(self.terminal, wanted["uid"], wanted["gid"])
            self._go, go = os.pipe()
            told, self._tell = os.pipe()
            self.pid = os.fork()
        except KeyError:
            raise SessionError(
                f"{plan['node']} has no user {place['user']}, so nobody can be attached there"
            ) from None
        except OSError as error:
            self.close()
            raise SessionError(f"nobody can be attached: {error}") from error
        if self.pid == 0:
            served = relay.Served(listener, ours, go, told, self.terminal, (0, gateway.pw_uid))
            relay.main(served, wanted["uid"], wanted["gid"])
        listener.close()
        for each in {*ours, go, told}:
            os.close(each)

    def enter(self) -> None:
        """In the program's process, a session of its own: wait until somebody is attached, and
        have standard input, output and error."""
        if not os.read(self._go, 1):
            os._exit(128 + signal.SIGHUP)
        if self.terminal:
            fcntl.ioctl(self._files[0], termios.TIOCSCTTY, 0)
        for target, descriptor in enumerate(self._files):
            os.dup2(descriptor, target)

    def began(self, root: int) -> None:
        """The program's process is there: its ends are its own."""
        self.abandon()
        self._say({"root": root})

    def abandon(self) -> None:
        """There is no program: what it would have had is closed."""
        for each in {*self._files, self._go}:
            os.close(each)

    def reaped(self, pid: int, status: int) -> None:
        """A child ended; perhaps the relay."""
        if pid == self.pid:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
            self.ended = relay.ENDS.get(code, "broke off")

    def finish(self, how: dict[str, Any]) -> None:
        """Everything is over: have it told, behind all that the program wrote."""
        self._say(how)
        os.close(self._tell)

    def close(self) -> None:
        try:
            os.unlink(self.path)
        except OSError:
            return

    def why(self) -> str:
        """Why it ended before the program did."""
        return relay.WHY.get(self.ended or "", "the process that served its terminal broke off")

    def _say(self, document: dict[str, Any]) -> None:
        try:
            os.write(self._tell, json.dumps(document).encode() + b"\n")
        except BrokenPipeError:
            return  # it is gone, which its exit tells


def _listen(directory: str, path: str, gid: int) -> socket.socket:
    """A socket at ``path`` that root and members of ``gid`` alone can reach."""
    os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)  # noqa: PTH103
    os.chown(directory, 0, gid)
    os.chmod(directory, DIRECTORY_MODE)
    _tidy(directory)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = f"{path}.new"
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener.bind(new)
    finally:
        os.umask(before)
    os.chown(new, 0, gid)
    listener.listen(8)
    listener.setblocking(False)
    os.rename(new, path)
    return listener


def _tidy(directory: str) -> None:
    """Remove what an init that was killed left: sockets on which nobody listens."""
    for name in os.listdir(directory):
        if not name.endswith(".sock"):
            continue  # of one that is about to listen
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(f"{directory}/{name}")
            except ConnectionRefusedError:
                os.unlink(f"{directory}/{name}")
            except OSError:
                continue


Ends = tuple[int, int, int]


def _ends(terminal: bool, uid: int, gid: int) -> tuple[Ends, Ends]:
    """Descriptors for input, output and error: the program's, which are its user's own, and ours.

    (A program may open /dev/stdout anew, by its name.)
    """
    if terminal:
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        theirs, ours = (slave, slave, slave), (master, master, master)
    else:
        (inside, feed), (out, outside), (err, error) = os.pipe(), os.pipe(), os.pipe()
        theirs, ours = (inside, outside, error), (feed, out, err)
    for each in {*theirs}:
        os.fchown(each, uid, gid)
        os.fchmod(each, 0o600)
    for each in {*ours}:
        os.set_blocking(each, False)
    return theirs, ours


def await_end(session: Session, look: Callable[[], bool]) -> None:
    """Let the relay end.  ``look`` waits a moment, reaps, and says whether there is a hurry."""
    end = time.monotonic() + FINISH_SECONDS
    while session.ended is None and time.monotonic() < end:
        if look():
            end = min(end, time.monotonic() + HURRY_SECONDS)
    if session.ended is None:
        os.kill(session.pid, signal.SIGKILL)
    session.close()

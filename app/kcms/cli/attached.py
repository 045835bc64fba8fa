"""This command's streams, joined to those of a program elsewhere, until that ends.

One thread, one poll.  The connection may break and another one go on; nothing is lost by that, see
:mod:`kcms.attach.channel`.  What this command reads it reads only when there is room for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kcms.attach import channel
from kcms.client import Client, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

PROTOCOL = "kcms-attach"
LOST_SECONDS = 60.0  # as the other end waits
RETRY_SECONDS = 0.5
TELL_SECONDS = 3.0  # until one is told that the connection is lost
GREET_SECONDS = 15.0
LEFT_LIMIT = 16 << 20  # bytes that an ended program may have left
PART = 1 << 15
SMALL = 4096  # bytes that a pipe or terminal which can be written to takes without a wait
ROWS, COLUMNS = 24, 80
ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(Exception):
    """This command is told to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class _Lost(Exception):
    """The connection broke."""


@contextmanager
def on_signals() -> Iterator[None]:
    """Have the signals that end this command raise :class:`Ended`, and a pipe that nobody reads
    be an error."""

    def end(number: int, _frame: object) -> None:
        raise Ended(number)

    before = {each: signal.signal(each, end) for each in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Attached:
    """The loop and what it knows."""

    def __init__(self, caller: Client, job: int, terminal: bool) -> None:
        self.caller = caller
        self.job = job
        self.terminal = terminal
        self.channel = channel.Channel(most=channel.WINDOW + LEFT_LIMIT)
        self.key = os.urandom(16).hex()
        self.sock: socket.socket | None = None
        self.reader = channel.Reader()
        self.unsent = b""
        self.input_open = True
        self.waiting: dict[int, list[bytes]] = {channel.OUTPUT: [], channel.ERROR: []}
        self.closed: set[int] = set()  # of our outputs
        self.how: dict[str, Any] | None = None
        self.signals: list[int] = []
        self.wake, self._woken = os.pipe()

    def run(self, sock: socket.socket) -> dict[str, Any] | None:
        """Stay attached, over ``sock`` at first; how the program ended, None when it is not known.

        :raises ClientError: the job cannot be reached any more
        """
        with self._raw(), self._hearing():
            connection: socket.socket | None = sock
            while connection is not None:
                try:
                    self._greet(connection)
                    self._serve()
                except _Lost:
                    self._drop()
                    connection = self._again() if self.how is None else None
                else:
                    connection = None
            self._serve()
        self._drop()
        return self.how

    def _serve(self) -> None:
        """Until the program is over, and what it wrote is written; or nobody can say.

        :raises _Lost: the connection broke
        """
        while self._sends() or any(self.waiting.values()) or (self.how is None and self.sock):
            self._turn()

    def _sends(self) -> bool:
        """Whether the other end still has to hear something."""
        return self.sock is not None and (bool(self.unsent) or self.channel.wants_to_send)

    # connections ---------------------------------------------------------------------------------

    def _greet(self, sock: socket.socket) -> None:
        """Say who is here, and go on where the other end is.

        :raises ClientError: it refuses  :raises _Lost: it is gone again
        """
        rows, columns = self._size()
        hello = {
            "key": self.key,
            "state": self.channel.state().hex(),
            "rows": rows,
            "columns": columns,
        }
        self.sock, self.reader, self.unsent = sock, channel.Reader(), b""
        try:
            sock.settimeout(GREET_SECONDS)
            sock.sendall(channel.frame(channel.HELLO, json.dumps(hello).encode()))
            frames: list[channel.Frame] = []
            while not frames:
                data = sock.recv(1 << 16)
                if not data:
                    raise _Lost
                with self._understood():
                    frames = self.reader.feed(data)
            sock.setblocking(False)
        except OSError as error:
            raise _Lost from error
        kind, payload = frames[0]
        if kind != channel.WELCOME:
            raise ClientError("conflict", payload.decode(errors="replace"))
        with self._understood():
            self.channel.resume(payload)
        self._take(frames[1:])

    def _drop(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock = None

    def _again(self) -> socket.socket | None:
        """Another connection; None when the job is over.  :raises ClientError: there is none"""
        began = time.monotonic()
        told = False
        while True:
            try:
                return self.caller.open(f"/v1/jobs/{self.job}/attach", PROTOCOL, wait="1")
            except ClientError as error:
                if error.code == "over":
                    return None
                if error.status not in (0, 409, 500, 502, 503):
                    raise
                why = error.message
            if time.monotonic() - began > LOST_SECONDS:
                raise ClientError(
                    "unavailable",
                    f"job {self.job} was not reached again within {LOST_SECONDS:g} s, and ends "
                    f"without this command: {why}",
                )
            if not told and time.monotonic() - began > TELL_SECONDS:
                told = True
                end = "\r\n" if self.terminal else "\n"
                with suppress(OSError):
                    os.write(2, f"{end}kcms: connection lost, trying again: {why}{end}".encode())
            time.sleep(RETRY_SECONDS)

    # one turn ------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """:raises _Lost: the connection broke"""
        made = select.poll()
        made.register(self.wake, select.POLLIN)
        if self.sock is not None:
            made.register(self.sock, select.POLLIN | (select.POLLOUT if self._sends() else 0))
        if self.input_open and self.how is None and self.channel.room:
            made.register(0, select.POLLIN)
        for kind, parts in self.waiting.items():
            if parts:
                made.register(kind - 1, select.POLLOUT)
        for descriptor, events in made.poll():
            self._happened(descriptor, events)
        self._tell()

    def _happened(self, descriptor: int, events: int) -> None:
        if self.sock is not None and descriptor == self.sock.fileno():
            if events & ~select.POLLOUT:
                self._receive()
            self._send()
        elif descriptor == self.wake:
            os.read(self.wake, SMALL)
        elif descriptor == 0:
            self._read()
        else:
            self._write(descriptor + 1)

    def _receive(self) -> None:
        assert self.sock is not None
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            raise _Lost from error
        if not data:
            raise _Lost
        with self._understood():
            frames = self.reader.feed(data)
        self._take(frames)

    def _send(self) -> None:
        assert self.sock is not None
        self.unsent = self.unsent or self.channel.take()
        if not self.unsent:
            return
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise _Lost from error

    def _take(self, frames: list[channel.Frame]) -> None:
        with self._understood():
            heard = self.channel.hear(frames)
        for kind, payload in heard:
            if kind in self.waiting:
                if kind in self.closed:
                    self.channel.consume(len(payload))
                else:
                    self.waiting[kind].append(payload)
            elif kind == channel.SHUT:
                self.input_open = False
                with suppress(OSError):
                    os.close(0)  # who writes to us is to notice
                    os.open(os.devnull, os.O_RDONLY)
            elif kind == channel.EXIT:
                with self._understood():
                    self.how = dict(json.loads(payload))
                self.channel.hurry()

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """:raises ClientError: in place of the error of somebody who breaks the protocol"""
        try:
            yield
        except (ValueError, TypeError) as error:
            said = f"what serves job {self.job} cannot be understood: {error}"
            raise ClientError("protocol_error", said) from error

    # this command's own streams ------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = os.read(0, min(PART, self.channel.room))
        except OSError:
            data = b""
        if data:
            self.channel.put(channel.INPUT, data)
        else:
            self.input_open = False
            self.channel.put(channel.END)

    def _write(self, kind: int) -> None:
        parts = self.waiting[kind]
        regular = stat.S_ISREG(os.fstat(kind - 1).st_mode)
        try:
            done = os.write(kind - 1, parts[0] if regular else parts[0][:SMALL])
        except BlockingIOError:
            return
        except OSError as error:
            self._shut(kind, error)
            return
        self.channel.consume(done)
        rest = parts[0][done:]
        parts[:1] = [rest] if rest else []

    def _shut(self, kind: int, error: OSError) -> None:
        """Nobody takes our output any more: the program is to notice.

        :raises OSError: it cannot be written for another reason
        """
        if self.terminal or not isinstance(error, BrokenPipeError):
            raise error
        self.channel.consume(sum(map(len, self.waiting[kind])))
        self.waiting[kind].clear()
        self.closed.add(kind)
        self.channel.put(channel.SHUT, bytes((kind,)))

    # signals and the terminal --------------------------------------------------------------------

    def _tell(self) -> None:
        """Pass on the signals that came."""
        while self.signals:
            number = self.signals.pop(0)
            if number == signal.SIGINT:
                self.channel.put(channel.SIGNAL, bytes((number,)))
                continue
            if number == signal.SIGCONT and self.terminal and os.isatty(0):
                tty.setraw(0, termios.TCSADRAIN)
            if self.terminal:
                self.channel.put(channel.SIZE, struct.pack("!HH", *self._size()))

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        def note(number: int, _frame: object) -> None:
            if self.sock is None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.signals.append(number)

        os.set_blocking(self._woken, False)
        waker = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        heard = (signal.SIGINT, signal.SIGWINCH, signal.SIGCONT)
        before = {each: signal.signal(each, note) for each in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(waker)

    @contextmanager
    def _raw(self) -> Iterator[None]:
        """The terminal here is to pass everything on, as there is another one behind it."""
        if not self.terminal or not os.isatty(0):
            yield
            return
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)
        try:
            yield
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _size(self) -> tuple[int, int]:
        for descriptor in (1, 0, 2):
            with suppress(OSError):
                packed = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
                rows, columns, _, _ = struct.unpack("HHHH", packed)
                if rows and columns:
                    return rows, columns
        return ROWS, COLUMNS

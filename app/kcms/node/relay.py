"""Serves the terminal or the pipes of one interactive task to whoever is attached to it.

A process of its own beside the init, in cgroup ``init``, with the ids of the task's user, who
cannot trace it: it reads what strangers send, and needs no right but to signal the program.  It
ends when the init said how the program ended and that was taken, or when nobody is attached any
more, which ends the program.  Connections come and go (gateways are restarted, networks are cut);
the first one brings a key, and only who has it goes on.  See :mod:`kcms.attach.channel`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
import time
from typing import Any, NamedTuple, NoReturn

from kcms.attach import channel
from kcms.attach.chunks import chunk
from kcms.node.relay_connection import LATER, Connection

ATTACH_SECONDS = 60.0  # until somebody comes
LOST_SECONDS = 60.0  # until somebody comes again
QUIET_SECONDS = 0.5  # without a byte, when everybody who could write has ended
LEFT_LIMIT = 8 << 20  # bytes that are taken then; kernels hold less
PART = 1 << 15
STRANGERS = 8
DONE, NOBODY, GONE, LOST = 0, 3, 4, 5
ENDS = {DONE: "done", NOBODY: "nobody", GONE: "gone", LOST: "lost"}
WHY = {
    "nobody": f"nobody was attached to it within {ATTACH_SECONDS:g} s",
    "gone": "the kcms run that was attached to it ended",
    "lost": f"the kcms run that was attached to it was not heard for {LOST_SECONDS:g} s",
}
SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP})
PR_SET_DUMPABLE = 4


class Served(NamedTuple):
    """What it is given: where connections come in (from ``callers``, by uid), the ends of the
    program's input, output and error (one and the same of a terminal), where to say that it may
    begin, and where the init speaks."""

    listener: socket.socket
    ends: tuple[int, int, int]
    go: int
    told: int
    terminal: bool
    callers: tuple[int, ...]


def main(served: Served, uid: int, gid: int) -> NoReturn:
    """In a fresh fork of the init."""
    status = 1
    try:
        _close_others({served.listener.fileno(), *served.ends, served.go, served.told})
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            status = Relay(served).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the journal is to have it
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = where.tb_lineno if where is not None else 0
        os.write(2, f"serving a job's terminal failed in line {line}: {error!r}\n".encode())
    finally:
        os._exit(status)


def _close_others(keep: set[int]) -> None:
    """Close all but these and the standard ones."""
    begin = 3
    for each in sorted(keep):
        if begin < each:
            os.closerange(begin, each)
        begin = each + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


class Relay:
    """The loop and what it knows."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.channel = channel.Channel()
        self.connection: Connection | None = None
        self.strangers: list[Connection] = []  # that said nothing yet
        self.key = ""
        self.deadline = time.monotonic() + ATTACH_SECONDS
        self.input: list[bytes] = []  # for the program
        self.input_ends = False
        self.open = {channel.INPUT, channel.OUTPUT} | ({channel.ERROR} if self._apart else set())
        self.root = 0
        self.told = b""
        self.how: dict[str, Any] | None = None
        self.quiet_at = 0.0
        self.left = LEFT_LIMIT
        self.over = False  # the client has been told how it ended, or is about to be

    @property
    def _apart(self) -> bool:
        return not self.served.terminal

    def run(self) -> int:
        """Serve until it is over; the exit status."""
        while True:
            if self.over and self.channel.delivered and not self._unsent():
                return DONE
            if self.connection is None and time.monotonic() >= self.deadline:
                return LOST if self.key else NOBODY
            try:
                self._turn()
            except _Gone:
                return GONE
            self._drain()

    def _unsent(self) -> bool:
        return self.connection is not None and bool(self.connection.unsent)

    # one turn ------------------------------------------------------------------------------------

    def _turn(self) -> None:
        for descriptor, _ in self._poll().poll(1000 * self._patience()):
            self._happened(descriptor)
        if self.connection is not None and self.channel.wants_to_send:
            self._send()

    def _patience(self) -> float:
        ends = [self.deadline] if self.connection is None else []
        ends += [self.quiet_at] if self.how is not None and not self.over else []
        return max(min(ends) - time.monotonic(), 0.001) if ends else 3600.0

    def _poll(self) -> select.poll:
        """What there is to be waited for: nothing is read that there is no room for."""
        wanted: dict[int, int] = {self.served.listener.fileno(): select.POLLIN}
        if self.how is None:
            wanted[self.served.told] = select.POLLIN
        for each in self.strangers:
            wanted[each.sock.fileno()] = select.POLLIN | (select.POLLOUT if each.unsent else 0)
        if self.connection is not None:
            more = select.POLLOUT if self.connection.unsent else 0
            wanted[self.connection.sock.fileno()] = select.POLLIN | more
        for kind in (channel.OUTPUT, channel.ERROR):
            if kind in self.open and self._room():
                wanted[self.served.ends[kind - 1]] = select.POLLIN
        if channel.INPUT in self.open and self.input:
            descriptor = self.served.ends[0]
            wanted[descriptor] = wanted.get(descriptor, 0) | select.POLLOUT
        made = select.poll()
        for descriptor, events in wanted.items():
            made.register(descriptor, events)
        return made

    def _room(self) -> int:
        """Bytes of output that may be read; of an ended program everything that is left."""
        return min(PART, self.left if self.how is not None else self.channel.room)

    def _happened(self, descriptor: int) -> None:
        if descriptor == self.served.listener.fileno():
            self._accept()
        elif descriptor == self.served.told:
            self._hear_init()
        elif self.connection is not None and descriptor == self.connection.sock.fileno():
            self._serve(self.connection)
        elif descriptor in self.served.ends:
            self._pump(descriptor)
        else:
            for each in [s for s in self.strangers if s.sock.fileno() == descriptor]:
                self._greet(each)

    # connections ---------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self.served.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("iII", packed)[1] not in self.served.callers:
            sock.close()
            return
        if len(self.strangers) >= STRANGERS:
            self.strangers.pop(0).sock.close()
        self.strangers.append(Connection(sock))

    def _greet(self, new: Connection) -> None:
        """Somebody who comes says who it is, or is told that another is attached."""
        frames: list[channel.Frame] | None = None
        try:
            frames = new.read() if not new.last else []
            if frames:
                self._hello(new, *frames[0])
                self._take(frames[1:] if new.greeted else [])
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
            frames = self._refuse(new, f"this is no kcms run: {error}")
        if frames is None or (new.unsent and not new.write()):
            self.strangers = [each for each in self.strangers if each is not new]
            if self.connection is not new:
                new.sock.close()

    def _refuse(self, new: Connection, why: str) -> list[channel.Frame]:
        new.unsent, new.last = chunk(channel.frame(channel.REFUSED, why.encode()[:1000])), True
        return []

    def _hello(self, new: Connection, kind: int, payload: bytes) -> None:
        """:raises ValueError: it is not one who may be attached"""
        said = json.loads(payload) if kind == channel.HELLO else {}
        key, state = str(said["key"]), bytes.fromhex(said["state"])
        rows, columns = int(said["rows"]), int(said["columns"])
        if len(key) < 16 or self.key not in ("", key):
            self._refuse(new, "somebody else is attached to this job")
            return
        self.channel.resume(state)
        self._resize(rows, columns)
        if not self.key:
            self.key = key
            os.write(self.served.go, b"g")
            os.close(self.served.go)
        if self.connection is not None:
            self.connection.sock.close()
        self.strangers = [each for each in self.strangers if each is not new]
        new.greeted = True
        new.unsent = chunk(channel.frame(channel.WELCOME, self.channel.state()))
        self.connection = new

    def _serve(self, connection: Connection) -> None:
        """Take what came, and send what is to be sent.  :raises _Gone: it was left for good"""
        try:
            frames = connection.read()
            if frames:
                self._take(frames)
        except ValueError:
            frames = None
        if connection.chunks.ended:
            raise _Gone
        if frames is None or (connection.unsent and not connection.write()):
            connection.sock.close()
            self.connection = None
            self.deadline = time.monotonic() + LOST_SECONDS

    def _send(self) -> None:
        assert self.connection is not None
        if not self.connection.unsent:
            self.connection.unsent = chunk(self.channel.take())
            self._serve(self.connection)

    # what is said --------------------------------------------------------------------------------

    def _take(self, frames: list[channel.Frame]) -> None:
        for kind, payload in self.channel.hear(frames):
            if kind == channel.INPUT:
                self._input(payload)
            elif kind == channel.END:
                self.input_ends = True
            elif kind == channel.SIZE:
                self._resize(*struct.unpack("!HH", payload.ljust(4, b"\0")[:4]))
            elif kind == channel.SIGNAL:
                self._signal(int.from_bytes(payload, "big"))
            elif kind == channel.SHUT:
                self._shut(int.from_bytes(payload, "big"))
        self._feed()

    def _input(self, data: bytes) -> None:
        if channel.INPUT in self.open:
            self.input.append(data)
        else:
            self.channel.consume(len(data))

    def _resize(self, rows: int, columns: int) -> None:
        if self.served.terminal and 0 < rows < 1 << 16 and 0 < columns < 1 << 16:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.served.ends[0], termios.TIOCSWINSZ, size)

    def _signal(self, number: int) -> None:
        """For the program and what it started in its own group."""
        if number in SIGNALS and self.root > 1 and self.how is None:
            try:
                os.killpg(self.root, number)
            except OSError:
                return

    def _shut(self, kind: int) -> None:
        """Nobody takes the output any more: the program is to notice, as with any pipe."""
        if kind in (channel.OUTPUT, channel.ERROR) and self._apart and kind in self.open:
            self._close(kind)

    def _close(self, kind: int) -> None:
        self.open.discard(kind)
        if self._apart:
            os.close(self.served.ends[kind - 1])

    def _hear_init(self) -> None:
        """The init tells the number of the program's process, and in the end how it ended."""
        part = os.read(self.served.told, PART)
        *lines, self.told = (self.told + part).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self.root = said.get("root", self.root)
            if "root" not in said:
                self.how = said
        if not part and self.how is None:  # the init is gone, and everything with it
            raise _Gone
        if self.how is not None:
            self.quiet_at = time.monotonic() + QUIET_SECONDS

    # the program's ends --------------------------------------------------------------------------

    def _pump(self, descriptor: int) -> None:
        if descriptor == self.served.ends[0]:
            self._feed()
        for kind in (channel.OUTPUT, channel.ERROR):
            if kind in self.open and descriptor == self.served.ends[kind - 1] and self._room():
                self._read(kind, descriptor)

    def _feed(self) -> None:
        """Give the program as much of its input as it takes."""
        while self.input and channel.INPUT in self.open:
            try:
                done = os.write(self.served.ends[0], self.input[0])
            except OSError as error:
                if error.errno not in LATER:
                    self._input_closed()
                return
            self.channel.consume(done)
            rest = self.input[0][done:]
            self.input[:1] = [rest] if rest else []
        if self.input_ends and channel.INPUT in self.open:
            self.input_ends = False
            if self.served.terminal:
                self.input.append(_end_of_file(self.served.ends[0]))
                self.channel.consume(-len(self.input[-1]))  # not the client's
                self._feed()
            else:
                self._close(channel.INPUT)

    def _input_closed(self) -> None:
        """The program takes no more: what comes is thrown away, and the client told."""
        self.channel.consume(sum(map(len, self.input)))
        self.input.clear()
        self.channel.put(channel.SHUT, bytes((channel.INPUT,)))
        if self._apart:
            self._close(channel.INPUT)
        else:
            self.open.discard(channel.INPUT)

    def _read(self, kind: int, descriptor: int) -> None:
        try:
            data = os.read(descriptor, self._room())
        except OSError as error:
            if error.errno in LATER:
                return
            data = b""  # EIO: nobody has the terminal open any more
        if not data:
            self._close(kind)
            return
        self.channel.put(kind, data)
        if self.how is not None:
            self.left -= len(data)
            self.quiet_at = time.monotonic() + QUIET_SECONDS

    def _drain(self) -> None:
        """Once the program is over and all it wrote is read, say how it ended."""
        if self.how is None or self.over:
            return
        outputs = self.open & {channel.OUTPUT, channel.ERROR}
        if not outputs or self.left <= 0 or time.monotonic() >= self.quiet_at:
            self.channel.put(channel.EXIT, json.dumps(self.how).encode()[: channel.PAYLOAD_LIMIT])
            self.over = True
            if self.connection is not None:
                self._send()


class _Gone(Exception):
    """Whoever was attached left for good."""


def _end_of_file(terminal: int) -> bytes:
    """What to type to end the input of a terminal."""
    found = termios.tcgetattr(terminal)[6][termios.VEOF]
    return found if isinstance(found, bytes) else bytes((found,))

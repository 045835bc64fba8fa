"""What ``kcms run`` and the process that serves a job's terminal say to each other, end to end.

Frames: a kind in 1 byte, a length in 3 (most significant first), and the payload.  Those below
:data:`OF_CONNECTION` are numbered from 0 in each direction, without saying so, and each end keeps
what it sent until the other has it.  So a connection may be cut at any byte and another one go on
where it was: the first frames of a connection (HELLO, answered by WELCOME or REFUSED) say how many
each end has.  An ACK says that again, and how many bytes of data were consumed: of data that was
not consumed there is never more than a window under way, so nothing fills anybody's memory.

Pure, and loaded by every ``kcms run`` and by the process at the other end, hence no imports.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Frame = tuple[int, bytes]

INPUT, OUTPUT, ERROR = 1, 2, 3
"""Data of the program's standard input, output and error."""

DATA = (INPUT, OUTPUT, ERROR)

END, SHUT, SIZE, SIGNAL, EXIT = 16, 17, 18, 19, 20
"""END: of the input.  SHUT (a kind of data, 1 byte): nobody takes it any more.  SIZE (rows and
columns, 2 bytes each): of the terminal.  SIGNAL (its number, 1 byte): for the program.  EXIT
(JSON): how the program ended; nothing follows."""

OF_CONNECTION = 32
HELLO, WELCOME, REFUSED, ACK = 32, 33, 34, 35
"""HELLO (JSON): who attaches.  WELCOME, ACK (two numbers of 8 bytes): frames that arrived, bytes
consumed.  REFUSED (text): why not."""

KINDS = frozenset({*DATA, END, SHUT, SIZE, SIGNAL, EXIT, HELLO, WELCOME, REFUSED, ACK})
PAYLOAD_LIMIT = 1 << 16
WINDOW = 1 << 18
ACK_FRAMES = 32  # arrived since the last word, so that the other end need not keep them


class ChannelError(ValueError):
    """The other end breaks the protocol; one line."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(3, "big") + payload


class Reader:
    """Takes the bytes of one connection apart."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now.  :raises ChannelError: no frames"""
        content, at, found = self._rest + data, 0, []
        while len(content) - at >= 4:
            kind, size = content[at], int.from_bytes(content[at + 1 : at + 4], "big")
            if kind not in KINDS or size > PAYLOAD_LIMIT:
                raise ChannelError(f"no frame has kind {kind} and {size} bytes")
            if len(content) - at - 4 < size:
                break
            found.append((kind, content[at + 4 : at + 4 + size]))
            at += 4 + size
        self._rest = content[at:]
        return found


class Channel:
    """One end, over as many connections as it takes.

    :param window: bytes of data under way, at the most
    :param most: bytes of data that may be here and not consumed, a window by default; what is left
        of a program that has ended is sent without regard to the window
    """

    def __init__(self, window: int = WINDOW, most: int = 0) -> None:
        self._window = window
        self._most = most or window
        self._kept: list[bytes] = []
        self._first = 0  # the number of kept[0]
        self._next = 0  # the number of the frame that the connection gets next
        self._put = 0  # bytes of data
        self._taken = 0  # of these, consumed by the other end
        self._data = 0  # bytes that came
        self._arrived = 0  # frames that came
        self._consumed = 0
        self._told = (0, 0)
        self._hurry = False

    # to the other end ----------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Bytes of data that may be put now."""
        return max(self._window - (self._put - self._taken), 0)

    @property
    def delivered(self) -> bool:
        """Whether the other end has everything."""
        return not self._kept

    def put(self, kind: int, payload: bytes = b"") -> None:
        for at in range(0, max(len(payload), 1), PAYLOAD_LIMIT):
            self._kept.append(frame(kind, payload[at : at + PAYLOAD_LIMIT]))
        if kind in DATA:
            self._put += len(payload)

    def take(self, limit: int = PAYLOAD_LIMIT) -> bytes:
        """What the connection gets next, some ``limit`` bytes of it; b"" when there is nothing."""
        parts = [frame(ACK, self.state())] if self._owes() else []
        if parts:
            self._told, self._hurry = (self._arrived, self._consumed), False
        size = 0
        while self._next - self._first < len(self._kept) and size < limit:
            each = self._kept[self._next - self._first]
            parts.append(each)
            size += len(each)
            self._next += 1
        return b"".join(parts)

    @property
    def wants_to_send(self) -> bool:
        return self._owes() or self._next - self._first < len(self._kept)

    def _owes(self) -> bool:
        arrived, consumed = self._told
        return (
            (self._hurry and self._arrived > arrived)
            or self._arrived - arrived >= ACK_FRAMES
            or self._consumed - consumed >= self._window // 4
        )

    def state(self) -> bytes:
        """The payload of HELLO's like: what came, and how much of it was consumed."""
        return self._arrived.to_bytes(8, "big") + self._consumed.to_bytes(8, "big")

    # from the other end --------------------------------------------------------------------------

    def resume(self, state: bytes) -> None:
        """Go on over a new connection, whose other end is in that ``state``.

        :raises ChannelError: it cannot be
        """
        self._acknowledge(state)
        self._next = self._first

    def _acknowledge(self, state: bytes) -> None:
        arrived, consumed = int.from_bytes(state[:8], "big"), int.from_bytes(state[8:], "big")
        last = self._first + len(self._kept)
        if len(state) != 16 or not self._first <= arrived <= last or consumed > self._put:
            raise ChannelError("the other end says that it has what it was never sent")
        del self._kept[: arrived - self._first]
        self._first, self._next = arrived, max(self._next, arrived)
        self._taken = max(self._taken, consumed)

    def hear(self, frames: Iterable[Frame]) -> list[Frame]:
        """What is for whoever uses this, of the frames of a connection that was resumed.

        :raises ChannelError: more than the window, or what does not belong there
        """
        found = []
        for kind, payload in frames:
            if kind == ACK:
                self._acknowledge(payload)
                continue
            if kind >= OF_CONNECTION:
                raise ChannelError(f"a frame of kind {kind} has no place here")
            self._arrived += 1
            if kind in DATA:
                self._data += len(payload)
            if self._data - self._consumed > self._most:
                raise ChannelError("the other end sends more than there is room for")
            found.append((kind, payload))
        return found

    def consume(self, size: int) -> None:
        """So many bytes of data found their place."""
        self._consumed += size

    def hurry(self) -> None:
        """Say with the next bytes what arrived."""
        self._hurry = True

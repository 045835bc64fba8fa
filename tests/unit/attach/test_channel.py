"""Two ends over connections that break: nothing lost, doubled, reordered or piled up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.attach.channel import (
    ACK,
    DATA,
    ERROR,
    EXIT,
    HELLO,
    INPUT,
    OUTPUT,
    PAYLOAD_LIMIT,
    SIZE,
    Channel,
    ChannelError,
    Reader,
    frame,
)

WINDOW = 100


class End:
    """One end: what it is to send, what it has got, and how much of that it consumed."""

    def __init__(self, items: list[tuple[int, bytes]]) -> None:
        self.channel = Channel(WINDOW)
        self.left = list(items)
        self.got: list[tuple[int, bytes]] = []
        self.due = 0
        self.reader = Reader()

    def fill(self) -> None:
        while self.left and (
            self.left[0][0] not in DATA or len(self.left[0][1]) <= self.channel.room
        ):
            self.channel.put(*self.left.pop(0))

    def take_in(self, data: bytes) -> None:
        for kind, payload in self.channel.hear(self.reader.feed(data)):
            self.got.append((kind, payload))
            self.due += len(payload) if kind in DATA else 0

    def consume(self, size: int) -> None:
        size = min(size, self.due)
        self.channel.consume(size)
        self.due -= size


def connect(one: End, other: End) -> None:
    for end in (one, other):
        end.reader = Reader()
    one.channel.resume(other.channel.state())
    other.channel.resume(one.channel.state())


def exchange(one: End, other: End, chance: random.Random, cuts: int) -> None:
    """Bytes go to and fro, in pieces, and ``cuts`` times what is under way is lost."""
    connect(one, other)
    for _ in range(20_000):
        if cuts and chance.random() < 0.1:
            cuts -= 1
            connect(one, other)
        for here, there in ((one, other), (other, one)):
            here.fill()
            sent = here.channel.take(30)
            if cuts and chance.random() < 0.2:  # a part arrives, then the connection is gone
                there.take_in(sent[: chance.randrange(len(sent) + 1)])
                cuts -= 1
                connect(one, other)
            else:
                there.take_in(sent)
            assert there.due <= WINDOW
            there.consume(chance.randrange(60))
            there.channel.hurry()
        quiet = not (one.left or other.left) and one.channel.delivered and other.channel.delivered
        if quiet:
            return
    raise AssertionError("it does not come to an end")


frames = st.lists(
    st.tuples(st.sampled_from((INPUT, OUTPUT, ERROR, SIZE)), st.binary(max_size=90)), max_size=30
)


@given(frames, frames, st.integers(0, 1 << 32), st.integers(0, 8))
def test_all_arrives_once_and_in_order_however_often_the_connection_breaks(
    there: list[tuple[int, bytes]], back: list[tuple[int, bytes]], seed: int, cuts: int
) -> None:
    one, other = End(there), End(back)
    exchange(one, other, random.Random(seed), cuts)
    assert other.got == there
    assert one.got == back


def test_of_data_that_nobody_consumes_there_is_a_window_and_no_more() -> None:
    one, other = Channel(WINDOW), Channel(WINDOW)
    one.put(OUTPUT, b"x" * WINDOW)
    assert one.room == 0
    other.hear(Reader().feed(one.take()))
    assert not other.wants_to_send
    other.consume(WINDOW // 4)
    assert other.wants_to_send
    one.hear(Reader().feed(other.take()))
    assert one.room == WINDOW // 4
    assert not other.wants_to_send


def test_a_peer_that_ignores_the_window_is_refused() -> None:
    one, other = Channel(WINDOW), Channel(WINDOW)
    one.put(INPUT, b"x" * (WINDOW + 1))
    with pytest.raises(ChannelError, match="more than there is room for"):
        other.hear(Reader().feed(one.take()))
    patient = Channel(WINDOW, most=2 * WINDOW)
    one.resume(patient.state())
    assert len(patient.hear(Reader().feed(one.take()))[0][1]) == WINDOW + 1


def test_what_was_not_sent_cannot_have_arrived() -> None:
    one = Channel()
    one.put(OUTPUT, b"abc")
    two, three = (2).to_bytes(8, "big"), (3).to_bytes(8, "big")
    for state in (two + three, bytes(7) + b"\1" + (4).to_bytes(8, "big"), b"", bytes(17)):
        with pytest.raises(ChannelError, match="never sent"):
            one.resume(state)
    one.resume((1).to_bytes(8, "big") + three)
    assert one.delivered


def test_long_data_is_cut_and_an_empty_frame_is_one() -> None:
    one = Channel(1 << 20)
    one.put(OUTPUT, b"x" * (PAYLOAD_LIMIT + 1))
    one.put(EXIT)
    reader, found = Reader(), []
    while part := one.take():
        found += reader.feed(part)
    assert [(kind, len(payload)) for kind, payload in found] == [
        (OUTPUT, PAYLOAD_LIMIT),
        (OUTPUT, 1),
        (EXIT, 0),
    ]


@pytest.mark.parametrize(
    "wrong", [b"\xff\0\0\0", b"\1\xff\xff\xff", frame(HELLO), frame(ACK, b"x")]
)
def test_what_is_no_frame_or_out_of_place_is_refused(wrong: bytes) -> None:
    with pytest.raises(ChannelError):
        Channel().hear(Reader().feed(wrong))

"""Packets against bytes captured from Debian 12's gmond 3.7.2, and against any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.errors import ProtocolError
from kcms.wire import packets
from kcms.wire.ganglia_xml import SLOPES
from kcms.wire.packets import Kind, Metadata, Request, Value, decode, encode

METADATA = bytes.fromhex(
    "00000080 00000002 766d0000 00000008 6c6f61645f6f6e65 00000000"
    "00000005 666c6f6174000000 00000008 6c6f61645f6f6e65 00000001 20000000"
    "00000003 00000046 00000000 00000003"
    "00000005 5449544c45000000"
    "00000017 4f6e65204d696e757465204c6f6164204176657261676500"
    "00000004 44455343"
    "00000017 4f6e65206d696e757465206c6f6164206176657261676500"
    "00000005 47524f5550000000 00000004 6c6f6164"
)
LOAD_ONE = bytes.fromhex(
    "00000086 00000002 766d0000 00000008 6c6f61645f6f6e65 00000000 00000004 252e3266 3f11eb85"
)
CPU_NUM = bytes.fromhex(
    "00000081 00000002 766d0000 00000007 6370755f6e756d00 00000000 00000003 25687500 00000002"
)
HEARTBEAT = bytes.fromhex(
    "00000084 00000002 766d0000 00000009 686561727462656174000000 00000000"
    "00000002 25750000 6b044791"
)
GMETRIC = bytes.fromhex(
    "00000085 00000002 766d0000 00000004 74656d70 00000000 00000002 25730000 00000004 34312e35"
)
REQUEST = bytes.fromhex(
    "00000088 0000000a 312e312e312e343a6e340000 00000008 6f6e6c795f76616c 00000001"
)


def test_captured_metadata() -> None:
    expected = Metadata(
        "vm", "load_one", "float", " ", "both", 70, 0,
        (
            ("TITLE", "One Minute Load Average"),
            ("DESC", "One minute load average"),
            ("GROUP", "load"),
        ),
    )  # fmt: skip
    assert len(METADATA) == 172
    assert decode(METADATA) == expected
    assert encode(expected) == METADATA


@pytest.mark.parametrize(
    ("data", "packet", "text"),
    [
        (CPU_NUM, Value("vm", "cpu_num", Kind.USHORT, 2, "%hu"), "2"),
        (HEARTBEAT, Value("vm", "heartbeat", Kind.UINT, 0x6B044791, "%u"), "1795442577"),
        (GMETRIC, Value("vm", "temp", Kind.STRING, "41.5", "%s"), "41.5"),
    ],
)
def test_captured_values(data: bytes, packet: Value, text: str) -> None:
    assert decode(data) == packet
    assert encode(packet) == data
    assert packets.printed(packet) == text


def test_captured_float() -> None:
    packet = decode(LOAD_ONE)
    assert isinstance(packet, Value)
    assert packet.value == pytest.approx(0.57, abs=1e-7)
    assert packets.printed(packet) == "0.57"
    assert encode(packet) == LOAD_ONE


def test_captured_request() -> None:
    assert decode(REQUEST) == Request("1.1.1.4:n4", "only_val", spoof=True)
    assert encode(Request("1.1.1.4:n4", "only_val", spoof=True)) == REQUEST


def test_what_follows_a_message_is_ignored() -> None:
    assert decode(CPU_NUM + b"junk") == decode(CPU_NUM)


@pytest.mark.parametrize("data", [METADATA, LOAD_ONE, CPU_NUM, GMETRIC, REQUEST])
def test_every_shorter_datagram_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(data[:length])


@pytest.mark.parametrize("number", [0, 26, 127, 137, 2**32 - 1])
def test_other_messages_are_refused(number: int) -> None:
    with pytest.raises(ProtocolError, match=f"message id {number}"):
        decode(number.to_bytes(4, "big") + CPU_NUM[4:])


def test_a_count_that_cannot_be_is_refused_before_it_is_tried() -> None:
    data = METADATA.replace(bytes.fromhex("00000046 00000000 00000003"), b"\0" * 8 + b"\xff" * 4)
    with pytest.raises(ProtocolError, match="4294967295 extra pairs"):
        decode(data)


@pytest.mark.parametrize(
    ("form", "kind", "value", "text"),
    [
        ("%.1f", Kind.FLOAT, 97.25, "97.2"),
        ("%.3f", Kind.DOUBLE, 270.5527, "270.553"),
        ("%lf", Kind.DOUBLE, 1.5, "1.500000"),
        ("%g", Kind.FLOAT, 0.25, "0.25"),
        ("%d", Kind.INT, -7, "-7"),
        ("%s", Kind.UINT, 7, "7"),
        ("%.2f", Kind.UINT, 7, "7.00"),
        ("A%.1fB<%d>", Kind.FLOAT, 1.5, "1.500000"),
        ("%s%s%s%n", Kind.INT, 3, "3"),
        ("%.999999999f", Kind.FLOAT, 1.5, "1.500000"),
        ("%*d", Kind.UINT, 3, "3"),
        ("", Kind.DOUBLE, 2.0, "2.000000"),
        ("%d", Kind.FLOAT, 1.5, "1.5"),
        ("%.1f", Kind.FLOAT, float("nan"), "nan"),
    ],
)
def test_only_plain_formats_are_obeyed(form: str, kind: Kind, value: float, text: str) -> None:
    assert packets.printed(Value("h", "m", kind, value, form)) == text


@pytest.mark.parametrize(
    "packet",
    [
        Value("h", "m", Kind.USHORT, 65536),
        Value("h", "m", Kind.SHORT, -32769),
        Value("h", "m", Kind.UINT, -1),
        Value("h", "m", Kind.UINT, 1.5),
        Value("h", "m", Kind.FLOAT, 1e300),
        Value("h", "m", Kind.FLOAT, "1"),
        Value("h", "m", Kind.STRING, 1),
        Metadata("h", "m", "float", tmax=2**32),
        Value("h", "m", Kind.STRING, "x" * 1500),
    ],
)
def test_what_cannot_be_sent_is_an_error(packet: packets.Packet) -> None:
    with pytest.raises(ProtocolError):
        encode(packet)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
NAME = TEXT.filter(bool)
UINT = st.integers(0, 2**32 - 1)
METADATA_PACKETS = st.builds(
    Metadata, TEXT, NAME, TEXT, TEXT, st.sampled_from(SLOPES), UINT, UINT,
    st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple), st.booleans(),
)  # fmt: skip
VALUES = st.one_of(
    st.tuples(st.just(Kind.STRING), TEXT),
    st.tuples(st.just(Kind.USHORT), st.integers(0, 65535)),
    st.tuples(st.just(Kind.SHORT), st.integers(-32768, 32767)),
    st.tuples(st.just(Kind.INT), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(Kind.UINT), UINT),
    st.tuples(st.just(Kind.FLOAT), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just(Kind.DOUBLE), st.floats(allow_nan=False)),
)
VALUE_PACKETS = st.builds(
    lambda host, name, pair, form, spoof: Value(host, name, *pair, form, spoof),
    TEXT, NAME, VALUES, TEXT, st.booleans(),
)  # fmt: skip
PACKETS = st.one_of(METADATA_PACKETS, VALUE_PACKETS, st.builds(Request, TEXT, NAME, st.booleans()))


@given(PACKETS)
def test_what_is_encoded_is_decoded(packet: packets.Packet) -> None:
    assert decode(encode(packet)) == packet


@given(PACKETS, st.data())
def test_damage_is_noticed_or_harmless(packet: packets.Packet, data: st.DataObject) -> None:
    raw = bytearray(encode(packet))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(raw))


@given(st.binary(max_size=200), st.integers(128, 136))
def test_garbage_is_refused_or_harmless(tail: bytes, number: int) -> None:
    survives(tail)
    survives(number.to_bytes(4, "big") + tail)


def survives(raw: bytes) -> None:
    try:
        packet = decode(raw)
    except ProtocolError:
        return
    if isinstance(packet, Value):
        packets.printed(packet)

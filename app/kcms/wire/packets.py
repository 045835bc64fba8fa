"""Ganglia's datagrams, 3.1 and later (ids 128 to 136): bytes to frozen records and back.

One message a datagram, no version, no checksum.  A metric is *described* by :class:`Metadata`, sent
seldom, and *told* by :class:`Value`; who lacks the description asks with :class:`Request`.  The
format of a value comes from the network too, so only plain conversions are obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from kcms.errors import ProtocolError
from kcms.wire import xdr
from kcms.wire.ganglia_xml import SLOPES, Extra

MAX_DATAGRAM = 1472  # bytes a receiver reads: Ethernet's 1500 less the IP and UDP headers
MAX_MESSAGE = 1464  # bytes that Ganglia's library sends at the most

METADATA = 128
REQUEST = 136


class Kind(IntEnum):
    """Message ids of the seven kinds of values."""

    USHORT = 129
    SHORT = 130
    INT = 131
    UINT = 132
    STRING = 133
    FLOAT = 134
    DOUBLE = 135


KIND_OF_TYPE = {
    "string": Kind.STRING,
    "int8": Kind.SHORT,
    "uint8": Kind.USHORT,
    "int16": Kind.SHORT,
    "uint16": Kind.USHORT,
    "int32": Kind.INT,
    "uint32": Kind.UINT,
    "float": Kind.FLOAT,
    "double": Kind.DOUBLE,
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a metric is.  ``tmax`` and ``dmax`` are in seconds, ``slope`` is a word of SLOPES."""

    host: str
    name: str
    type: str
    units: str = ""
    slope: str = "both"
    tmax: int = 60
    dmax: int = 0
    extra: Extra = ()
    spoof: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A reading; ``form`` is how its sender would print it, as ``%.2f``."""

    host: str
    name: str
    kind: Kind
    value: float | str
    form: str = ""
    spoof: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """The question for a metric's description."""

    host: str
    name: str
    spoof: bool = False


Packet = Metadata | Value | Request


def decode(data: bytes) -> Packet:
    """The message in a datagram.  What follows it is ignored, as Ganglia does.

    :raises ProtocolError: another id, or bytes that do not make such a message
    """
    reader = xdr.Reader(data)
    number = reader.uint()
    if not METADATA <= number <= REQUEST:
        raise ProtocolError(f"message id {number} is not one of {METADATA} to {REQUEST}")
    host, name, spoof = reader.text(), reader.text(), reader.flag()
    if not name:
        raise ProtocolError("a metric without a name")
    if number == METADATA:
        return _decode_metadata(reader, host, name, spoof)
    if number == REQUEST:
        return Request(host, name, spoof)
    kind, form = Kind(number), reader.text()
    return Value(host, name, kind, _READ[kind](reader), form, spoof)


def encode(packet: Packet) -> bytes:
    """The datagram of ``packet``.

    :raises ProtocolError: a value does not fit its kind, or the message is over 1464 bytes
    """
    match packet:
        case Metadata():
            data = _head(METADATA, packet) + _encode_metadata(packet)
        case Value():
            data = _head(packet.kind, packet) + xdr.text(packet.form) + _encode_value(packet)
        case Request():
            data = _head(REQUEST, packet)
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(f"{packet.name!r} takes {len(data)} bytes, over {MAX_MESSAGE}")
    return data


_FORM = re.compile(r"%(?:\.(\d))?(f|lf|g|u|hu|d|hd|i|s)")
_DEFAULT_FORM = {Kind.FLOAT: "%f", Kind.DOUBLE: "%f"}


def printed(value: Value) -> str:
    """The value as text, in its sender's format if that is a plain one that fits its kind."""
    if isinstance(value.value, str):
        return value.value
    found = _FORM.fullmatch(value.form) or _FORM.fullmatch(_DEFAULT_FORM.get(value.kind, "%d"))
    assert found is not None
    digits, conversion = found.groups()
    if conversion in ("f", "lf"):
        return f"{value.value:.{digits or 6}f}"
    if conversion == "g" or value.kind in (Kind.FLOAT, Kind.DOUBLE):
        return f"{value.value:.{digits or 6}g}"
    return str(value.value)


def _head(number: int, packet: Packet) -> bytes:
    name = xdr.text(packet.host) + xdr.text(packet.name)
    return xdr.uint(number) + name + xdr.flag(packet.spoof)


def _decode_metadata(reader: xdr.Reader, host: str, name: str, spoof: bool) -> Metadata:
    kind = reader.text()
    reader.text()  # the name again
    units = reader.text()
    slope, tmax, dmax, count = reader.uint(), reader.uint(), reader.uint(), reader.uint()
    if count * 8 > reader.remaining:
        raise ProtocolError(f"{count} extra pairs do not fit into {reader.remaining} bytes")
    extra = tuple((reader.text(), reader.text()) for _ in range(count))
    word = SLOPES[slope] if slope < len(SLOPES) else "unspecified"
    return Metadata(host, name, kind, units, word, tmax, dmax, extra, spoof)


def _encode_metadata(packet: Metadata) -> bytes:
    parts = [xdr.text(packet.type), xdr.text(packet.name), xdr.text(packet.units)]
    numbers = (SLOPES.index(packet.slope), packet.tmax, packet.dmax, len(packet.extra))
    parts.extend(xdr.uint(each) for each in numbers)
    parts.extend(xdr.text(each) for pair in packet.extra for each in pair)
    return b"".join(parts)


def _encode_value(packet: Value) -> bytes:
    kind, value = packet.kind, packet.value
    if isinstance(value, str):
        if kind is not Kind.STRING:
            raise ProtocolError(f"{packet.name!r}: {value!r} is not a number")
        return xdr.text(value)
    match kind:
        case Kind.STRING:
            raise ProtocolError(f"{packet.name!r}: {value!r} is not text")
        case Kind.FLOAT:
            return xdr.float32(value)
        case Kind.DOUBLE:
            return xdr.float64(value)
        case Kind.SHORT | Kind.INT:
            low = -(2**15) if kind is Kind.SHORT else -(2**31)
            return xdr.int32(_within(packet, low, -low - 1))
        case _:
            return xdr.uint(_within(packet, 0, 0xFFFF if kind is Kind.USHORT else xdr.UINT_MAX))


def _within(packet: Value, low: int, high: int) -> int:
    if not isinstance(packet.value, int) or not low <= packet.value <= high:
        raise ProtocolError(f"{packet.name!r}: {packet.value!r} is not {packet.kind.name.lower()}")
    return packet.value


def _short(reader: xdr.Reader) -> int:
    value = reader.int32()
    if not -(2**15) <= value < 2**15:
        raise ProtocolError(f"{value} is no integer of 16 bits")
    return value


def _ushort(reader: xdr.Reader) -> int:
    value = reader.uint()
    if value > 0xFFFF:
        raise ProtocolError(f"{value} is no unsigned integer of 16 bits")
    return value


_READ: dict[Kind, Callable[[xdr.Reader], float | str]] = {
    Kind.USHORT: _ushort,
    Kind.SHORT: _short,
    Kind.INT: xdr.Reader.int32,
    Kind.UINT: xdr.Reader.uint,
    Kind.STRING: xdr.Reader.text,
    Kind.FLOAT: xdr.Reader.float32,
    Kind.DOUBLE: xdr.Reader.float64,
}

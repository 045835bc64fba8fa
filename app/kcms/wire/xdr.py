"""XDR (RFC 4506), as far as Ganglia's packets use it: bytes in, values out, and back.

Everything is big-endian and a multiple of four bytes long.  Text is UTF-8 on the way out; on the
way in whatever is not UTF-8 is read as Latin-1, which is what Ganglia takes bytes for.
"""

from __future__ import annotations

import struct
from typing import Final

from kcms.errors import ProtocolError

UINT_MAX: Final = 0xFFFF_FFFF
_UINT = struct.Struct(">I")
_INT = struct.Struct(">i")
_FLOAT = struct.Struct(">f")
_DOUBLE = struct.Struct(">d")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Reader:
    """Takes values off the front of ``data``.

    Every method raises :class:`ProtocolError` when the bytes end too early.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def uint(self) -> int:
        """An unsigned integer of 32 bits."""
        return int(self._number(_UINT))

    def int32(self) -> int:
        """A signed integer of 32 bits."""
        return int(self._number(_INT))

    def float32(self) -> float:
        """A floating point number of 32 bits."""
        return self._number(_FLOAT)

    def float64(self) -> float:
        """A floating point number of 64 bits."""
        return self._number(_DOUBLE)

    def flag(self) -> bool:
        """0 or 1."""
        value = self.uint()
        if value > 1:
            raise ProtocolError(f"a truth value must be 0 or 1, not {value}")
        return value == 1

    def text(self) -> str:
        """A string; it ends at a NUL, as C takes it."""
        length = self.uint()
        start = self._at
        end = start + length
        if end + (-length % 4) > len(self._data):
            raise ProtocolError(f"a string of {length} bytes does not fit into {self.remaining}")
        self._at = end + (-length % 4)
        raw = self._data[start:end]
        if b"\0" in raw:
            raw = raw[: raw.index(b"\0")]
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def _number(self, form: struct.Struct) -> float:
        at = self._at
        try:
            (value,) = form.unpack_from(self._data, at)
        except struct.error as error:
            missing = form.size - self.remaining
            raise ProtocolError(f"the packet ends {missing} bytes too early") from error
        self._at = at + form.size
        number: float = value
        return number


def uint(value: int) -> bytes:
    """An unsigned integer of 32 bits.  :raises ProtocolError: it does not fit"""
    return _pack(_UINT, value)


def int32(value: int) -> bytes:
    """A signed integer of 32 bits.  :raises ProtocolError: it does not fit"""
    return _pack(_INT, value)


def float32(value: float) -> bytes:
    """A floating point number of 32 bits.  :raises ProtocolError: it does not fit"""
    return _pack(_FLOAT, value)


def float64(value: float) -> bytes:
    """A floating point number of 64 bits."""
    return _pack(_DOUBLE, value)


def flag(value: bool) -> bytes:
    """0 or 1."""
    return _UINT.pack(value)


def text(value: str) -> bytes:
    """A string with its length before and zeros after it.  What is no Unicode becomes ``?``."""
    raw = value.encode("utf-8", "replace")
    return _UINT.pack(len(raw)) + raw + _PADDING[len(raw) % 4]


def _pack(form: struct.Struct, value: float) -> bytes:
    try:
        return form.pack(value)
    except (struct.error, OverflowError) as error:
        raise ProtocolError(f"{value!r} does not fit into {form.size} bytes") from error

"""XDR: bytes of RFC 4506, and nothing read beyond the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.errors import ProtocolError
from kcms.wire import xdr
from kcms.wire.xdr import Reader

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (xdr.uint(0xDEADBEEF), "deadbeef"),
        (xdr.int32(-2), "fffffffe"),
        (xdr.flag(True), "00000001"),
        (xdr.float32(0.57), "3f11eb85"),
        (xdr.float64(1.5), "3ff8000000000000"),
        (xdr.text(""), "00000000"),
        (xdr.text("vm"), "00000002766d0000"),
        (xdr.text("DESC"), "0000000444455343"),
    ],
)
def test_bytes(data: bytes, expected: str) -> None:
    assert data.hex() == expected


@given(TEXT, st.integers(0, xdr.UINT_MAX), st.integers(-(2**31), 2**31 - 1), st.floats())
def test_what_is_written_is_read(text: str, number: int, signed: int, real: float) -> None:
    data = xdr.text(text) + xdr.uint(number) + xdr.int32(signed) + xdr.float64(real)
    reader = Reader(data)
    assert (reader.text(), reader.uint(), reader.int32()) == (text, number, signed)
    assert repr(reader.float64()) == repr(real)
    assert reader.remaining == 0


@given(TEXT, st.integers(1, 60))
def test_a_text_cut_short_is_an_error(text: str, cut: int) -> None:
    data = xdr.text(text)
    with pytest.raises(ProtocolError):
        Reader(data[: max(len(data) - cut, 0)]).text()


def test_a_length_beyond_the_end_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="4294967295 bytes does not fit into 4"):
        Reader(b"\xff\xff\xff\xff" + b"abcd").text()


def test_bytes_that_are_no_utf8_are_latin_1() -> None:
    assert Reader(b"\0\0\0\1\xe9\0\0\0").text() == "é"


def test_a_nul_ends_a_text() -> None:
    reader = Reader(b"\0\0\0\4ab\0c" + xdr.uint(7))
    assert (reader.text(), reader.uint()) == ("ab", 7)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_what_does_not_fit_is_an_error(value: int) -> None:
    with pytest.raises(ProtocolError):
        xdr.uint(value)

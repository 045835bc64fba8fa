"""Numbers in words."""

from __future__ import annotations

import pytest

from kcms.web import words


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 KiB"),
        (1023, "1023 KiB"),
        (1024, "1.0 MiB"),
        (16 * 1024 * 1024, "16.0 GiB"),
        (272 * 1024 * 1024, "272 GiB"),
        (5 * 1024**5, "5120 PiB"),
    ],
)
def test_sizes(amount: float, text: str) -> None:
    assert words.kibibytes(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text", "brief"),
    [
        (-3, "0 seconds", "0 s"),
        (1, "1 second", "1 s"),
        (59.9, "59 seconds", "59 s"),
        (60, "1 minute", "1 min"),
        (7200, "2 hours", "2 h"),
        (86400 * 3, "3 days", "3 d"),
    ],
)
def test_spans(seconds: float, text: str, brief: str) -> None:
    assert (words.span(seconds), words.brief(seconds)) == (text, brief)


def test_shares_and_values() -> None:
    assert words.percent(1, 8) == "12 %"
    assert words.percent(1, 0) == "-"
    assert words.value("2048", "KB") == "2.0 MiB"
    assert words.value("41.50", "Celsius") == "41.5 Celsius"
    assert words.value("0.52", " ") == "0.52"
    assert words.value("x86_64", "") == "x86_64"
    assert words.value("100", "") == "100"

"""Numbers as a reader wants them: sizes, spans of time, shares."""

from __future__ import annotations

_SIZES = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_BRIEF = {"day": "d", "hour": "h", "minute": "min", "second": "s"}


def kibibytes(amount: float) -> str:
    """``amount`` KiB with the unit that keeps the number short: ``15.6 GiB``."""
    unit = _SIZES[0]
    for unit in _SIZES:
        if abs(amount) < 1024 or unit == _SIZES[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if amount >= 100 or unit == "KiB" else f"{amount:.1f} {unit}"


def span(seconds: float) -> str:
    """``seconds`` in its largest whole unit: ``3 minutes``; under a second is ``0 seconds``."""
    whole = max(int(seconds), 0)
    for length, word in _SPANS:
        if whole >= length:
            number = whole // length
            return f"{number} {word}{'' if number == 1 else 's'}"
    return "0 seconds"


def brief(seconds: float) -> str:
    """As :func:`span`, for where there is little room: ``25 min``."""
    number, word = span(seconds).split()
    return f"{number} {_BRIEF[word.removesuffix('s')]}"


def percent(part: float, whole: float) -> str:
    """``part`` of ``whole`` as ``13 %``; ``-`` of nothing."""
    return f"{100 * part / whole:.0f} %" if whole > 0 else "-"


def number(value: float) -> str:
    """Two decimals, without the ones that say nothing: ``0.52``, ``12``."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def value(text: str, units: str) -> str:
    """A metric's value as the page shows it."""
    try:
        amount = float(text)
    except ValueError:
        return text
    if units == "KB":
        return kibibytes(amount)
    unit = units.strip()
    return f"{number(amount)} {unit}" if unit else number(amount)

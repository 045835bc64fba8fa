"""Numbers as a reader wants them: sizes, spans of time, shares."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

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


def count(amount: int, thing: str) -> str:
    """``1 slot``, ``3 slots``."""
    return f"{amount} {thing}{'' if amount == 1 else 's'}"


def duration(seconds: float) -> str:
    """A length of time to the second: ``7 s``, ``2:05 min``, ``1:02:05 h``, ``3 days 1:02:05``."""
    whole = max(int(seconds), 0)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, second = divmod(rest, 60)
    if days:
        return f"{count(days, 'day')} {hours}:{minutes:02}:{second:02}"
    if hours:
        return f"{hours}:{minutes:02}:{second:02} h"
    return f"{minutes}:{second:02} min" if minutes else f"{second} s"


def moment(epoch: object, now: float) -> str:
    """``epoch`` (seconds, UTC) as local date and time; today's without the date."""
    if not isinstance(epoch, int | float) or not 0 < epoch < 1e11:
        return ""
    told, today = (datetime.fromtimestamp(each, UTC).astimezone() for each in (epoch, now))
    form = "%H:%M:%S" if told.date() == today.date() else "%Y-%m-%d %H:%M:%S"
    return told.strftime(form)


def visible(text: str, keep: str = "") -> str:
    """``text`` with a sign for each character that cannot be seen, but for those of ``keep``.

    So a name or an output can neither hide nor turn around what stands beside it.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _sign(each) for each in text)


def _sign(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"

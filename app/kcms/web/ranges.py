"""The five ranges of time a graph can show (*Last*)."""

from __future__ import annotations

from dataclasses import dataclass

from kcms.errors import InvalidRequest


@dataclass(frozen=True)
class Range:
    """A span of time that ends now.

    ``seconds`` is its length, ``step`` the seconds to which its end is rounded down, so that every
    reader within one step gets the same picture.
    """

    name: str
    seconds: int
    step: int

    def window(self, now: float) -> tuple[int, int]:
        """Start and end of the range at ``now``, in epoch seconds."""
        end = int(now) // self.step * self.step
        return end - self.seconds, end


_DAY = 86400
RANGES: dict[str, Range] = {
    each.name: each
    for each in (
        Range("hour", 3600, 15),
        Range("day", _DAY, 60),
        Range("week", 7 * _DAY, 600),
        Range("month", 28 * _DAY, 1800),
        Range("year", 364 * _DAY, 21600),
    )
}


def parse(text: str | None, default: str) -> Range:
    """The range called ``text``, or the ``default`` one if none is named.

    :raises InvalidRequest: there is no range of that name
    """
    name = default if text is None else text
    if name not in RANGES:
        raise InvalidRequest(f"unknown range; known are {', '.join(RANGES)}")
    return RANGES[name]

"""What the values of a job's fields must be, and what they become.

Standard library only, and beside :mod:`.spec` under its own name in the Ansible collection too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

PRIORITY_LIMIT = 1000
TEXT_LIMIT = 4096
NAME_LIMIT = 128
LINE_LIMIT = 256
LIST_LIMIT = 1024
SPEC_BYTES_LIMIT = 64 * 1024
"""Bytes of a complete specification as JSON; the manager keeps it in memory while a job is open."""

KEY_LIMIT = 128
CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")

DURATION_LIMIT = 10 * 366 * 86400
MOMENT_LIMIT = 253402300799  # the end of the year 9999
DEPENDENCY_LIMIT = 64
AUTO = "auto"
LEAST_INTERVAL = 10
DEPENDENCIES = ("after", "afterany", "afterok", "afternotok")
SIZE_LIMIT = 1 << 24  # MiB
_SIZES = {"": 1 << 20, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class SpecError(ValueError):
    """One line that names the field, what was wrong and what would be right."""


def check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"must be text, not {value!r}")
    if "\0" in value or len(value) > TEXT_LIMIT:
        raise SpecError(f"must be at most {TEXT_LIMIT} characters without NUL")
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise SpecError("must be UTF-8 text")
    return value


def check_name(value: Any) -> str:
    # Before all else: a name of a million characters is to be told the limit of names.
    if isinstance(value, str) and not (0 < len(value) <= NAME_LIMIT and value.isprintable()):
        raise SpecError(f"must be 1 to {NAME_LIMIT} printable characters")
    text = check_text(value)
    if not text.strip():
        raise SpecError(f"must be 1 to {NAME_LIMIT} printable characters, not blanks alone")
    return text


def check_path(value: Any) -> str:
    text = check_kept_path(value)
    if CONTROL.search(text):
        raise SpecError(f"must have no control characters, as {text!r:.100} has")
    return text


def check_kept_path(value: Any) -> str:
    """That of a job of a release that took control characters, too."""
    text = check_text(value)
    if not text.startswith("/"):
        raise SpecError(f"must be an absolute path, not {text!r}")
    return text


def check_priority(value: Any) -> int:
    if type(value) is not int or abs(value) > PRIORITY_LIMIT:
        raise SpecError(f"must be a whole number from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}")
    return value


def check_duration(value: Any) -> int:
    """Seconds, from a number of them, or a text as ``90m`` or, as Slurm has it, ``1-12:00:00``.

    A text of digits alone is refused: to Slurm it would be minutes.
    """
    told = f"must have its unit, such as 90s, 90m, 36h or 1-12:00:00, not {value!r:.60}"
    if isinstance(value, str):
        value = seconds_of(value.strip())
    if type(value) is not int:
        raise SpecError(told)
    if not 0 < value <= DURATION_LIMIT:
        raise SpecError(f"must be from 1 s to {DURATION_LIMIT // 86400} days")
    return value


def check_interval(value: Any) -> int | str:
    """Seconds between two checkpoints as :func:`check_duration` takes them, 0 or none for never, or
    auto."""
    text = value.strip().lower() if isinstance(value, str) else value
    if text == AUTO:
        return AUTO
    if text in ("none", "0") or (type(text) is int and text == 0):
        return 0
    try:
        seconds = check_duration(value)
    except SpecError as error:
        raise SpecError(f"must be auto, none, or a duration: it {error}") from None
    if seconds < LEAST_INTERVAL:
        raise SpecError(f"must be auto, none, or at least {LEAST_INTERVAL} s, not {seconds} s")
    return seconds


def seconds_of(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,18})([smhd])", text)
    if found:
        return int(found[1]) * _UNITS[found[2]]
    found = re.fullmatch(r"(?:([0-9]{1,4})-)?([0-9]{1,3}):([0-5][0-9]):([0-5][0-9])", text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def check_moment(value: Any) -> int:
    """Seconds since the epoch, from a number of them, from ISO 8601 (of this host's time zone when
    it names none), or from now on as ``+2h``."""
    told = f"must be a time such as 2030-12-24T18:00, or +2h for from now on, not {value!r:.60}"
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) < 13:
            value = int(text)
        else:
            value = from_now_of(text[1:]) if text.startswith("+") else of_calendar_of(text)
    if type(value) is not int:
        raise SpecError(told)
    if not 0 < value <= MOMENT_LIMIT:
        raise SpecError("must be a time from 1970 to the year 9999")
    return value


def from_now_of(text: str) -> int | None:
    seconds = seconds_of(text)
    return None if seconds is None else int(time.time()) + seconds


def of_calendar_of(text: str) -> int | None:
    from datetime import datetime  # 2 ms, which few submissions need

    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp()) if "-" in text else None
    except (ValueError, OverflowError, OSError):
        return None


def check_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"must be true or false, not {value!r:.60}")
    return value


def check_dependency(value: Any) -> list[str]:
    kinds = ", ".join(DEPENDENCIES)
    if not isinstance(value, list) or len(value) > DEPENDENCY_LIMIT:
        raise SpecError(f"must be a list of at most {DEPENDENCY_LIMIT} texts such as afterok:12")
    for each in value:
        if not isinstance(each, str) or not re.fullmatch(
            rf"({'|'.join(DEPENDENCIES)}):[1-9][0-9]{{0,16}}", each
        ):
            raise SpecError(f"must have texts such as afterok:12 ({kinds}), not {each!r:.60}")
    return list(dict.fromkeys(value))


def check_size(value: Any) -> int:
    """MiB, from a number of them, or a text as ``512``, ``512M`` or ``1.5GiB``; rounded up."""
    told = f"must be MiB, or a text such as 512M or 2G, not {value!r:.60}"
    if isinstance(value, str):
        found = re.fullmatch(
            r"([0-9]{1,15})(?:\.([0-9]{1,6}))?\s*(?:([kmgt])(?:i?b)?)?", value.strip().lower()
        )
        if not found:
            raise SpecError(told)
        millionths = int(found[1]) * 10**6 + int((found[2] or "0").ljust(6, "0"))
        value = -(-millionths * _SIZES[found[3] or ""] // (10**6 << 20))
    if type(value) is not int:
        raise SpecError(told)
    if not 0 < value <= SIZE_LIMIT:
        raise SpecError(f"must be from 1 to {SIZE_LIMIT} MiB")
    return value


def duration_text(seconds: int) -> str:
    """``1-12:00:00`` for 36 hours, as :func:`check_spec` takes it."""
    days, left = divmod(seconds, 86400)
    clock = f"{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"
    return f"{days}-{clock}" if days else clock


def check_choice(choices: tuple[str, ...]) -> Callable[[Any], str]:
    """The check of a field that is one of a few words."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise SpecError(f"must be one of {', '.join(choices)}, not {value!r:.60}")
        return value

    return check


def check_number(least: int, most: int) -> Callable[[Any], int]:
    """The check of a field that is a whole number within bounds."""

    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise SpecError(f"must be a whole number from {least} to {most}, not {value!r:.60}")
        return value

    return check


def check_line(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LINE_LIMIT or not value.isprintable():
        raise SpecError(f"must be one line of at most {LINE_LIMIT} printable characters")
    return check_text(value)


def check_arguments(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > LIST_LIMIT:
        raise SpecError(f"must be a list of at most {LIST_LIMIT} texts")
    return [check_text(each) for each in value]


def check_environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > LIST_LIMIT:
        raise SpecError(f"must be a table of at most {LIST_LIMIT} texts")
    for key in value:
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise SpecError(f"has no valid variable name {key!r}")
    return {check_text(key): check_text(each) for key, each in value.items()}

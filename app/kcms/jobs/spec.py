"""What a user may ask of a job: one table that the command line, modules and API all follow.

Standard library only: the command line and the Ansible modules load it on every call.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

CLASSES = ("single",)
PRIORITY_LIMIT = 1000
TEXT_LIMIT = 4096
NAME_LIMIT = 128
LIST_LIMIT = 1024
SPEC_BYTES_LIMIT = 64 * 1024
"""Bytes of a complete specification as JSON; the manager keeps it in memory while a job is open."""

KEY_LIMIT = 128

DURATION_LIMIT = 10 * 366 * 86400
MOMENT_LIMIT = 253402300799  # the end of the year 9999
DEPENDENCY_LIMIT = 64
DEPENDENCIES = ("after", "afterany", "afterok", "afternotok")
SIZE_LIMIT = 1 << 24  # MiB
_SIZES = {"": 1 << 20, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class SpecError(ValueError):
    """One line that names the field, what was wrong and what would be right."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError(f"must be text, not {value!r}")
    if "\0" in value or len(value) > TEXT_LIMIT:
        raise SpecError(f"must be at most {TEXT_LIMIT} characters without NUL")
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise SpecError("must be UTF-8 text")
    return value


def _name(value: Any) -> str:
    # Before all else: a name of a million characters is to be told the limit of names.
    if isinstance(value, str) and not (0 < len(value) <= NAME_LIMIT and value.isprintable()):
        raise SpecError(f"must be 1 to {NAME_LIMIT} printable characters")
    text = _text(value)
    if not text.strip():
        raise SpecError(f"must be 1 to {NAME_LIMIT} printable characters, not blanks alone")
    return text


def _path(value: Any) -> str:
    text = _text(value)
    if not text.startswith("/"):
        raise SpecError(f"must be an absolute path, not {text!r}")
    return text


def _priority(value: Any) -> int:
    if type(value) is not int or abs(value) > PRIORITY_LIMIT:
        raise SpecError(f"must be a whole number from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}")
    return value


def _duration(value: Any) -> int:
    """Seconds, from a number of them, or a text as ``90m`` or, as Slurm has it, ``1-12:00:00``.

    A text of digits alone is refused: to Slurm it would be minutes.
    """
    told = f"must have its unit, such as 90s, 90m, 36h or 1-12:00:00, not {value!r:.60}"
    if isinstance(value, str):
        value = _seconds(value.strip())
    if type(value) is not int:
        raise SpecError(told)
    if not 0 < value <= DURATION_LIMIT:
        raise SpecError(f"must be from 1 s to {DURATION_LIMIT // 86400} days")
    return value


def _seconds(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if found:
        return int(found[1]) * _UNITS[found[2]]
    found = re.fullmatch(r"(?:([0-9]{1,4})-)?([0-9]{1,3}):([0-5][0-9]):([0-5][0-9])", text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _moment(value: Any) -> int:
    """Seconds since the epoch, from a number of them, from ISO 8601 (of this host's time zone when
    it names none), or from now on as ``+2h``."""
    told = f"must be a time such as 2030-12-24T18:00, or +2h for from now on, not {value!r:.60}"
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) < 13:
            value = int(text)
        else:
            value = _from_now(text[1:]) if text.startswith("+") else _of_calendar(text)
    if type(value) is not int:
        raise SpecError(told)
    if not 0 < value <= MOMENT_LIMIT:
        raise SpecError("must be a time from 1970 to the year 9999")
    return value


def _from_now(text: str) -> int | None:
    seconds = _seconds(text)
    return None if seconds is None else int(time.time()) + seconds


def _of_calendar(text: str) -> int | None:
    from datetime import datetime  # 2 ms, which few submissions need

    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp()) if "-" in text else None
    except (ValueError, OverflowError, OSError):
        return None


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"must be true or false, not {value!r:.60}")
    return value


def _dependency(value: Any) -> list[str]:
    kinds = ", ".join(DEPENDENCIES)
    if not isinstance(value, list) or len(value) > DEPENDENCY_LIMIT:
        raise SpecError(f"must be a list of at most {DEPENDENCY_LIMIT} texts such as afterok:12")
    for each in value:
        if not isinstance(each, str) or not re.fullmatch(
            rf"({'|'.join(DEPENDENCIES)}):[1-9][0-9]{{0,16}}", each
        ):
            raise SpecError(f"must have texts such as afterok:12 ({kinds}), not {each!r:.60}")
    return list(dict.fromkeys(value))


def _size(value: Any) -> int:
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


def _class(value: Any) -> str:
    if value not in CLASSES:
        raise SpecError(f"must be one of {', '.join(CLASSES)}, not {value!r}")
    return str(value)


def _arguments(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > LIST_LIMIT:
        raise SpecError(f"must be a list of at most {LIST_LIMIT} texts")
    return [_text(each) for each in value]


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > LIST_LIMIT:
        raise SpecError(f"must be a table of at most {LIST_LIMIT} texts")
    for key in value:
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise SpecError(f"has no valid variable name {key!r}")
    return {_text(key): _text(each) for key, each in value.items()}


class Field:
    """One row of the table.  (A dataclass or NamedTuple would cost every submission 6 ms.)

    ``name`` is the key in JSON and in the Ansible modules, ``check`` returns the clean value or
    raises :class:`SpecError`, ``default`` is used when the field is absent, unless ``required``.
    ``title`` is the field's name on the 2003 form (K14).  ``kind`` is what the command line, the
    modules and the API document make of it: text, path, integer, boolean, duration (of seconds),
    moment (seconds since the epoch), size (MiB), list or table (of texts);
    ``choices`` are all the values there are, where they can be listed.
    """

    def __init__(
        self,
        name: str,
        title: str,
        check: Callable[[Any], Any],
        text: str,
        default: Any = None,
        required: bool = False,
        kind: str = "text",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.title = title
        self.check = check
        self.text = text
        self.default = default
        self.required = required
        self.kind = kind
        self.choices = choices


FIELDS: tuple[Field, ...] = (
    Field("name", "Job Name", _name, "name shown in lists; the executable's by default"),
    Field("class", "Job Classification", _class, "single: one task", "single", choices=CLASSES),
    Field(
        "executable",
        "Executing File",
        _path,
        "program, on the shared directory",
        required=True,
        kind="path",
    ),
    Field("arguments", "Arguments", _arguments, "arguments of the program", (), kind="list"),
    Field(
        "base_directory",
        "Base Directory",
        _path,
        "where it starts; the user's home by default",
        kind="path",
    ),
    Field(
        "input",
        "Input File",
        _path,
        "file read as standard input; /dev/null by default",
        kind="path",
    ),
    Field(
        "output",
        "Output File",
        _path,
        "file that takes standard output, kcms-%j.out in the base directory by default; "
        "%j is the job's id",
        kind="path",
    ),
    Field(
        "error",
        "Error Log File",
        _path,
        "file that takes standard error; the output by default",
        kind="path",
    ),
    Field(
        "time_limit",
        "Time Limit",
        _duration,
        "time it may run, suspended or not, such as 90m or 1-12:00:00; then it is killed, and ends "
        "as TIMEOUT; none by default",
        kind="duration",
    ),
    Field(
        "memory",
        "Memory Size",
        _size,
        "memory of its task, such as 512M or 2G, MiB without a suffix: it goes where so much is "
        "not promised to others, and ends when it takes more; no limit by default",
        kind="size",
    ),
    Field(
        "rss_limit",
        "RSS Limit",
        _size,
        "resident memory of any one of its processes, written the same way: it ends when one takes "
        "more; no limit by default",
        kind="size",
    ),
    Field(
        "dependency",
        "Dependency",
        _dependency,
        "jobs it is to follow: afterok:12 when job 12 has completed, afternotok:12 when it ended "
        "otherwise, afterany:12 however it ended, after:12 once it began",
        (),
        kind="list",
    ),
    Field(
        "begin_time",
        "Begin Time",
        _moment,
        "it starts no sooner, such as 2030-12-24T18:00, or +2h for from now on",
        kind="moment",
    ),
    Field("hold", "Hold", _boolean, "it waits until it is released", False, kind="boolean"),
    Field("priority", "Priority", _priority, "higher starts first", 0, kind="integer"),
    Field(
        "environment",
        "Environment",
        _environment,
        "variables added to a login's few",
        {},
        kind="table",
    ),
)

_BY_NAME = {each.name: each for each in FIELDS}


def check_spec(document: Any) -> dict[str, Any]:
    """Return the complete, clean specification for what a caller sent.

    :raises SpecError: not an object, unknown field, missing field, a field's own complaint, or
        too large as a whole
    """
    if not isinstance(document, dict):
        raise SpecError("a job specification must be an object")
    for key in document:
        if key not in _BY_NAME:
            raise SpecError(f"unknown field {key!r}; known are {', '.join(_BY_NAME)}")
    clean = {each.name: _checked(each, document.get(each.name)) for each in FIELDS}
    if clean["name"] is None:
        clean["name"] = _derived_name(clean["executable"])
    size = len(json.dumps(clean, ensure_ascii=False).encode())
    if size > SPEC_BYTES_LIMIT:
        raise SpecError(
            f"the specification is {size} bytes of JSON, and {SPEC_BYTES_LIMIT} is the most: "
            "put long arguments or an environment into a file that the program reads"
        )
    return clean


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two complete specifications ask for the same, be one of an older release."""
    defaults = {each.name: _checked(each, None) for each in FIELDS if not each.required}
    return {**defaults, **one} == {**defaults, **other}


def _derived_name(executable: str) -> str:
    """A name that :func:`_name` takes, whatever the program's file is called."""
    last = executable.rstrip("/").rpartition("/")[2]
    name = "".join(each if each.isprintable() else "?" for each in last)[:NAME_LIMIT]
    return name if name.strip() else "?"


def check_key(value: Any) -> str | None:
    """The key of a submission, if it has one.  :raises SpecError: it cannot be one"""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= KEY_LIMIT or not value.isprintable():
        raise SpecError(f"key must be 1 to {KEY_LIMIT} printable characters, not {value!r:.200}")
    return value


def check_repeatable(spec: dict[str, Any], key: str | None) -> None:
    """:raises SpecError: what is asked for under a key would be something else at the next time"""
    begin = spec.get("begin_time")
    if key is not None and isinstance(begin, str) and begin.strip().startswith("+"):
        raise SpecError(
            f"begin_time {begin} is another time at each call: with a key, name the time"
        )


def _checked(row: Field, value: Any) -> Any:
    if value is None:
        if row.required:
            raise SpecError(f"{row.name} is missing ({row.text})")
        fresh = {"list": list, "table": dict}.get(row.kind)
        return fresh(row.default) if fresh else row.default
    try:
        return row.check(value)
    except SpecError as error:
        raise SpecError(f"{row.name} {error}") from None

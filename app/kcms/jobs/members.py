"""Checked reading of documents that another machine sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kcms.errors import ProtocolError


class Members:
    """The members of a document that another machine sent, each checked when it is taken.

    Members that are not asked for are passed over: a newer release may say more.
    """

    def __init__(self, document: Any, what: str) -> None:
        if not isinstance(document, dict):
            raise ProtocolError(f"not a {what}: it must be an object")
        self.members = document
        self.what = what

    def _take(self, name: str, default: Any, fits: Callable[[Any], bool], kind: str) -> Any:
        value = self.members.get(name, default)
        if not fits(value):
            raise ProtocolError(f"not a {self.what}: {name} must be {kind}, not {value!r:.100}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text that can be stored and passed on: what is no Unicode, a control character (but for
        tabs and ends of lines), or too long, is replaced or cut."""
        value = self._take(name, default, lambda each: isinstance(each, str), "a text")
        text = str(value)[:TEXT_LIMIT].translate(_REPLACED)
        return text.encode("utf-8", "replace").decode("utf-8")

    def whole(self, name: str, default: int | None = None) -> int:
        return int(self._take(name, default, _is_whole, "a whole number from 0 to 2**53"))

    def whole_or_none(self, name: str) -> int | None:
        return None if self.members.get(name) is None else self.whole(name)

    def number(self, name: str) -> float:
        return float(self._take(name, None, _is_number, "a number"))

    def number_or_none(self, name: str) -> float | None:
        return None if self.members.get(name) is None else self.number(name)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        kind = "one of " + ", ".join(choices)
        return str(self._take(name, None, lambda each: each in choices, kind))

    def table(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        return dict(self._take(name, default, lambda each: isinstance(each, dict), "a table"))

    def shallow(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        """A table that is not nested deeper than :data:`DEPTH`, as what reads it is recursive."""
        found = self.table(name, default)
        if not _is_shallow(found, DEPTH):
            raise ProtocolError(f"not a {self.what}: {name} is nested deeper than {DEPTH}")
        return found

    def rows(self, name: str) -> list[Any]:
        """A list, empty when it is not there: an older release does not say it."""
        return list(self._take(name, [], lambda each: isinstance(each, list | tuple), "a list"))

    def store(self) -> str:
        return str(self._take("store", "", is_store, "8 hexadecimal digits"))


TEXT_LIMIT = 4096
DEPTH = 16
_REPLACED = dict.fromkeys({*range(0x20), 0x7F} - {*map(ord, "\t\n\r")}, "?")
_STORE = re.compile(r"(?:[0-9a-f]{8})?")
"""The id of a job store; empty in what was recorded before stores had one."""


def is_store(value: Any) -> bool:
    return isinstance(value, str) and _STORE.fullmatch(value) is not None


def _is_shallow(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return left > 0 and all(_is_shallow(each, left - 1) for each in inner)


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 1 << 53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300

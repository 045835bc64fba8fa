"""The form *Job Submit*: fields from the table of specifications, texts to a specification.  Pure.

The order is that of 2003; a field that the table gains shows up by itself, in its place when its
title is one of 2003 and below *More* when it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kcms.jobs.spec import FIELDS, Field, SpecError, check_spec, check_together, defaults

PREFIX = "spec."
TITLES = (
    "Job Name", "No. of Arguments", "Arguments", "Job Classification", "Input File", "Output File",
    "Error Log File", "Executing File", "Priority", "Base Directory", "Memory Size",
    "No. of Tasks/Node", "No. of Total Tasks", "RSS Limit", "Restart from Check Point",
    "Load Metric",
)  # fmt: skip
_LINES = {"list": "one a line", "table": "NAME=value, one a line"}
YES = ("yes", "true", "1", "on")


@dataclass(frozen=True)
class FormField:
    """One field as the page shows it; ``control`` is text, lines, choice or check."""

    name: str
    title: str
    help: str
    control: str
    value: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    error: str = ""
    default: str = ""


@dataclass(frozen=True)
class Filled:
    """A form that was sent: what was typed, the specification, and errors by field's name.

    The error of no field in particular stands under the empty name.
    """

    typed: Mapping[str, str]
    spec: dict[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


def proposed(results_directory: str, user: str) -> dict[str, str]:
    """What is typed in for a user before the form is shown."""
    typed = {each.name: _text_of(each) for each in FIELDS}
    if results_directory:
        directory = results_directory.replace("%u", user).rstrip("/")
        typed["output"] = f"{directory}/kcms-%j.%t.out"
    return typed


def fields(typed: Mapping[str, str], errors: Mapping[str, str]) -> list[FormField]:
    """The fields in their order, with what was typed and what is wrong with it."""
    found = [_shown(each, typed, errors) for each in FIELDS]
    return sorted(found, key=lambda each: _place(each.title))


def first_fields(shown: list[FormField]) -> list[FormField]:
    """Those of the form of 2003."""
    return [each for each in shown if each.title in TITLES]


def more_fields(shown: list[FormField]) -> list[FormField]:
    """The others."""
    return [each for each in shown if each.title not in TITLES]


def filled(typed: Mapping[str, str]) -> Filled:
    """The specification that ``typed`` (by field's name) asks for, or what is wrong with it."""
    spec: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for each in FIELDS:
        try:
            value = _value(each, typed.get(each.name, ""))
            if value is not None:
                spec[each.name] = value
            elif each.required:
                raise SpecError("is missing")
            if value is not None:
                each.check(value)
        except SpecError as error:
            errors[each.name] = _sentence(each.title, error)
    try:
        if "class" not in errors:
            check_together({**defaults(), **spec})
        if not errors:
            check_spec(spec)
    except SpecError as error:
        for name, sentence in refused(str(error)).items():
            errors.setdefault(name, sentence)
    return Filled(typed, spec, errors)


def refused(message: str) -> dict[str, str]:
    """Where to show a refusal of the API: at the field that it begins with, if it does."""
    name, _, rest = message.partition(" ")
    for each in FIELDS:
        if each.name == name.rstrip(":"):
            return {each.name: f"{each.title} {rest}".rstrip(".") + "."}
    return {"": message[:1].upper() + message[1:].rstrip(".") + "."}


def _sentence(title: str, error: SpecError) -> str:
    return f"{title} {error}".rstrip(".") + "."


def _value(row: Field, text: str) -> Any:
    """The value of a field for what was typed; None when nothing was."""
    if row.kind in _LINES:
        lines = _lines(text)
        if row.kind == "list":
            return lines or None
        return _table(lines) or None
    text = text.strip()
    if not text:
        return None
    if row.kind == "integer":
        return _integer(text)
    if row.kind == "boolean":
        return text in YES
    return text


def _lines(text: str) -> list[str]:
    """The lines of a text area; its browser ends them with CR LF, and the last one may be open."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _table(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or not name.strip():
            raise SpecError(f"must have lines NAME=value, not {line[:60]!r}")
        found[name.strip()] = value
    return found


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or len(text) > 20:
        raise SpecError(f"must be a whole number, not {text[:40]!r}")
    try:
        return int(text)
    except ValueError:
        raise SpecError(f"must be a whole number, not {text[:40]!r}") from None


def _text_of(row: Field) -> str:
    """A field's default as it would be typed."""
    if row.default is None or row.kind in _LINES:
        return ""
    if row.kind == "boolean":
        return YES[0] if row.default else ""
    return str(row.default)


def _shown(row: Field, typed: Mapping[str, str], errors: Mapping[str, str]) -> FormField:
    told = row.text + (f"; {_LINES[row.kind]}" if row.kind in _LINES else "")
    control = "text"
    if row.choices:
        control = "choice"
    elif row.kind in _LINES:
        control = "lines"
    elif row.kind == "boolean":
        control = "check"
    elif row.kind == "integer":
        control = "number"
    return FormField(
        name=row.name,
        title=row.title,
        help=told,
        control=control,
        value=typed.get(row.name, ""),
        choices=row.choices,
        required=row.required,
        error=errors.get(row.name, ""),
        default=_text_of(row),
    )


def _place(title: str) -> int:
    return TITLES.index(title) if title in TITLES else len(TITLES)

"""docs/configuration.md, made from :mod:`kcms.config`.  Pure."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from kcms.config import SCHEMAS, ClusterAddress, Partition

INTRODUCTION = """\
# Configuration

<!-- Made by `kcms config document` from app/kcms/config.py: change that file, not this one. -->

Each daemon reads one TOML file, which the rollout writes; `kcms config check NAME FILE` checks
one. An unknown setting, a missing one without default, or a value of another type is an error.
"""


def document() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION]
    for name, schema in SCHEMAS.items():
        path = f"/etc/kcms/{'manager-CLUSTER' if name == 'manager' else name}.toml"
        parts.append(section(f"kcms-{name}: `{path}`", schema))
    parts.append(section("A row of `clusters`: `[[clusters]]`", ClusterAddress))
    parts.append(section("A row of `partitions`: `[[partitions]]`", Partition))
    return "\n".join(parts)


def section(title: str, schema: type) -> str:
    """One class of settings as a table."""
    hints = typing.get_type_hints(schema)
    lines = [
        f"## {title}",
        "",
        " ".join((schema.__doc__ or "").split()),
        "",
        "| setting | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for each in dataclasses.fields(typing.cast(Any, schema)):
        meaning = each.metadata["text"].replace("|", "\\|")
        cells = (f"`{each.name}`", _type(hints[each.name]), _default(each), meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _type(hint: Any) -> str:
    words = {str: "text", int: "integer", float: "number", bool: "yes or no"}
    if hint in words:
        return words[hint]
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        return f"list of {_type(inner[0])}"
    if typing.get_origin(hint) is dict:
        return f"table of {_type(inner[1])}"
    return "tables (below)"


def _default(each: dataclasses.Field[Any]) -> str:
    if each.default_factory is not dataclasses.MISSING:
        value = each.default_factory()
        return "`{}`" if isinstance(value, dict) else "`[]`"
    if each.default is dataclasses.MISSING:
        return "required"
    if isinstance(each.default, str):
        return f'`"{each.default}"`'
    return f"`{str(each.default).lower() if isinstance(each.default, bool) else each.default}`"

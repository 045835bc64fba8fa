"""The variables of the rollout: what the roles' argument specifications say of them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

PREFIX = "kcms_"
# Names that the playbooks register or set themselves.
INTERNAL = frozenset({"kcms_site", "kcms_ca", "kcms_here", "kcms_preflight", "kcms_os_family"})
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a table",
    "path": "a path",
    "raw": "text or a list of texts",
}
_TYPES: dict[str, Any] = {
    "str": str,
    "path": str,
    "int": int,
    "float": int | float,
    "bool": bool,
    "list": list,
    "dict": dict,
}
_TEXT_HINT = (
    ", and here it is text (so are -e NAME=VALUE and [group:vars] of an INI file: "
    "write -e '{\"NAME\": VALUE}', or YAML)"
)


@dataclass(frozen=True)
class Option:
    """One variable; ``default`` is None where a role works it out."""

    name: str
    kind: str = "str"
    required: bool = False
    choices: tuple[str, ...] = ()
    elements: str = ""
    default: Any = None

    def wrong(self, value: Any) -> str | None:
        """What ``value`` must be, when it cannot be taken; None when it can."""
        spec: dict[str, Any] = {"type": self.kind}
        if self.choices:
            spec["choices"] = list(self.choices)
        if self.elements:
            spec["elements"] = self.elements
        checked = ArgumentSpecValidator({self.name: spec}).validate({self.name: value})
        if not checked.error_messages and self._is_of_kind(value):
            return None
        if self.choices:
            return f"it must be one of {', '.join(self.choices)}"
        of = f" of {_WORDS.get(self.elements, self.elements)}s" if self.elements else ""
        must = f"it must be {_WORDS.get(self.kind, self.kind)}{of}"
        is_text = isinstance(value, str) and not checked.error_messages
        return must + (_TEXT_HINT if is_text and self.kind in _TYPES else "")

    def _is_of_kind(self, value: Any) -> bool:
        """Whether ``value`` is what it should be as it stands: roles use it unconverted."""
        if isinstance(value, bool):
            return self.kind == "bool"
        return isinstance(value, _TYPES.get(self.kind, object))


def options(
    specifications: Iterable[Mapping[str, Any]], defaults: Iterable[Mapping[str, Any]]
) -> dict[str, Option]:
    """All ``kcms_`` variables of the documents ``meta/argument_specs.yml`` of the roles.

    ``defaults`` are the documents ``defaults/main.yml``; a default that is a template is None here.
    """
    known = {
        name: value
        for each in defaults
        for name, value in (each or {}).items()
        if not (isinstance(value, str) and "{{" in value)
    }
    found: dict[str, Option] = {}
    for document in specifications:
        for entry in document["argument_specs"].values():
            for name, row in (entry.get("options") or {}).items():
                if name.startswith(PREFIX):
                    found[name] = _option(name, row, known.get(name))
    return found


def _option(name: str, row: Mapping[str, Any], default: Any) -> Option:
    return Option(
        name,
        row.get("type", "str"),
        bool(row.get("required")),
        tuple(row.get("choices") or ()),
        row.get("elements") or "",
        default,
    )

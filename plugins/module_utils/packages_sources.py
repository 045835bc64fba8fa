"""A machine's own Debian sources: read, and asked for another release."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

_ONE_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s+)?([^\s\[]\S*)\s+(\S+)\s+(\S.*)")
_POCKETS = ("", "-updates", "-security")


@dataclass(frozen=True)
class DebianSource:
    """One suite of one archive; ``signed_by`` is the path of a keyring, or empty."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def line(self) -> str:
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.suite} {' '.join(self.components)}"


def machine_sources(etc: Path = Path("/etc/apt")) -> list[DebianSource]:
    """Every binary source that is configured below ``etc``."""
    found = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.exists():
            found += one_line_sources(path.read_text(errors="replace"))
        elif path.suffix == ".sources":
            found += deb822_sources(path.read_text(errors="replace"))
    return found


def one_line_sources(text: str) -> list[DebianSource]:
    """Read the format of ``sources.list``; lines that are no binary source are left out."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.split("#")[0].strip())
        if match:
            options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
            key = options.get("signed-by", "")
            found.append(DebianSource(match[2], match[3], tuple(match[4].split()), key))
    return found


def deb822_sources(text: str) -> list[DebianSource]:
    """Read the format of ``*.sources``; an embedded key counts as no keyring."""
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        key = fields.get("signed-by", "")
        key = key if key.startswith("/") and "\n" not in key else ""
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                found.append(DebianSource(uri, suite, components, key))
    return found


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, value = (part.strip() for part in line.split(":", 1))
            name = name.lower()
            fields[name] = value
    return fields


def for_release(
    sources: Iterable[DebianSource], own: str, wanted: str, keyring: str = ""
) -> list[DebianSource]:
    """The Debian sources among ``sources``, with release ``wanted`` in place of ``own``.

    Only a release, its updates and its security fixes count, and only their ``main`` part: whatever
    else a machine has configured need not know the other release.  ``keyring`` replaces a missing
    or release-bound ``signed_by``.
    """
    found: dict[DebianSource, None] = {}
    for source in sources:
        pocket = source.suite.removeprefix(own)
        if source.suite.startswith(own) and pocket in _POCKETS and "main" in source.components:
            changed = replace(source, suite=wanted + pocket, components=("main",))
            found[replace(changed, signed_by=keyring or source.signed_by)] = None
    return list(found)

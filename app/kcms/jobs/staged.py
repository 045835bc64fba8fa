"""What of a job lies in its user's stage on the host where it was submitted.  Pure.

A staged file is a snapshot, ``HOME/.kcms/stage/CONTENT/NAME``, CONTENT being half of its SHA-256.
Each host has it below the user's own home there; a node that lacks it brings it before the program
begins.  Standard library only, and beside :mod:`.spec` in the Ansible collection too.
"""

from __future__ import annotations

import re

from .spec_values import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

STAGE = ".kcms/stage"
"""Below the user's home."""

DIGITS = 32  # of the SHA-256 in a name: 128 bits
STAGEABLE = ("executable", "input")
SIZE_LIMIT = 64 << 30  # bytes of one file
_ENTRY = re.compile(r"([0-9a-f]{64}):(0|[1-9][0-9]{0,12})")


def entry(digest: str, size: int) -> str:
    """How a specification names a content."""
    return f"{digest}:{size}"


def content_of(text: str) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size in bytes.  :raises SpecError: the text is no such entry"""
    found = _ENTRY.fullmatch(text)
    if found is None or int(found[2]) > SIZE_LIMIT:
        raise SpecError(
            f"must have texts SHA256:BYTES, of up to {SIZE_LIMIT >> 30} GiB, not {text!r:.100}"
        )
    return found[1], int(found[2])


def check_staged(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value.keys() <= set(STAGEABLE):
        raise SpecError(f"must be a table with texts for {' or '.join(STAGEABLE)}")
    for each in value.values():
        if not isinstance(each, str):
            raise SpecError(f"must have texts SHA256:BYTES, not {each!r:.100}")
        content_of(each)
    return dict(value)


def check_paths(spec: dict[str, Any]) -> None:
    """:raises SpecError: a staged file is not where its content has it"""
    for field, text in spec["staged"].items():
        path, directory = spec[field] or "", f"{STAGE}/{content_of(text)[0][:DIGITS]}"
        above, _, name = path.rpartition("/")
        if not above.endswith(f"/{directory}") or name in ("", ".", ".."):
            raise SpecError(f"staged says that {field} is ~/{directory}/NAME, not {path!r:.200}")
        if field == "input" and any(mark in name for mark in ("%j", "%t", "%u")):
            raise SpecError(f"input {path} is staged, so its name cannot have %j, %t or %u")


def check_home(spec: dict[str, Any], home: str) -> None:
    """:raises SpecError: a staged file is not in the stage of the user whose ``home`` that is"""
    for field in spec.get("staged") or ():
        if spec[field] != placed(home, spec[field]):
            raise SpecError(f"{field} {spec[field]} is staged, so it must be below {home}/{STAGE}")


def below_stage(path: str) -> str:
    """``CONTENT/NAME`` of a staged file."""
    return "/".join(path.rsplit("/", 2)[1:])


def placed(home: str, path: str) -> str:
    """Where a host on which the user's home is ``home`` has the staged file ``path`` of another."""
    return f"{home.rstrip('/')}/{STAGE}/{below_stage(path)}"

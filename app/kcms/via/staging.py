"""What is staged to a head, under which name, and how a broken transfer goes on.  Pure.

A file lies in a directory named after its content, so it is sent once, and a changed one never
takes the place of one that a job still uses.  On its way it is ``.kcms-CONTENT.part`` beside that
directory: whoever sends the same file again goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcms.errors import InvalidRequest
from kcms.jobs import staged
from kcms.jobs.staged import DIGITS, STAGE, entry
from kcms.stage.part import PART, STALE_SECONDS, part_name

THERE = ":"
"""Before a path: it is on the head already."""


@dataclass(frozen=True)
class Local:
    """A file of this machine: its size in bytes, permission bits and SHA-256 (hexadecimal)."""

    field: str
    path: str
    size: int
    mode: int
    digest: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Place:
    """Where it goes: made ready as ``part``, then ``path``; ``directories`` have to be there."""

    directories: tuple[str, ...]
    part: str
    path: str


def place(local: Local, stage: str, by_content: bool) -> Place:
    """:param by_content: have a directory for each content, or everything in ``stage`` itself"""
    content = local.digest[:DIGITS]
    part = f"{stage}/{part_name(local.digest)}"
    if not by_content:
        return Place((stage,), part, f"{stage}/{local.name}")
    return Place((stage, f"{stage}/{content}"), part, f"{stage}/{content}/{local.name}")


def check_names(files: Sequence[Local]) -> None:
    """:raises InvalidRequest: two different files want one name in one directory"""
    seen: dict[str, Local] = {}
    for each in files:
        other = seen.setdefault(each.name, each)
        if other.digest != each.digest:
            raise InvalidRequest(
                f"{other.field} {other.path} and {each.field} {each.path} have one name, and "
                "cannot both be in one directory: leave out --stage-to, or rename one"
            )


def check_chosen(path: str) -> None:
    """A file is to be fetched under a name that whoever submitted the job chose.

    :raises InvalidRequest: it is hidden, as files are that shells and others heed unasked, or it
        cannot be shown
    """
    name = path.rpartition("/")[2]
    if name.startswith(".") or not name.isprintable():
        raise InvalidRequest(
            f"the job writes to a file named {name!r}, which is not fetched unasked: "
            "name it as a FILE if you want it here under that name"
        )


def stage_directory(home: str, given: str | None) -> str:
    """Where to stage.

    :param home: of the user on the head
    :raises InvalidRequest: ``given`` is no directory of the user's
    """
    if given is not None:
        path = on_head(given, home)
        if path != "/" and not path.isspace():
            return path.rstrip("/")
        raise InvalidRequest(f"--stage-to must be a directory of yours, not {given!r}")
    return f"{home.rstrip('/')}/{STAGE}"


def is_seen(home: str, real_home: str, shared: Sequence[str]) -> bool:
    """Whether every node sees what is staged in a home; else nodes bring it.

    :param real_home: the same, links followed
    """
    return any(below(each, one) for each in (home, real_home) for one in shared)


def brought(files: Sequence[Local], home: str, told: Mapping[str, Any]) -> dict[str, str]:
    """What nodes need to bring files that are staged in a home which they do not see.

    :param told: what the gateway says of places
    :raises InvalidRequest: they cannot bring them
    """
    if told.get("brings") is not True:
        raise InvalidRequest(
            f"your home there, {home}, is not on a shared directory, and the release there brings "
            f"no files to nodes: name a directory of yours below {' or '.join(told['shared'])} "
            "with --stage-to"
        )
    for each in files:
        if each.size > staged.SIZE_LIMIT:
            raise InvalidRequest(
                f"{each.field} {each.path} has {each.size / (1 << 30):.1f} GiB, and nodes bring up "
                f"to {staged.SIZE_LIMIT >> 30} GiB a file: put it on each node, or on a shared "
                "directory"
            )
    return {each.field: entry(each.digest, each.size) for each in files}


def on_head(path: str, home: str) -> str:
    """An absolute path on the head: relative ones begin at the user's home, as with scp."""
    path = path.removeprefix(THERE)
    if path.startswith("~/"):
        path = path[2:]
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path if path.startswith("/") else f"{home.rstrip('/')}/{path}".rstrip("/")


def below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def begin_at(part_size: int | None, size: int) -> int:
    """The offset from which a file of ``size`` bytes is sent, when so much of it is there.

    (That those bytes are the right ones is seen when the whole file is verified.)
    """
    return part_size if part_size is not None and part_size <= size else 0


def stale(found: Iterable[tuple[str, float]], now: float) -> list[str]:
    """The names of what broken transfers left, and nobody went on with, among (name, mtime)."""
    return [
        name for name, changed in found if PART.fullmatch(name) and now - changed > STALE_SECONDS
    ]

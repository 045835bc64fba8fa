"""What a checkpoint says of itself, for the node that restores it: ``about.json`` in its image.

It was written by root of a node and is read once the image proved to be that one's; what the
processes of a job chose (names of files) is judged by :mod:`kcms.node.admit` all the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs.members import Members
from kcms.node.rollback import USES

NAME = "about.json"
FORMAT = 1
MOST = 16 << 20
"""Bytes of it that are written, and read."""


@dataclass(frozen=True)
class About:
    """``host`` saved it, with the version ``criu``, empty where it did not know.  ``needs`` is what
    :func:`kcms.node.movable.scan` told of it; ``root``, ``processes``, ``pids`` and ``usage`` are
    as in :mod:`kcms.node.restoring`; ``lengths`` has rows as of :mod:`kcms.node.rollback`."""

    host: str
    criu: str
    root: int
    processes: list[int]
    pids: list[int]
    needs: dict[str, Any]
    usage: dict[str, Any] = field(default_factory=dict)
    lengths: list[dict[str, Any]] = field(default_factory=list)
    format: int = FORMAT

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> About:
        """:raises ProtocolError: not such a document, or one of a later format"""
        row = Members(document, "description of a checkpoint")
        if row.whole("format") != FORMAT:
            raise ProtocolError(
                f"the checkpoint has format {row.whole('format')}, and this release reads {FORMAT}"
            )
        return cls(
            host=row.text("host"),
            criu=row.text("criu"),
            root=row.whole("root"),
            processes=_numbers(row, "processes"),
            pids=_numbers(row, "pids"),
            needs=row.table("needs"),
            usage=row.table("usage"),
            lengths=[_length(each) for each in row.rows("lengths")],
        )


def _numbers(row: Members, name: str) -> list[int]:
    found = list(row.rows(name))
    if not all(type(each) is int and each > 0 for each in found):
        raise ProtocolError(f"not a {row.what}: {name} must be whole numbers above 0")
    return found


def _length(document: Any) -> dict[str, Any]:
    row = Members(document, "file of a checkpoint")
    return {
        "path": _path(row),
        "use": row.choice("use", USES),
        **{name: _exact(row, name) for name in ("size", "mtime", "inode", "end")},
    }


def _path(row: Members) -> str:
    """As the kernel has it, whatever bytes are in it."""
    found = row.members.get("path")
    if not isinstance(found, str) or not found.startswith("/"):
        raise ProtocolError(f"not a {row.what}: path must be an absolute one")
    return found


def _exact(row: Members, name: str) -> int:
    """Of nanoseconds and inodes, which take 64 bits."""
    found = row.members.get(name)
    if type(found) is not int or not -1 << 63 <= found < 1 << 64:
        raise ProtocolError(f"not a {row.what}: {name} must be a whole number of 64 bits")
    return found

"""Finding the processes of lab hosts in /proc.

Nothing is remembered about process numbers, so nothing can be stale: the first process of a host
carries the host's machine-id in its environment (``container_uuid``) and is number 1 of a process
namespace directly below this one.  A dead process that nobody has reaped has no environment left.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def find_inits(machine_ids: Iterable[str]) -> dict[str, int]:
    """machine-id → number of the host's first process on this machine, for those that run."""
    marks = {f"container_uuid={uuid.UUID(word)}".encode(): word for word in machine_ids}
    depth = len(namespace_numbers("self"))
    found: dict[str, int] = {}
    for entry in (path.name for path in _PROC.iterdir() if path.name.isdigit()):
        if machine_id := _mark_of(entry, marks):
            numbers = namespace_numbers(entry)
            if len(numbers) == depth + 1 and numbers[-1] == 1:
                found[machine_id] = int(entry)
    return found


def find_init(machine_id: str) -> int | None:
    return find_inits([machine_id]).get(machine_id)


def _mark_of(entry: str, marks: dict[bytes, str]) -> str | None:
    try:
        environment = (_PROC / entry / "environ").read_bytes()
    except OSError:
        return None
    for word in environment.split(b"\0"):
        if word in marks:
            return marks[word]
    return None


def namespace_numbers(entry: str) -> list[int]:
    """The process's numbers from this process namespace to its own; empty when it is gone."""
    try:
        status = (_PROC / entry / "status").read_text()
    except OSError:
        return []
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return [int(word) for word in line.split()[1:]]
    return []


def cgroup_of(pid: int) -> str | None:
    """The process's path in the version 2 tree, without the leading slash; None when it is gone."""
    try:
        text = (_PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::/")
    return None


def mount_points(kind: str, option: str = "") -> list[Path]:
    """Where file systems of a kind are mounted, those with ``option`` among their options."""
    found = []
    for line in (_PROC / "self/mountinfo").read_text().splitlines():
        fields, _, tail = line.partition(" - ")
        words = tail.split()
        if words[0] == kind and (not option or option in words[2].split(",")):
            found.append(Path(unescape(fields.split()[4])))
    return found


def mounts_below(top: Path) -> list[Path]:
    """Every mount point at or below ``top``, the deepest and latest first."""
    found = []
    for line in (_PROC / "self/mountinfo").read_text().splitlines():
        point = Path(unescape(line.split()[4]))
        if point == top or top in point.parents:
            found.append(point)
    return found[::-1]


def unescape(word: str) -> str:
    """Undo the octal escapes of mountinfo (blank, tab, newline, backslash)."""
    for octal, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        word = word.replace(f"\\{octal}", character)
    return word

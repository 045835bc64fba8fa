"""Jobs as /proc showed them on a real host, read by the reader that reads a host's.

proc_snapshots.json holds one a name (Debian 13, Linux 6.18), made by ``KCMS_RECORD=FILE pytest
tests/lab_node/test_movable.py``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kcms.node import procfs, sockets
from kcms.node.mounts import Where, below, parse_mountinfo
from kcms.node.procfs import Budget, Proc, Reader, Stat
from kcms.node.seen import Snapshot

SHARED = "/srv/kcms-movable"
HOME = f"{SHARED}/alice"
UID = GID = 2001


@functools.cache
def everything() -> dict[str, Any]:
    return dict(json.loads(Path(__file__).with_name("proc_snapshots.json").read_text()))


def lay_out(name: str, proc: Path) -> dict[str, Any]:
    """Make the directory look like the /proc of that job."""
    record = dict(everything()[name])
    for pid, found in record["processes"].items():
        for path, text in found["texts"].items():
            there = proc / pid / path
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(text)
        for path, target in found["links"].items():
            there = proc / pid / path
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(target)
    return record


def snapshot(name: str, proc: Path) -> Snapshot:
    """The job as the node sees it; the stats of open files are the recorded ones."""
    record = lay_out(name, proc)
    where = Where(parse_mountinfo(record["mountinfo"].encode()), [SHARED])
    reader = Reader(lambda _: True, Budget(60.0), str(proc))
    processes = []
    for pid, found in record["processes"].items():
        process = reader.process(int(pid))
        assert process is not None
        processes.append(_with_stats(process, found))
    inet: dict[int, sockets.Inet] = {}
    for table, lines in record["net"].items():
        text = "\n".join(lines).encode()
        inet.update(sockets.parse_inet(table.removesuffix("6").upper(), text))
    links = record["init"]["namespaces"]
    return Snapshot(
        processes=tuple(processes),
        where=where,
        init=record["init"]["pid"],
        namespaces={each: links[f"ns/{each}"] for each in procfs.NAMESPACES},
        inet=inet,
        unix={int(key): sockets.Unix(*row) for key, row in record["unix"].items()},
    )


def _with_stats(process: Proc, found: dict[str, Any]) -> Proc:
    files = []
    for each in process.files:
        row, here = found["stats"][str(each.number)], not each.target.endswith(procfs.DELETED)
        stat = Stat(*row, here) if each.target.startswith("/") else None
        protocol = found["protocols"].get(str(each.number), "")
        files.append(replace(each, stat=stat, protocol=protocol))
    deleted = Stat(0o100600, 0, 0, 0, 4096, 0)
    mappings = [
        replace(each, stat=deleted)
        if each.path.endswith(procfs.DELETED) and not below(each.path, SHARED)
        else each
        for each in process.mappings
    ]
    return replace(process, files=tuple(files), mappings=tuple(mappings))

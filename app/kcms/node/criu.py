"""criu: the command lines of a dump and a restore, and what its log says went wrong.

What was tried and settled these lines (criu 4.1.1, Linux 6.18):

- ``--freeze-cgroup`` of a cgroup that is frozen already: criu lets it go only while it holds every
  process by ptrace and freezes it again before it lets go.  So nothing of the job runs between our
  freeze, the scan that follows it, the image, and whatever is decided then.
- A dump needs the owner's *real* ids where root lacks CAP_SYS_RESOURCE ("Can't get rlimit").  A
  restore does not, and must not have them, or the action script runs without root's rights.
- criu probes the kernel once, with iptables among others, which refuses real ids that differ from
  the effective ones; so ``check`` comes first, as plain root, and leaves ``/run/criu.kdat``.
- ``--no-default-config``: no file of the host or of a home may change what is done.

Loaded by the PID 1 of a restored task, hence so few imports.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import re
from collections.abc import Iterator

TIMEOUT = 20
"""Seconds that criu may take to get hold of all processes of a job."""

DUMP_LOG = "dump.log"
RESTORE_LOG = "restore.log"
LOG_BYTES = 256 * 1024
_ERROR = re.compile(r"(?:\([\d.]+\) *)?(?:\d+: *)?Error \([^)]*\): *(?:[a-z_-]+: )?(.*)")
_NOISE = re.compile(r"Can't setup RLIMIT_NOFILE|(Dumping|Restoring) FAILED|failed when|exited, ")


def check(criu: str) -> list[str]:
    """Let criu learn the kernel; its verdict is of no interest here."""
    return [criu, "check", "--no-default-config"]


def dump(criu: str, root: int, directory: str, task_cgroup: str) -> list[str]:
    """Dump the tree below ``root`` (a pid of its namespace), whose cgroup is frozen, and leave it
    frozen."""
    return [
        *(criu, "dump", "--no-default-config"),
        *("--tree", str(root), "--images-dir", directory, "--log-file", DUMP_LOG, "-v2"),
        *("--leave-running", "--manage-cgroups=ignore", "--freeze-cgroup", task_cgroup),
        *("--timeout", str(TIMEOUT)),
    ]


def restore(criu: str, directory: str, action: str) -> list[str]:
    """Restore a tree as a child of the caller's namespace's PID 1, in the caller's cgroup."""
    return [
        *(criu, "restore", "--no-default-config", "--restore-detached"),
        *("--images-dir", directory, "--log-file", RESTORE_LOG, "-v2"),
        *("--manage-cgroups=ignore", "--action-script", action),
    ]


def reason(log: str) -> str:
    """The first complaint of a log that is a cause and not a consequence; "" when there is none."""
    return next(_errors(log), "")


def _errors(log: str) -> Iterator[str]:
    for line in tail(log).splitlines():
        found = _ERROR.match(line.strip())
        if found and not _NOISE.search(found.group(1)):
            yield "".join(each if each.isprintable() else "?" for each in found.group(1))[:300]


def tail(log: str, size: int = LOG_BYTES) -> str:
    """The end of a log, "" when there is none."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        file.seek(max(os.fstat(descriptor).st_size - size, 0))
        return file.read(size).decode(errors="replace")

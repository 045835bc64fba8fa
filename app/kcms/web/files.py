"""Which round-robin files there are, and where: names in, checked paths out.

A name from a request becomes a path only if the directory above it really holds an entry of
exactly that name, so neither ``..`` nor a link out of the directory can be followed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kcms.errors import NotFound

SUMMARY = "__SummaryInfo__"
SUFFIX = ".rrd"


@dataclass(frozen=True)
class Scope:
    """What a graph is about: a host of a cluster, a cluster, or with neither the whole grid."""

    cluster: str | None = None
    host: str | None = None

    @property
    def summary(self) -> bool:
        """True for the sums over a cluster or the grid."""
        return self.host is None

    @property
    def parts(self) -> tuple[str, ...]:
        """The directory's path below the root."""
        names = tuple(name for name in (self.cluster, self.host) if name is not None)
        return (*names, SUMMARY) if self.summary else names


class RrdFiles:
    """The files below ``root``, one a metric, as the aggregator lays them out."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def stored(self, scope: Scope) -> dict[str, Path]:
        """Every metric that has a file, with its path.

        Empty while nothing has been stored.  :raises NotFound: a name that can be no directory
        """
        if SUMMARY in (scope.cluster, scope.host):
            raise NotFound("no such cluster or host")
        directory = self._root
        for part in scope.parts:
            found = _directory(directory, part)
            if found is None:
                return {}
            directory = found
        with os.scandir(directory) as entries:
            return {
                entry.name.removesuffix(SUFFIX): directory / entry.name
                for entry in entries
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False)
            }


def _directory(parent: Path, name: str) -> Path | None:
    """The real directory ``name`` right below ``parent``, if there is one."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise NotFound("no such cluster or host")
    path = parent / name
    try:
        return path if stat.S_ISDIR(path.lstat().st_mode) else None
    except OSError:  # not there, not readable, or longer than a file name may be
        return None

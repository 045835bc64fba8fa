"""Which round-robin files there are, and where: names in, checked paths out.

The aggregator's own module says where a name lies; its parts of a path hold neither ``/`` nor a
leading dot, so no name leads out of the directory, and links in it are not followed.
"""

from __future__ import annotations

import os
import stat
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from kcms.aggregator import rrd


@dataclass(frozen=True)
class Scope:
    """What a graph is about: a host of a cluster, a cluster, or with neither the whole grid."""

    cluster: str | None = None
    host: str | None = None

    @property
    def summary(self) -> bool:
        """True for the sums over a cluster or the grid."""
        return self.host is None


class RrdFiles:
    """The files below ``root``, one a metric, as the aggregator lays them out."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def stored(self, scope: Scope) -> dict[str, Path]:
        """Every metric that has a file, with its path; empty when nothing has been stored."""
        try:
            directory = rrd.directory(self._root, scope.cluster, scope.host)
            if not _real(self._root, directory):
                return {}
            with os.scandir(directory) as entries:
                return {
                    _name(entry.name): directory / entry.name
                    for entry in entries
                    if entry.name.endswith(rrd.SUFFIX) and entry.is_file(follow_symlinks=False)
                }
        except (ValueError, OSError):  # a name that no file can have; gone, or not readable
            return {}


def _name(file: str) -> str:
    """The metric whose file is called ``file``: the inverse of ``rrd.safe_part``."""
    return urllib.parse.unquote(file.removesuffix(rrd.SUFFIX))


def _real(root: Path, directory: Path) -> bool:
    """True if every step from ``root`` to ``directory`` is a directory and none a link."""
    path = root
    for part in directory.relative_to(root).parts:
        path = path / part
        if not stat.S_ISDIR(path.lstat().st_mode):
            return False
    return True

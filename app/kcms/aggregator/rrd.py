"""Round-robin files, laid out as Ganglia's gmetad does; nothing else knows of them.

``CLUSTER/HOST/METRIC.rrd`` holds one source, ``sum``; ``CLUSTER/__SummaryInfo__/METRIC.rrd`` and
``__SummaryInfo__/METRIC.rrd`` (the grid) hold ``sum`` and ``num``.  Another grid lies like
a cluster that has a summary only.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import rrdtool

SUMMARY = "__SummaryInfo__"
SUFFIX = ".rrd"
# At a step of 15 s: a day of every step, 14 days of minutes, 366 days of 10 minutes.
ARCHIVES = (
    "RRA:AVERAGE:0.5:1:5856",
    "RRA:AVERAGE:0.5:4:20160",
    "RRA:AVERAGE:0.5:40:52704",
)
HEARTBEAT_STEPS = 8  # steps without an update after which the value is unknown
_KINDS = {"positive": "COUNTER", "derivative": "DERIVE"}
_UNSAFE = re.compile(r"[/%\x00-\x1f\x7f]|^\.|^_(?=_SummaryInfo__$)")
_MAX_PART = 240  # bytes; file systems take 255


def safe_part(name: str) -> str:
    """``name`` as one part of a path; different names make different parts.

    What a path cannot hold stands as in a URL, as ``%2F``; ordinary names stay as they are.

    :raises ValueError: there is no name, or it is too long for a file
    """
    part = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    if not part or len(os.fsencode(part)) > _MAX_PART:
        raise ValueError(f"{name[:60]!r} cannot be the name of a file")
    return part


def directory(root: Path, cluster: str | None = None, host: str | None = None) -> Path:
    """Where the files of a host, of a cluster's sums, or with neither of the grid's sums lie."""
    if cluster is None:
        return root / SUMMARY
    return root / safe_part(cluster) / (SUMMARY if host is None else safe_part(host))


def metric_path(
    root: Path, metric: str, cluster: str | None = None, host: str | None = None
) -> Path:
    """The file of one metric.  :raises ValueError: a name cannot be that of a file"""
    return directory(root, cluster, host) / f"{safe_part(metric)}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value to store: of a host, or with ``num`` a sum over that many."""

    metric: str
    value: float
    slope: str = "both"
    num: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one directory; ``cluster`` and ``host`` as in :func:`directory`."""

    cluster: str | None
    host: str | None
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class _File:
    place: Path
    part: str
    sample: Sample

    @property
    def path(self) -> str:
        """Plain text: a Path for each of tens of thousands of files would cost more than RRD."""
        return f"{self.place}/{self.part}{SUFFIX}"


@dataclass(slots=True)
class Written:
    """What became of a round: ``error`` is the first thing that went wrong, empty if nothing."""

    updated: int = 0
    created: int = 0
    postponed: int = 0
    failed: int = 0
    error: str = ""


class RrdStore:
    """The files below ``root``.  Used by one thread at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, set[str]] = {}

    def write(self, batches: Iterable[Batch], at: int, step: int, budget: float) -> Written:
        """Store samples of the time ``at`` (epoch seconds), taken every ``step`` seconds.

        Files that are missing are made afterwards, for ``budget`` seconds at the most; the others
        have their turn in the rounds to come.
        """
        written = Written()
        missing: list[_File] = []
        for file in self._files(batches, written):
            if file.part in self._parts(file.place):
                self._update(file, at, written)
            else:
                missing.append(file)
        deadline = time.monotonic() + budget
        for number, file in enumerate(missing):
            if time.monotonic() > deadline:
                written.postponed = len(missing) - number
                break
            self._create(file, at, step, written)
        return written

    def _files(self, batches: Iterable[Batch], written: Written) -> Iterator[_File]:
        for batch in batches:
            for sample in batch.samples:
                try:
                    place = directory(self._root, batch.cluster, batch.host)
                    yield _File(place, safe_part(sample.metric), sample)
                except ValueError as error:
                    _note(written, batch.host or batch.cluster or "grid", error)

    def _parts(self, place: Path) -> set[str]:
        """The metrics that have a file there, as parts of a path."""
        known = self._known.get(place)
        if known is None:
            try:
                names = [each.name for each in place.iterdir()]
            except OSError:
                names = []
            known = {each.removesuffix(SUFFIX) for each in names if each.endswith(SUFFIX)}
            self._known[place] = known
        return known

    def _update(self, file: _File, at: int, written: Written) -> None:
        try:
            rrdtool.update(file.path, _values(file.sample, at))
        except (rrdtool.OperationalError, rrdtool.ProgrammingError) as error:
            _note(written, file.path, error)
            if not os.path.exists(file.path):  # noqa: PTH110 (see _File.path)
                self._known.pop(file.place, None)
        else:
            written.updated += 1

    def _create(self, file: _File, at: int, step: int, written: Written) -> None:
        try:
            file.place.mkdir(parents=True, exist_ok=True)
            rrdtool.create(
                file.path, "--start", str(at - 1), "--step", str(step), "--no-overwrite",
                *_sources(file.sample, step), *ARCHIVES,
            )  # fmt: skip
        except (rrdtool.OperationalError, rrdtool.ProgrammingError, OSError) as error:
            _note(written, file.path, error)
            return
        written.created += 1
        self._parts(file.place).add(file.part)
        self._update(file, at, written)


def _sources(sample: Sample, step: int) -> list[str]:
    heartbeat = HEARTBEAT_STEPS * step
    sources = [f"DS:sum:{_KINDS.get(sample.slope, 'GAUGE')}:{heartbeat}:U:U"]
    if sample.num is not None:
        sources.append(f"DS:num:GAUGE:{heartbeat}:U:U")
    return sources


def _values(sample: Sample, at: int) -> str:
    counted = sample.slope in _KINDS or float(sample.value).is_integer()  # as counters must be
    value = str(int(sample.value)) if counted else repr(float(sample.value))
    return f"{at}:{value}" if sample.num is None else f"{at}:{value}:{sample.num}"


def _note(written: Written, where: str, error: Exception) -> None:
    written.failed += 1
    if not written.error:
        reason = str(error) or "cannot be written; is the disk full?"  # librrd tells nothing then
        written.error = reason if where in reason else f"{where}: {reason}"

"""Pictures by the ``rrdtool`` program: an argument list, a time limit, a few at once, a cache."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kcms.errors import InvalidRequest, NotFound, Unavailable
from kcms.web import drawing
from kcms.web.files import RrdFiles, Scope
from kcms.web.ranges import Range
from kcms.web.reports import REPORTS, Report, single

log = logging.getLogger("kcms.web.graphs")

KINDS = {"svg": "image/svg+xml", "png": "image/png"}
DRAW_TIMEOUT = 10.0
QUEUE_TIMEOUT = 20.0
CACHED_PICTURES = 512
PASSED_ON = ("PATH", "TZ", "HOME", "XDG_CACHE_HOME")  # the last is where fontconfig keeps its list


@dataclass(frozen=True)
class Wanted:
    """Which picture: of what, which report (or, with ``unit``, which single metric), and how."""

    scope: Scope
    name: str
    span: Range
    theme: str
    size: str
    kind: str
    unit: str | None = None

    def report(self) -> Report:
        """:raises NotFound: there is no such report"""
        if self.unit is not None:
            return single(self.name, self.unit)
        if self.name not in REPORTS:
            raise NotFound(f"no such report; known are {', '.join(REPORTS)}")
        return REPORTS[self.name]


@dataclass(frozen=True)
class Image:
    """A finished picture; an SVG is kept compressed."""

    data: bytes
    kind: str
    packed: bool


Run = Callable[[list[str]], bytes]


class Graphs:
    """Draws and remembers pictures.  Safe to share between threads."""

    def __init__(self, files: RrdFiles, run: Run, workers: int, clock: Callable[[], float]) -> None:
        self._files = files
        self._run = run
        self._clock = clock
        self._slots = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[Wanted, int], Image] = OrderedDict()

    def stored(self, scope: Scope) -> Mapping[str, Path]:
        """The metrics of ``scope`` that have a file, with its path."""
        return self._files.stored(scope)

    def draw(self, wanted: Wanted) -> Image:
        """The picture.

        :raises InvalidRequest: an unknown theme, size or kind
        :raises NotFound: unknown report, or nothing stored to draw it from
        :raises Unavailable: rrdtool failed, or too many pictures are being drawn
        """
        _check(wanted)
        window = wanted.span.window(self._clock())
        key = (wanted, window[1])
        image = self._cached(key)
        if image is not None:
            return image
        if not self._slots.acquire(timeout=QUEUE_TIMEOUT):
            raise Unavailable("too many graphs are being drawn; try again")
        try:
            image = self._cached(key) or self._drawn(wanted, window)
        finally:
            self._slots.release()
        self._remember(key, image)
        return image

    def _drawn(self, wanted: Wanted, window: tuple[int, int]) -> Image:
        report = wanted.report()
        stored = self._files.stored(wanted.scope)
        files = {name: path for name, path in stored.items() if name in report.metrics}
        summary = wanted.scope.summary
        if not drawing.drawable(report, files, summary):
            raise NotFound("nothing is stored for this graph yet")
        size = drawing.SIZES[wanted.size]
        picture = drawing.Picture(report, files, summary, window, wanted.theme, size, wanted.kind)
        data = self._run(drawing.arguments(picture))
        packed = wanted.kind == "svg"
        return Image(gzip.compress(data, 5, mtime=0) if packed else data, wanted.kind, packed)

    def _cached(self, key: tuple[Wanted, int]) -> Image | None:
        with self._lock:
            image = self._cache.get(key)
            if image is not None:
                self._cache.move_to_end(key)
            return image

    def _remember(self, key: tuple[Wanted, int], image: Image) -> None:
        with self._lock:
            self._cache[key] = image
            while len(self._cache) > CACHED_PICTURES:
                self._cache.popitem(last=False)


def _check(wanted: Wanted) -> None:
    for what, value, known in (
        ("theme", wanted.theme, drawing.THEMES),
        ("size", wanted.size, drawing.SIZES),
        ("kind of picture", wanted.kind, KINDS),
    ):
        if value not in known:
            raise InvalidRequest(f"unknown {what}; known are {', '.join(known)}")


def run_rrdtool(arguments: list[str]) -> bytes:
    """What ``rrdtool graph`` writes.

    :raises Unavailable: it is missing, failed or took too long
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            ["rrdtool", "graph", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DRAW_TIMEOUT,
            check=True,
            env={**environment, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.CalledProcessError as error:
        log.warning("rrdtool: %s", error.stderr.decode("utf-8", "replace").strip()[:500])
        raise Unavailable("the graph cannot be drawn; the journal of the page says why") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the graph took more than {DRAW_TIMEOUT:g} s to draw") from error
    except OSError as error:
        raise Unavailable(f"rrdtool cannot be started: {error.strerror}") from error
    return done.stdout

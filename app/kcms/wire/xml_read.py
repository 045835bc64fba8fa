"""Ganglia's XML of a gmond, a gmetad or ours to a tree.

Whatever is not understood is left out, but what is not well-formed, declares entities or is larger
than allowed is refused as a whole: half a cluster must not pass for a cluster.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, NoReturn
from xml.parsers import expat

from kcms.errors import ProtocolError
from kcms.wire.ganglia_xml import (
    DEFAULT_TMAX,
    Cluster,
    Extra,
    GangliaTree,
    Grid,
    Host,
    Metric,
    MetricSum,
    number,
)

MAX_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 16
_GZIP = b"\x1f\x8b"

Attributes = dict[str, str]


def parse(data: bytes, max_bytes: int = MAX_BYTES) -> GangliaTree:
    """The tree of a whole document.  :raises ProtocolError: it is none"""
    reader = TreeReader(max_bytes)
    reader.feed(data)
    return reader.close()


class TreeReader:
    """Takes a document in pieces as they arrive, plain or compressed with gzip.

    :meth:`feed` and :meth:`close` raise :class:`ProtocolError` at the first thing that is wrong.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._builder = _Builder()
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._builder.start
        self._parser.EndElementHandler = self._builder.end
        self._parser.EntityDeclHandler = _refuse_entity
        self._begin: bytes | None = b""
        self._unzip: Any = None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if self._begin is not None:
            data = self._begin = self._begin + data
            if len(data) < len(_GZIP):
                return
            self._begin = None
            if data.startswith(_GZIP):
                self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._parse(data if self._unzip is None else self._inflate(data))

    def close(self) -> GangliaTree:
        """The tree, once all pieces were fed."""
        if self._unzip is not None and not self._unzip.eof:
            raise ProtocolError("the compressed XML ends too early")
        self._run(self._begin or b"", True)
        return self._builder.tree()

    def _inflate(self, data: bytes) -> bytes:
        try:
            plain: bytes = self._unzip.decompress(data, self._left + 1)
        except zlib.error as error:
            raise ProtocolError(f"the compressed XML is damaged: {error}") from error
        return plain

    def _parse(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise ProtocolError(f"the XML is longer than {self._max_bytes} bytes")
        self._run(data, False)

    def _run(self, data: bytes, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            raise ProtocolError(f"the XML is not well-formed: {error}") from error
        except (ValueError, LookupError) as error:  # an encoding that is not known
            raise ProtocolError(f"the XML cannot be read: {error}") from error


def _refuse_entity(name: str, *_: object) -> NoReturn:
    raise ProtocolError(f"the XML declares an entity ({name}), which Ganglia's never does")


class _Frame:
    """An element that is open, with what was found in it."""

    __slots__ = ("attributes", "clusters", "down", "grids", "hosts", "metrics", "sums", "tag", "up")

    def __init__(self, tag: str, attributes: Attributes) -> None:
        self.tag = tag
        self.attributes = attributes
        self.grids: list[Grid] = []
        self.clusters: list[Cluster] = []
        self.hosts: list[Host] = []
        self.metrics: list[Metric] = []
        self.sums: list[MetricSum] = []
        self.up = 0
        self.down = 0


class _Builder:
    """Makes the tree out of expat's events; names that repeat are kept once."""

    def __init__(self) -> None:
        self._open: list[_Frame] = []
        self._metric: Attributes | None = None
        self._extra: list[tuple[str, str]] = []
        self._extras: dict[Extra, Extra] = {}
        self._words: dict[str, str] = {}
        self._root: GangliaTree | None = None
        self._depth = 0

    def tree(self) -> GangliaTree:
        if self._root is None:
            raise ProtocolError("the XML holds no GANGLIA_XML")
        return self._root

    def start(self, tag: str, attributes: Attributes) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ProtocolError(f"the XML is nested more than {MAX_DEPTH} deep")
        if self._depth == 1 and tag != "GANGLIA_XML":
            raise ProtocolError(f"the XML is no Ganglia document but <{tag[:40]}>")
        if tag in ("METRIC", "METRICS"):
            self._metric = attributes
            self._extra = []
        elif tag == "EXTRA_ELEMENT":
            self._extra.append((self._word(attributes, "NAME"), attributes.get("VAL", "")))
        elif tag == "HOSTS":
            self._open[-1].up = _integer(attributes, "UP")
            self._open[-1].down = _integer(attributes, "DOWN")
        elif tag in _CLOSE:
            self._open.append(_Frame(tag, attributes))

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "METRIC":
            self._end_metric()
        elif tag == "METRICS":
            self._end_sum()
        elif tag in _CLOSE:
            _CLOSE[tag](self, self._open.pop())

    def _end_metric(self) -> None:
        found, self._metric = self._metric, None
        if not found or not found.get("NAME") or self._open[-1].tag != "HOST":
            return
        metric = Metric(
            self._word(found, "NAME"),
            found.get("VAL", ""),
            self._word(found, "TYPE", "string"),
            self._word(found, "UNITS"),
            max(_integer(found, "TN"), 0),
            max(_integer(found, "TMAX"), 0),
            max(_integer(found, "DMAX"), 0),
            self._word(found, "SLOPE", "unspecified"),
            self._word(found, "SOURCE", "gmond"),
            self._shared_extra(),
        )
        self._open[-1].metrics.append(metric)

    def _end_sum(self) -> None:
        found, self._metric = self._metric, None
        value = number("double", found.get("SUM", "")) if found else None
        if not found or not found.get("NAME") or value is None:
            return
        told = MetricSum(
            self._word(found, "NAME"),
            value,
            max(_integer(found, "NUM"), 0),
            self._word(found, "TYPE", "double"),
            self._word(found, "UNITS"),
            self._word(found, "SLOPE", "unspecified"),
            self._word(found, "SOURCE", "gmond"),
            self._shared_extra(),
        )
        self._open[-1].sums.append(told)

    def end_host(self, frame: _Frame) -> None:
        found = frame.attributes
        name = found.get("NAME") or found.get("IP")
        if not name or not self._open or self._open[-1].tag != "CLUSTER":
            return
        host = Host(
            name,
            found.get("IP", ""),
            _integer(found, "REPORTED"),
            max(_integer(found, "TN"), 0),
            max(_integer(found, "TMAX", DEFAULT_TMAX), 0),
            max(_integer(found, "DMAX"), 0),
            self._word(found, "LOCATION", "unspecified"),
            _integer(found, "GMOND_STARTED"),
            self._word(found, "TAGS"),
            tuple({each.name: each for each in frame.metrics}.values()),
        )
        self._open[-1].hosts.append(host)

    def end_cluster(self, frame: _Frame) -> None:
        found, parent = frame.attributes, self._open[-1]
        if not found.get("NAME"):
            return
        localtime = _integer(found, "LOCALTIME")
        told = _integer(parent.attributes, "LOCALTIME") if parent.tag == "GRID" else 0
        cluster = Cluster(
            found["NAME"],
            localtime,
            found.get("OWNER", "unspecified"),
            found.get("LATLONG", "unspecified"),
            found.get("URL", "unspecified"),
            tuple({each.name: each for each in frame.hosts}.values()),
            frame.up,
            frame.down,
            tuple(frame.sums),
            max(told - localtime, 0) if told and localtime else 0,
        )
        parent.clusters.append(cluster)

    def end_grid(self, frame: _Frame) -> None:
        found = frame.attributes
        grid = Grid(
            found.get("NAME") or "unspecified",
            found.get("AUTHORITY", ""),
            _integer(found, "LOCALTIME"),
            tuple({each.name: each for each in frame.clusters}.values()),
            tuple(frame.grids),
            frame.up,
            frame.down,
            tuple(frame.sums),
        )
        self._open[-1].grids.append(grid)

    def end_document(self, frame: _Frame) -> None:
        found = frame.attributes
        clusters = {each.name: each for each in frame.clusters}
        self._root = GangliaTree(
            found.get("SOURCE", ""),
            found.get("VERSION", ""),
            tuple(clusters.values()),
            tuple(frame.grids),
        )

    def _word(self, found: Attributes, key: str, default: str = "") -> str:
        """An attribute whose text many elements share: kept in memory once."""
        text = found.get(key, default)
        return self._words.setdefault(text, text)

    def _shared_extra(self) -> Extra:
        extra = tuple(self._extra)
        return self._extras.setdefault(extra, extra)


_CLOSE: dict[str, Callable[[_Builder, _Frame], None]] = {
    "GANGLIA_XML": _Builder.end_document,
    "GRID": _Builder.end_grid,
    "CLUSTER": _Builder.end_cluster,
    "HOST": _Builder.end_host,
}


def _integer(found: Attributes, key: str, default: int = 0) -> int:
    """A whole number; the default where it is none: one odd figure must not cost a cluster."""
    text = found.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        return default
    return int(value) if math.isfinite(value) and abs(value) < 2**53 else default

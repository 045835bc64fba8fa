"""A report and its files as the argument list of ``rrdtool graph``.  Pure.

Nothing of a request reaches an argument unchecked: file names come from the directory of the
round-robin files, and every piece of text goes through :func:`plain` or :func:`escape_path`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kcms.web.reports import Curve, Draw, Report

Colours = Mapping[str, str]

_FRAME = {
    "light": {
        "FONT": "#3c4654", "AXIS": "#9aa5b4", "ARROW": "#00000000",
        "GRID": "#8090a52a", "MGRID": "#8090a555",
    },
    "dark": {
        "FONT": "#c3ccd8", "AXIS": "#66748a", "ARROW": "#00000000",
        "GRID": "#a8b4c41c", "MGRID": "#a8b4c43d",
    },
}  # fmt: skip
_CLEAR = ("BACK", "CANVAS", "SHADEA", "SHADEB", "FRAME")
_PALETTE: dict[str, tuple[str, str]] = {
    "load": ("#b4c5dd", "#3d5575"),
    "running": ("#2f6fde", "#6aa6ff"),
    "cpus": ("#d64545", "#ff7b72"),
    "nodes": ("#1f9d55", "#4cc38a"),
    "user": ("#3f74d8", "#5b8def"),
    "nice": ("#e3b505", "#e8c547"),
    "system": ("#d64545", "#e8635e"),
    "wait": ("#f08a4b", "#f59e63"),
    "steal": ("#8e44ad", "#b57edc"),
    "idle": ("#e8edf4", "#242f3d"),
    "used": ("#5a5fcf", "#777ce6"),
    "shared": ("#2c2f8f", "#4a4fd0"),
    "cached": ("#4bae78", "#3f9f6b"),
    "slab": ("#2b8a8a", "#3aa6a6"),
    "buffers": ("#a9d97d", "#86b95c"),
    "free": ("#e9f1e6", "#22302a"),
    "swapped": ("#a13db8", "#c77ddb"),
    "total": ("#d64545", "#ff7b72"),
    "in": ("#58b598", "#3d9478"),
    "out": ("#2f5fc4", "#7aaeff"),
    "other": ("#6c8ebf", "#6f93c9"),
}
THEMES = {"light": 0, "dark": 1}


@dataclass(frozen=True)
class Size:
    """Size in pixels of a report and of a single metric; ``columns`` of numbers in the legend."""

    name: str
    report: tuple[int, int]
    single: tuple[int, int]
    columns: tuple[str, ...]


SIZES = {
    each.name: each
    for each in (
        Size("small", (340, 290), (340, 190), ("now", "max")),
        Size("medium", (560, 330), (420, 190), ("now", "min", "avg", "max")),
    )
}
_VDEF = {"now": "LAST", "min": "MINIMUM", "avg": "AVERAGE", "max": "MAXIMUM"}
_NAME_WIDTH = 8
_GLUE = "\\g"
"""Ends a text: the gap to the next is one column then, and else no whole number of them."""


@dataclass(frozen=True)
class Picture:
    """What to draw: a report from files (by metric), over a window of epoch seconds.

    ``summary`` says that the files are those of a cluster or the grid, which have a ``num``.
    """

    report: Report
    files: Mapping[str, Path]
    summary: bool
    window: tuple[int, int]
    theme: str
    size: Size
    kind: str


def escape_path(path: Path) -> str:
    """``path`` for a DEF argument: a colon would end it; backslashes stand for themselves."""
    return str(path).replace(":", "\\:")


def plain(text: str) -> str:
    """``text`` for a legend or label: without control characters, colons escaped.

    A backslash begins a formatting code there and has no escape of its own, so it becomes a slash.
    """
    printable = "".join(each for each in text if each.isprintable())
    return printable.replace("\\", "/").replace(":", "\\:")[:60]


def drawable(report: Report, stored: Container[str], summary: bool) -> list[Curve]:
    """The curves of ``report`` that can be drawn from the ``stored`` metrics."""
    found = [
        curve
        for curve in report.curves
        if all(name in stored for name in curve.plus) and (summary or not curve.hosts)
    ]
    if found and found[0].draw is Draw.STACK:  # what it would lie on is not stored
        found[0] = dataclasses.replace(found[0], draw=Draw.AREA)
    return found


def dimensions(report: Report, size: Size) -> tuple[int, int]:
    """Width and height in pixels: the same for every report, whichever curves are stored."""
    return size.single if len(report.curves) == 1 else size.report


def arguments(picture: Picture) -> list[str]:
    """The arguments after ``rrdtool graph``; the picture goes to standard output."""
    curves = drawable(picture.report, picture.files, picture.summary)
    return [
        "-",
        *_frame(picture),
        *_sources(curves, picture),
        *(part for at, curve in enumerate(curves) for part in _values(at, curve, picture)),
        *_drawing(curves, picture),
    ]


def _frame(picture: Picture) -> Iterator[str]:
    report, size = picture.report, picture.size
    width, height = dimensions(report, size)
    start, end = picture.window
    yield from (f"--imgformat={picture.kind.upper()}", f"--start={start}", f"--end={end}")
    yield from ("--full-size-mode", f"--width={width}", f"--height={height}", "--border=0")
    yield from ("--disable-rrdtool-tag", "--slope-mode", "--lower-limit=0", "--alt-autoscale-max")
    yield from ("--use-nan-for-all-missing-data", "--dynamic-labels")
    yield from ("--font=DEFAULT:8:DejaVu Sans", "--font=LEGEND:8:DejaVu Sans Mono")
    if report.upper is not None:
        yield from (f"--upper-limit={report.upper:g}", "--rigid")
    if "%s" not in report.form:
        yield "--units-exponent=0"
    if picture.kind == "png":
        yield "--zoom=2"
    for part in _CLEAR:
        yield f"--color={part}#00000000"
    for part, colour in _FRAME[picture.theme].items():
        yield f"--color={part}{colour}"


def _sources(curves: list[Curve], picture: Picture) -> Iterator[str]:
    wanted = {name for curve in curves for name in curve.plus + curve.minus}
    for name in sorted(wanted & picture.files.keys()):
        path = escape_path(picture.files[name])
        yield f"DEF:{_variable(name, picture)}={path}:sum:AVERAGE"
        if picture.summary:
            yield f"DEF:{_variable(name, picture)}n={path}:num:AVERAGE"


def _variable(name: str, picture: Picture) -> str:
    """A name for rrdtool that owes nothing to the metric's: its place in the list of files."""
    return f"d{sorted(picture.files).index(name)}_"


def _values(at: int, curve: Curve, picture: Picture) -> Iterator[str]:
    first = _variable(curve.plus[0], picture)
    if curve.hosts:
        rpn = f"{first}n,1,*"
    else:
        rpn = first
        for name in curve.plus[1:]:
            rpn += f",{_variable(name, picture)},+"
        for name in curve.minus:
            if name in picture.files:
                other = _variable(name, picture)
                rpn += f",{other},UN,0,{other},IF,-"
        if curve.minus:
            rpn += ",0,MAX"
        rpn += f",{curve.scale:.17g},*"
        if curve.average and picture.summary:
            rpn += f",{first}n,/"
    yield f"CDEF:c{at}={rpn}"
    for column in picture.size.columns:
        yield f"VDEF:c{at}{column}=c{at},{_VDEF[column]}"


def _drawing(curves: list[Curve], picture: Picture) -> Iterator[str]:
    if len(picture.report.curves) == 1:
        yield from _lone(curves, picture)
        return
    head = "".join(f"{column:>{_column_width(picture)}}" for column in picture.size.columns)
    yield f"COMMENT:{' ' * (_NAME_WIDTH + 4)}{head}\\l"
    for at, curve in enumerate(curves):
        yield _shape(at, curve, picture, f"{plain(curve.label):<{_NAME_WIDTH}}")
        for last, column in _with_last(picture.size.columns):
            form = curve.form or picture.report.form
            yield f"GPRINT:c{at}{column}:  {form}" + ("\\l" if last else _GLUE)


def _lone(curves: list[Curve], picture: Picture) -> Iterator[str]:
    for at, curve in enumerate(curves):
        yield _shape(at, curve, picture, "")
        yield f"LINE1.2:c{at}{_colour(curve, picture)}"
        form = re.sub(r"%\d+\.", "%.", picture.report.form)
        for last, column in _with_last(picture.size.columns):
            lead = "" if column == picture.size.columns[0] else " "
            yield f"GPRINT:c{at}{column}:{lead}{column} {form}" + ("\\l" if last else _GLUE)


def _with_last(columns: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    for at, column in enumerate(columns, 1):
        yield at == len(columns), column


def _column_width(picture: Picture) -> int:
    """Characters that one number of the legend takes, with the gap before it."""
    extra = {"%6.1lf %sB": 9, "%6.1lf %%": 8, "%8.2lf GiB": 12}
    return extra.get(picture.report.form, 7) + 3


def _colour(curve: Curve, picture: Picture) -> str:
    return _PALETTE[curve.colour][THEMES[picture.theme]]


def _shape(at: int, curve: Curve, picture: Picture, legend: str) -> str:
    colour = _colour(curve, picture)
    alone = "77" if not legend else ""
    text = f":{legend}" if legend else ""
    if curve.draw is Draw.LINE:
        return f"LINE1.6:c{at}{colour}{text}"
    stack = ":STACK" if curve.draw is Draw.STACK else ""
    return f"AREA:c{at}{colour}{alone}{text or (':' if stack else '')}{stack}"

"""The graphs of a page: their addresses, sizes and what they say to those who cannot see them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from flask import url_for

from kcms.web import drawing
from kcms.web.files import Scope
from kcms.web.ranges import Range
from kcms.web.reports import Report
from kcms.web.services import services


@dataclass(frozen=True)
class Figure:
    """One graph on a page.  ``at`` is the end of its range: a new one has a new address."""

    report: Report
    scope: Scope
    span: Range
    at: int
    title: str
    detail: str
    alt: str
    stored: bool
    metric: bool = False

    @property
    def small(self) -> tuple[int, int]:
        """Width and height for a narrow screen."""
        return drawing.dimensions(self.report, drawing.SIZES["small"])

    @property
    def medium(self) -> tuple[int, int]:
        """Width and height for any other."""
        return drawing.dimensions(self.report, drawing.SIZES["medium"])

    def url(self, size: str, theme: str, kind: str) -> str:
        """Where the picture is."""
        values: dict[str, Any] = {"name": self.report.key, "kind": kind, "range": self.span.name}
        values |= {"theme": theme, "size": size, "at": str(self.at)}
        if self.scope.cluster is not None:
            values["cluster"] = self.scope.cluster
        if self.scope.host is not None:
            values["host"] = self.scope.host
        return url_for(f"images.{self._endpoint()}", **values)

    def _endpoint(self) -> str:
        if self.metric:
            return "metric"
        if self.scope.host is not None:
            return "host"
        return "grid" if self.scope.cluster is None else "cluster"


def figure(
    report: Report,
    scope: Scope,
    span: Range,
    stored: Container[str],
    *,
    whose: str,
    title: str = "",
    now: str = "",
    metric: bool = False,
) -> Figure:
    """The graph of ``report`` over ``span``; ``now`` is its present value in words."""
    title = title or report.title
    said = f"{title} of {whose} over the last {span.name}" + (f"; now {now}" if now else "")
    drawable = bool(drawing.drawable(report, stored, scope.summary))
    _, end = span.window(services().now())
    return Figure(report, scope, span, end, title, now, said, drawable, metric)

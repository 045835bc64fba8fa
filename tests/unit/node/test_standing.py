"""A freeze is told as a span of time; a moment of this host's clock means nothing elsewhere."""

from __future__ import annotations

from kcms.jobs.migration import MoveReport
from kcms.node.standing import aged

DUMPED = MoveReport(1, 0, 1, "", 1, "dump", True, data={"size": 7, "froze": 100.5})


def test_a_moment_becomes_a_span_as_the_report_leaves() -> None:
    for now, still in ((101.0, 0.5), (103.5, 3.0), (99.0, 0.0)):
        (told,) = aged((DUMPED,), now)
        assert told.data == {"size": 7, "still_seconds": still}


def test_other_reports_are_left_alone() -> None:
    others = (
        MoveReport(1, 0, 1, "", 1, "dump"),
        MoveReport(1, 0, 1, "", 1, "check", True, data={"memory_kib": 5}),
    )
    assert aged(others, 9.0) == others

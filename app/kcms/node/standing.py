"""For how long a job that was dumped has stood still, told as the report leaves.

The mover notes the moment of the freeze on this host's boot clock, which means nothing elsewhere;
and a figure that grows would make every look at the moves a change that is to be told at once.
"""

from __future__ import annotations

from dataclasses import replace

from kcms.jobs.migration import MoveReport

FROZE = "froze"
STILL = "still_seconds"


def aged(reports: tuple[MoveReport, ...], boottime: float) -> tuple[MoveReport, ...]:
    """The reports with the seconds since a freeze in place of its moment."""
    return tuple(_aged(each, boottime) for each in reports)


def _aged(report: MoveReport, boottime: float) -> MoveReport:
    froze = report.data.get(FROZE)
    if not isinstance(froze, float):
        return report
    data = {name: each for name, each in report.data.items() if name != FROZE}
    return replace(report, data={**data, STILL: round(max(boottime - froze, 0.0), 4)})

"""Reports as arguments of rrdtool: which curves, which formulas, and nothing unescaped."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcms.web.drawing import SIZES, Picture, arguments, drawable, escape_path, plain
from kcms.web.reports import CPU, LOAD, MEMORY, NETWORK, REPORTS, Report, single


def picture(report: Report, *stored: str, summary: bool = True, theme: str = "light") -> Picture:
    files = {name: Path(f"/rrd/{name}.rrd") for name in stored}
    return Picture(report, files, summary, (1000, 4600), theme, SIZES["medium"], "svg")


def formulas(report: Report, *stored: str, summary: bool = True) -> dict[str, str]:
    """The CDEF of each curve drawn, with the metrics' names in place of rrdtool's variables."""
    drawn = picture(report, *stored, summary=summary)
    names = sorted(drawn.files)
    found = {}
    for argument in arguments(drawn):
        if argument.startswith("CDEF:"):
            name, formula = argument.removeprefix("CDEF:").split("=", 1)
            for at in reversed(range(len(names))):
                formula = formula.replace(f"d{at}_", f"{names[at]}.")
            found[name] = formula
    return found


def test_load_of_a_summary_counts_the_nodes() -> None:
    assert formulas(LOAD, "load_one", "cpu_num", "proc_run") == {
        "c0": "load_one.,1,*",
        "c1": "proc_run.,1,*",
        "c2": "cpu_num.,1,*",
        "c3": "load_one.n,1,*",
    }


def test_load_of_a_host_has_no_count_of_nodes() -> None:
    found = formulas(LOAD, "load_one", "cpu_num", summary=False)
    assert found == {"c0": "load_one.,1,*", "c1": "cpu_num.,1,*"}


def test_share_of_a_cluster_is_the_average_over_its_nodes() -> None:
    assert formulas(CPU, "cpu_user") == {"c0": "cpu_user.,1,*,cpu_user.n,/"}
    assert formulas(CPU, "cpu_user", summary=False) == {"c0": "cpu_user.,1,*"}


def test_memory_in_use_is_what_is_not_otherwise_accounted_for() -> None:
    used = formulas(MEMORY, "mem_total", "mem_free", "mem_cached")["c0"]
    assert used == (
        "mem_total.,mem_free.,UN,0,mem_free.,IF,-,mem_cached.,UN,0,mem_cached.,IF,-,0,MAX,9.5367431640625e-07,*"
    )


def test_curves_without_their_metric_are_left_out() -> None:
    assert [curve.label for curve in drawable(NETWORK, {"bytes_out"}, True)] == ["out"]
    assert drawable(NETWORK, {"load_one"}, True) == []


def test_a_stack_without_its_ground_stands_on_zero() -> None:
    areas = [each for each in arguments(picture(CPU, "cpu_idle", "cpu_nice")) if "AREA" in each]
    assert [each.endswith(":STACK") for each in areas] == [False, True]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("report", [*REPORTS.values(), single("temp", "Celsius")])
def test_every_report_can_be_drawn_in_both_themes(report: Report, theme: str) -> None:
    found = arguments(picture(report, *report.metrics, theme=theme))
    assert found[0] == "-"
    assert "--start=1000" in found
    assert "--end=4600" in found
    assert sum(each.startswith(("AREA", "LINE1.6")) for each in found) == len(report.curves)


def test_names_never_become_variables_or_options() -> None:
    evil = "a:b --daemon=x,%s\\l"
    found = arguments(picture(single(evil, "\n:x\\"), evil, summary=False))
    assert [each for each in found if "daemon" in each] == [
        "DEF:d0_=/rrd/a\\:b --daemon=x,%s\\l.rrd:sum:AVERAGE"
    ]


def test_text_and_paths_are_escaped() -> None:
    assert plain("up: 3\n\\j\x1b") == "up\\: 3/j"
    assert len(plain("x" * 500)) == 60
    assert escape_path(Path("/rrd/a\\:b/c:d.rrd")) == "/rrd/a\\\\:b/c\\:d.rrd"


def test_kilobytes_are_drawn_as_mebibytes_and_shares_up_to_a_hundred() -> None:
    memory, share = single("mem_free", "KB"), single("cpu_user", "%")
    assert (memory.curves[0].scale, memory.unit, memory.form) == (1 / 1024, "MiB", "%8.0lf MiB")
    assert (share.upper, single("load_one", " ").upper) == (100, None)

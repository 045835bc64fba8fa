"""Pictures by the real rrdtool, from real files with known numbers."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kcms.aggregator.rrd import SUMMARY
from kcms.errors import Unavailable
from kcms.web.drawing import SIZES, Picture, arguments
from kcms.web.files import RrdFiles, Scope
from kcms.web.graphs import Graphs, Wanted, run_rrdtool
from kcms.web.ranges import RANGES
from kcms.web.reports import CPU, LOAD, MEMORY, REPORTS, Report, single

rrdtool = pytest.importorskip("rrdtool")

NOW = 1_700_000_010
STEP = 15
HOST_VALUES = {
    "load_one": 1.5,
    "cpu_num": 4,
    "proc_run": 2,
    "cpu_user": 30,
    "cpu_nice": 1,
    "cpu_system": 9,
    "cpu_wio": 5,
    "cpu_idle": 55,
    "mem_total": 1000,
    "mem_free": 300,
    "mem_cached": 200,
    "mem_shared": 50,
    "mem_buffers": 100,
    "swap_total": 500,
    "swap_free": 490,
    "bytes_in": 1000,
    "bytes_out": 2000,
}
NODES = 3


def store(path: Path, value: float, nodes: int = 0) -> None:
    """A file of one hour whose every step holds ``value`` (a sum over ``nodes``, if any)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = ["sum", "num"] if nodes else ["sum"]
    start = NOW - 3600 - STEP
    rrdtool.create(
        str(path),
        "--start",
        str(start),
        "--step",
        str(STEP),
        *(f"DS:{name}:GAUGE:120:U:U" for name in sources),
        "RRA:AVERAGE:0.5:1:300",
    )
    tail = f":{value}:{nodes}" if nodes else f":{value}"
    times = range(start + STEP, NOW + 1, STEP)
    rrdtool.update(str(path), *(f"{at}{tail}" for at in times))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("rrd")
    for name, value in HOST_VALUES.items():
        store(top / "alpha" / "alpha1" / f"{name}.rrd", value)
        store(top / "alpha" / SUMMARY / f"{name}.rrd", value * NODES, NODES)
        store(top / SUMMARY / f"{name}.rrd", value * NODES, NODES)
    store(top / "alpha" / "od:d\\name -x" / "te:mp\\.rrd", 41.5)
    return top


def curves(root: Path, scope: Scope, report: Report) -> dict[str, float]:
    """What rrdtool computes for each curve of ``report``, as an average over the hour."""
    files = RrdFiles(root).stored(scope)
    chosen = {name: path for name, path in files.items() if name in report.metrics}
    picture = Picture(
        report, chosen, scope.summary, (NOW - 3600, NOW), "light", SIZES["medium"], "svg"
    )
    given = arguments(picture)
    legends = [
        found.groups()
        for found in (
            re.match(r"(?:AREA|LINE1\.6):(c\d+)#\w+(?::(.*?))?(?::STACK)?$", a) for a in given
        )
        if found
    ]
    command = [each for each in given if each.startswith(("DEF:", "CDEF:"))]
    command += [f"XPORT:{name}:{(label or '').strip()}" for name, label in legends]
    done = subprocess.run(
        ["rrdtool", "xport", "--json", f"--start={NOW - 3600}", f"--end={NOW}", *command],
        capture_output=True,
        check=True,
        text=True,
        timeout=20,
    )
    document = json.loads(done.stdout)
    rows = [row for row in document["data"] if None not in row]
    assert len(rows) > 200
    sums = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return dict(zip(document["meta"]["legend"], sums, strict=True))


def test_load_of_the_grid(root: Path) -> None:
    found = curves(root, Scope(), LOAD)
    assert found == pytest.approx({"load": 4.5, "running": 6, "CPUs": 12, "nodes": 3})


def test_memory_of_a_cluster_in_gibibytes(root: Path) -> None:
    found = curves(root, Scope("alpha"), MEMORY)
    kilobytes = {name: value * 1024**2 for name, value in found.items()}
    assert kilobytes == pytest.approx(
        {
            "used": 1200,
            "shared": 150,
            "cached": 450,
            "buffers": 300,
            "free": 900,
            "swapped": 30,
            "total": 3000,
        }
    )


@pytest.mark.parametrize("scope", [Scope(), Scope("alpha"), Scope("alpha", "alpha1")])
def test_share_of_the_cpu_is_the_same_at_every_level(root: Path, scope: Scope) -> None:
    found = curves(root, scope, CPU)
    assert found == pytest.approx({"user": 30, "nice": 1, "system": 9, "wait": 5, "idle": 55})


def test_a_name_with_every_special_character(root: Path) -> None:
    found = curves(root, Scope("alpha", "od:d\\name -x"), single("te:mp\\", "Celsius"))
    assert list(found.values()) == pytest.approx([41.5])


@pytest.fixture
def graphs(root: Path) -> Graphs:
    return Graphs(RrdFiles(root), run_rrdtool, 2, lambda: NOW)


@pytest.mark.parametrize("name", list(REPORTS))
@pytest.mark.parametrize("scope", [Scope(), Scope("alpha"), Scope("alpha", "alpha1")])
def test_pictures_of_the_size_that_the_page_tells(graphs: Graphs, scope: Scope, name: str) -> None:
    wanted = Wanted(scope, name, RANGES["hour"], "dark", "small", "svg")
    text = gzip.decompress(graphs.draw(wanted).data).decode()
    width, height = SIZES["small"].report
    assert f'viewBox="0 0 {width} {height}"' in text
    assert text.rstrip().endswith("</svg>")


def test_png_has_twice_the_pixels(graphs: Graphs) -> None:
    wanted = Wanted(Scope(), "load", RANGES["hour"], "light", "medium", "png")
    data = graphs.draw(wanted).data
    width, height = SIZES["medium"].report
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[16:24] == (2 * width).to_bytes(4, "big") + (2 * height).to_bytes(4, "big")


def test_themes_and_values_change_the_picture(graphs: Graphs) -> None:
    wanted = Wanted(Scope("alpha"), "load", RANGES["hour"], "light", "medium", "svg")
    pictures = {
        graphs.draw(each).data
        for each in (
            wanted,
            replace(wanted, theme="dark"),
            replace(wanted, scope=Scope("alpha", "alpha1")),
            replace(wanted, span=RANGES["day"]),
        )
    }
    assert len(pictures) == 4


def test_what_rrdtool_refuses_is_one_line() -> None:
    with pytest.raises(Unavailable) as caught:
        run_rrdtool(["-", "DEF:a=/nowhere.rrd:sum:AVERAGE", "LINE1:a#000000"])
    assert str(caught.value) == "the graph cannot be drawn; the journal of the page says why"


def test_a_missing_program_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="rrdtool cannot be started"):
        run_rrdtool(["-"])

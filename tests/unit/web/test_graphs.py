"""The drawer of pictures: what it refuses, remembers, and how many it draws at once."""

from __future__ import annotations

import gzip
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from kcms.errors import InvalidRequest, NotFound
from kcms.web.files import RrdFiles, Scope
from kcms.web.graphs import CACHED_PICTURES, Graphs, Wanted
from kcms.web.ranges import RANGES

HOST = Scope("alpha", "alpha1")
LOAD = Wanted(HOST, "load", RANGES["hour"], "light", "medium", "svg")


class Drawer:
    """Stands in for rrdtool: answers with a number and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, arguments: list[str]) -> bytes:
        self.asked.append(arguments)
        return str(len(self.asked)).encode()


class Clock:
    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def graphs(tmp_path: Path, drawer: Drawer, clock: Clock) -> Graphs:
    for name in ("load_one", "temp"):
        (tmp_path / "alpha/alpha1").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"alpha/alpha1/{name}.rrd").write_bytes(b"")
    return Graphs(RrdFiles(tmp_path), drawer, 2, clock)


def test_one_picture_a_step(graphs: Graphs, drawer: Drawer, clock: Clock) -> None:
    assert gzip.decompress(graphs.draw(LOAD).data) == b"1"
    clock.now += 4.9  # the step of the hour ends at a multiple of 15
    assert gzip.decompress(graphs.draw(LOAD).data) == b"1"
    clock.now += 0.1
    assert gzip.decompress(graphs.draw(LOAD).data) == b"2"
    ends = [each for asked in drawer.asked for each in asked if each.startswith("--end")]
    assert ends == ["--end=999999990", "--end=1000000005"]


def test_every_difference_is_another_picture(graphs: Graphs, drawer: Drawer) -> None:
    for other in (
        LOAD,
        replace(LOAD, theme="dark"),
        replace(LOAD, size="small"),
        replace(LOAD, kind="png"),
        replace(LOAD, span=RANGES["day"]),
        replace(LOAD, name="temp", unit="Celsius"),
    ):
        graphs.draw(other)
    assert len({tuple(asked) for asked in drawer.asked}) == 6


def test_png_is_kept_as_it_is(graphs: Graphs) -> None:
    image = graphs.draw(replace(LOAD, kind="png"))
    assert (image.data, image.packed) == (b"1", False)


@pytest.mark.parametrize("wrong", [{"theme": "pink"}, {"size": "9"}, {"kind": "pdf"}])
def test_unknown_ways_of_drawing(graphs: Graphs, drawer: Drawer, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=r"unknown .*; known are"):
        graphs.draw(replace(LOAD, **wrong))
    assert drawer.asked == []


@pytest.mark.parametrize(
    "wanted",
    [
        replace(LOAD, name="load_one"),
        replace(LOAD, name="nothing", unit=""),
        replace(LOAD, name="memory"),
        replace(LOAD, scope=Scope("alpha", "alpha2")),
        replace(LOAD, scope=Scope("..", "alpha")),
    ],
)
def test_nothing_to_draw_from(graphs: Graphs, drawer: Drawer, wanted: Wanted) -> None:
    with pytest.raises(NotFound):
        graphs.draw(wanted)
    assert drawer.asked == []


def test_the_cache_is_bounded(graphs: Graphs, drawer: Drawer, clock: Clock) -> None:
    graphs.draw(LOAD)
    for _ in range(CACHED_PICTURES):
        clock.now += 15
        graphs.draw(LOAD)
    clock.now -= 15 * CACHED_PICTURES
    graphs.draw(LOAD)  # the oldest had to go
    assert len(drawer.asked) == CACHED_PICTURES + 2


def test_no_more_than_the_workers_draw_at_once(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "alpha/alpha1").mkdir(parents=True)
    (tmp_path / "alpha/alpha1/load_one.rrd").write_bytes(b"")
    inside, most = 0, 0
    lock, both = threading.Lock(), threading.Barrier(2, timeout=20)

    def run(arguments: list[str]) -> bytes:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        both.wait()  # two are let in together, six in three pairs
        with lock:
            inside -= 1
        return b"x"

    graphs = Graphs(RrdFiles(tmp_path), run, 2, clock)
    wanted = [replace(LOAD, span=span) for span in RANGES.values()]
    wanted.append(replace(LOAD, theme="dark"))
    threads = [threading.Thread(target=graphs.draw, args=(each,)) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most, inside) == (2, 0)

"""When what is read and sent: a table of times, with no clock."""

from __future__ import annotations

from kcms.metrics.catalog import Group, Metric, Reading
from kcms.metrics.collect import Collector
from kcms.wire.packets import Metadata, Packet, Value


def metric(name: str, threshold: float | None = None, kind: str = "float") -> Metric:
    return Metric(name, kind, "%.1f", "", "both", 60, "g", name, name, lambda _: None, threshold)


class Bench:
    """A collector of a load group (20 s, 90 s) and a constant (1200 s) with values to set."""

    def __init__(self, metadata_interval: float = 0) -> None:
        load = Group("load", 20, 90, (metric("one", 1.0), metric("five", 1.0)))
        constant = Group("constant", 1200, 1200, (metric("cpus", 0, "uint16"),))
        self.values: dict[str, Reading] = {"one": 0.0, "five": 0.0, "cpus": 4}
        self.reads = 0
        self.collector = Collector((load, constant), "me", 1000, metadata_interval)

    def at(self, now: float) -> list[str]:
        """What is sent then: ``name`` for a value, ``name?`` for a description."""
        return [shown(each) for each in self.collector.collect(now, self.read)]

    def read(self, wanted: Metric) -> Reading:
        self.reads += 1
        return self.values[wanted.name]


def shown(packet: Packet) -> str:
    assert isinstance(packet, Metadata | Value)
    return packet.name + ("?" if isinstance(packet, Metadata) else "")


ALL = ["one?", "one", "five?", "five", "cpus?", "cpus"]


def test_everything_is_told_at_the_start() -> None:
    bench = Bench()
    assert bench.collector.due() == 1000
    assert bench.at(1000) == ALL
    assert bench.collector.due() == 1020


def test_what_stands_still_is_told_by_the_time_threshold() -> None:
    bench = Bench()
    bench.at(1000)
    sent = {now: bench.at(now) for now in range(1020, 1200, 20)}
    assert {now: told for now, told in sent.items() if told} == {1100: ["one", "five"]}


def test_the_time_threshold_needs_no_reading() -> None:
    bench = Bench()
    for now in (1000, 1020, 1040, 1060, 1080):
        bench.at(now)
    reads = bench.reads
    assert bench.collector.due() == 1090
    assert bench.at(1090) == ["one", "five"]
    assert bench.reads == reads
    assert bench.collector.due() == 1100


def test_a_change_of_the_threshold_tells_the_whole_group_at_once() -> None:
    bench = Bench()
    bench.at(1000)
    bench.values["five"] = 0.99
    assert bench.at(1020) == []
    bench.values["five"] = -1.0
    assert bench.at(1040) == ["one", "five"]
    assert bench.at(1060) == []


def test_a_slow_drift_is_told_when_it_adds_up() -> None:
    bench = Bench()
    bench.at(1000)
    told = []
    for step in range(1, 5):
        bench.values["one"] = 0.4 * step
        told.append(bench.at(1000 + 20 * step))
    assert told == [[], [], ["one", "five"], []]


def test_a_constant_that_changes_is_told_when_it_is_read() -> None:
    bench = Bench()
    bench.at(1000)
    bench.values["cpus"] = 8
    assert "cpus" not in bench.at(1020)
    assert "cpus" in bench.at(2200)


def test_what_cannot_be_read_is_left_out_and_comes_with_its_description() -> None:
    bench = Bench()
    bench.values["one"] = None
    assert bench.at(1000) == ["five?", "five", "cpus?", "cpus"]
    bench.values["one"] = 0.0
    assert bench.at(1020) == ["one?", "one", "five"]


def test_a_question_is_answered_at_once_and_not_too_often() -> None:
    bench = Bench()
    bench.at(1000)
    assert not bench.collector.request("one", 1005)  # told five seconds ago
    assert bench.collector.request("cpus", 1012)
    assert not bench.collector.request("cpus", 1013)  # already on its way
    assert not bench.collector.request("unknown", 1013)
    assert bench.collector.due() == 1012
    assert bench.at(1013) == ["cpus?", "cpus"]
    assert not bench.collector.request("cpus", 1022)
    assert bench.collector.request("cpus", 1024)


def test_newcomers_are_told_everything_once() -> None:
    bench = Bench()
    bench.at(1000)
    bench.collector.announce(1003, 2.0)
    bench.collector.announce(1004, 0.5)
    assert bench.collector.due() == 1005
    assert bench.at(1005) == ALL
    bench.collector.announce(1006, 2.0)
    assert bench.collector.due() == 1020
    assert bench.at(1020) == []
    assert bench.at(1035) == ALL  # 30 s after the last time


def test_descriptions_are_repeated_where_a_site_wants_it() -> None:
    bench = Bench(metadata_interval=60)
    bench.at(1000)
    bench.values["one"] = 5.0
    assert bench.at(1020) == ["one", "five"]
    bench.values["one"] = 9.0
    assert bench.at(1060) == ["one?", "one", "five?", "five"]


def test_a_late_timer_shifts_nothing_twice() -> None:
    bench = Bench()
    bench.at(1000)
    bench.at(1500)
    assert bench.collector.due() == 1520

"""Round-robin files: Ganglia's layout, numbers that can be read back, names that stay inside."""

from __future__ import annotations

from pathlib import Path

import pytest

rrdtool = pytest.importorskip("rrdtool")

from kcms.aggregator.rrd import (  # noqa: E402
    Batch,
    RrdStore,
    Sample,
    directory,
    metric_path,
    safe_part,
)

AT = 1_700_000_010


def host(*samples: Sample) -> list[Batch]:
    return [Batch("alpha", "alpha1", samples)]


def last(path: Path) -> dict[str, float]:
    found: dict[str, float] = rrdtool.lastupdate(str(path))["ds"]
    return found


def test_layout_of_ganglia(tmp_path: Path) -> None:
    batches = [
        Batch(None, None, (Sample("load_one", 4.5, num=3),)),
        Batch("alpha", None, (Sample("load_one", 2.5, num=2),)),
        *host(Sample("load_one", 1.25), Sample("cpu_num", 4, "zero")),
    ]
    written = RrdStore(tmp_path).write(batches, AT, 15, 60)
    assert (written.created, written.updated, written.failed, written.error) == (4, 4, 0, "")
    found = {str(path.relative_to(tmp_path)): last(path) for path in tmp_path.rglob("*.rrd")}
    assert found == {
        "__SummaryInfo__/load_one.rrd": {"sum": 4.5, "num": 3},
        "alpha/__SummaryInfo__/load_one.rrd": {"sum": 2.5, "num": 2},
        "alpha/alpha1/load_one.rrd": {"sum": 1.25},
        "alpha/alpha1/cpu_num.rrd": {"sum": 4},
    }
    assert metric_path(tmp_path, "load_one", "alpha", "alpha1").exists()
    assert metric_path(tmp_path, "load_one", "alpha").exists()
    assert metric_path(tmp_path, "load_one").exists()


def test_archives_and_sources(tmp_path: Path) -> None:
    samples = [Sample("g", 1), Sample("c", 1, "positive"), Sample("d", 1, "derivative")]
    RrdStore(tmp_path).write(host(*samples), AT, 15, 60)
    facts = {
        each: rrdtool.info(str(metric_path(tmp_path, each, "alpha", "alpha1"))) for each in "gcd"
    }
    assert [facts[each]["ds[sum].type"] for each in "gcd"] == ["GAUGE", "COUNTER", "DERIVE"]
    told = facts["g"]
    assert (told["step"], told["ds[sum].minimal_heartbeat"]) == (15, 120)
    rows = [(told[f"rra[{at}].cf"], told[f"rra[{at}].pdp_per_row"], told[f"rra[{at}].rows"])
            for at in range(3)]  # fmt: skip
    assert rows == [("AVERAGE", 1, 5856), ("AVERAGE", 4, 20160), ("AVERAGE", 40, 52704)]
    assert "rra[3].cf" not in told


def test_values_come_back(tmp_path: Path) -> None:
    store = RrdStore(tmp_path)
    for round_ in range(5):
        written = store.write(host(Sample("x", 1.5 + round_)), AT + 15 * round_, 15, 60)
        assert written.failed == 0
    path = str(metric_path(tmp_path, "x", "alpha", "alpha1"))
    _, _, rows = rrdtool.fetch(path, "AVERAGE", "--start", str(AT), "--end", str(AT + 45))
    assert [row[0] for row in rows][:3] == [2.5, 3.5, 4.5]


def test_a_file_that_is_there_is_used_by_a_later_store(tmp_path: Path) -> None:
    RrdStore(tmp_path).write(host(Sample("x", 1)), AT, 15, 60)
    written = RrdStore(tmp_path).write(host(Sample("x", 2)), AT + 15, 15, 60)
    assert (written.created, written.updated) == (0, 1)


def test_files_are_made_within_the_budget_and_the_rest_later(tmp_path: Path) -> None:
    store = RrdStore(tmp_path)
    samples = [Sample(f"m{at}", at) for at in range(4)]
    first = store.write(host(*samples), AT, 15, 0)
    assert first.created + first.postponed == 4
    assert first.postponed > 0
    for round_ in range(1, 5):
        store.write(host(*samples), AT + 15 * round_, 15, 60)
    assert len(list(tmp_path.rglob("*.rrd"))) == 4


def test_a_file_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    store = RrdStore(tmp_path)
    store.write(host(Sample("x", 1)), AT, 15, 60)
    metric_path(tmp_path, "x", "alpha", "alpha1").unlink()
    assert store.write(host(Sample("x", 1)), AT + 15, 15, 60).failed == 1
    assert store.write(host(Sample("x", 1)), AT + 30, 15, 60).created == 1


def test_one_bad_file_or_name_costs_no_other(tmp_path: Path) -> None:
    store = RrdStore(tmp_path)
    store.write(host(Sample("bad", 1), Sample("good", 1)), AT, 15, 60)
    metric_path(tmp_path, "bad", "alpha", "alpha1").write_bytes(b"no rrd")
    samples = (Sample("bad", 2), Sample("x" * 300, 2), Sample("", 2), Sample("good", 2))
    written = store.write(host(*samples), AT + 15, 15, 60)
    assert (written.updated, written.failed) == (1, 3)
    assert "bad.rrd" in written.error


def test_a_directory_that_cannot_be_made_is_told_and_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "alpha"
    blocked.write_bytes(b"")
    store = RrdStore(tmp_path)
    written = store.write(host(Sample("x", 1)), AT, 15, 60)
    assert (written.created, written.failed) == (0, 1)
    assert written.error
    blocked.unlink()
    assert store.write(host(Sample("x", 1)), AT + 15, 15, 60).created == 1


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("alpha-1.lab_x:y", "alpha-1.lab_x:y"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a\0b\n", "a%00b%0A"),
        ("__SummaryInfo__", "%5F_SummaryInfo__"),
        ("é", "é"),
    ],
)
def test_names_stay_inside(name: str, part: str) -> None:
    assert safe_part(name) == part


@pytest.mark.parametrize("name", ["", "x" * 241, "é" * 121])
def test_names_that_can_be_no_file(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        safe_part(name)


@pytest.mark.parametrize("name", ["../../etc", "/etc", "..", "a/../../b"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    for place in (directory(tmp_path, name), directory(tmp_path, "c", name)):
        assert place.resolve().is_relative_to(tmp_path)
        assert len(place.relative_to(tmp_path).parts) == 2

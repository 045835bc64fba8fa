"""Sums: who counts, what counts, and how grids add up."""

from __future__ import annotations

from kcms.aggregator import summary
from kcms.wire.ganglia_xml import Cluster, Grid, Host, Metric, MetricSum


def host(name: str, tn: float = 0, *metrics: Metric, tmax: int = 20) -> Host:
    return Host(name, tn=tn, tmax=tmax, metrics=metrics)


def load(value: str, kind: str = "float", **more: int) -> Metric:
    return Metric("load_one", value, kind, " ", slope="both", **more)


def test_only_hosts_that_are_up_are_summed() -> None:
    cluster = Cluster(
        "c",
        hosts=(
            host("a", 79.9, load("1.5")),
            host("b", 80, load("100")),
            host("c", 5, load("0.25"), Metric("os_name", "Linux")),
            host("d", 30),
        ),
    )
    found = summary.of_cluster(cluster)
    assert (found.up, found.down) == (3, 1)
    assert found.metrics == {
        "load_one": MetricSum("load_one", 1.75, 2, "double", " ", "both", "gmond", ())
    }


def test_silence_goes_on_after_the_poll() -> None:
    cluster = Cluster("c", hosts=(host("a", 70, load("1")), host("b", 0, load("2"))))
    assert (summary.of_cluster(cluster, 9.9).up, summary.of_cluster(cluster, 10).up) == (2, 1)


def test_values_that_do_not_count() -> None:
    metrics = [
        load("nan"), load("text"), load("5", "string"), load("5", "timestamp"),
        load("5", dmax=10, tn=11),
    ]  # fmt: skip
    cluster = Cluster("c", hosts=tuple(host(str(at), 0, each) for at, each in enumerate(metrics)))
    assert summary.of_cluster(cluster).metrics == {}
    fresh = Cluster("c", hosts=(host("a", 0, load("5", dmax=10, tn=10)),))
    assert summary.of_cluster(fresh).metrics["load_one"].sum == 5


def test_no_tmax_counts_as_twenty_seconds() -> None:
    cluster = Cluster("c", hosts=(host("a", 79, tmax=0), host("b", 80, tmax=0)))
    assert (summary.of_cluster(cluster).up, summary.of_cluster(cluster).down) == (1, 1)


def test_grids_of_grids_add_up() -> None:
    bottom = Grid("bottom", hosts_up=100, hosts_down=1, metrics=(MetricSum("cpu_num", 800, 100),))
    middle = Grid(
        "middle",
        clusters=(Cluster("c", hosts=(host("a", 0, Metric("cpu_num", "2", "uint16")),)),),
        grids=(bottom,),
    )
    found = summary.of_grid(Grid("top", grids=(middle,)))
    assert (found.up, found.down) == (101, 1)
    assert (found.metrics["cpu_num"].sum, found.metrics["cpu_num"].num) == (802, 101)


def test_a_cluster_told_in_sums_counts_as_told() -> None:
    told = Cluster("c", hosts_up=7, hosts_down=2, metrics=(MetricSum("load_one", 3.5, 7),))
    found = summary.of_cluster(told)
    assert (found.up, found.down, found.metrics["load_one"].sum) == (7, 2, 3.5)

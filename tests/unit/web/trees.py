"""Trees for the tests of the page, with only what a test means to say."""

from __future__ import annotations

from kcms.wire.ganglia_xml import Cluster, Grid, Host, Metric


def metric(name: str, value: object, units: str = "", **more: object) -> Metric:
    """A metric; a number unless its value is text."""
    kind = "string" if isinstance(value, str) else "float"
    given = {"type": kind, "units": units, "tn": 1, "tmax": 60, "dmax": 0, "slope": "both"}
    return Metric(name=name, value=str(value), **(given | more))  # type: ignore[arg-type]


def host(name: str, *metrics: Metric, tn: float = 3, **values: object) -> Host:
    """A host heard ``tn`` seconds ago, with ``metrics`` and one more for each of ``values``."""
    told = tuple(metrics) + tuple(metric(each, value) for each, value in values.items())
    return Host(name=name, ip="10.0.0.9", tn=tn, tmax=20, gmond_started=1_699_000_000, metrics=told)


def cluster(name: str, *hosts: Host, age: float = 0) -> Cluster:
    """A cluster that answered ``age`` seconds ago."""
    return Cluster(name=name, hosts=tuple(hosts), age=age)


def grid(*clusters: Cluster, name: str = "Laboratory") -> Grid:
    """A grid."""
    return Grid(name=name, clusters=tuple(clusters))


def two_clusters() -> Grid:
    """Every state and most bands in seven nodes."""
    return grid(
        cluster(
            "beta",
            host("beta1", load_one=0.4, cpu_num=2, mem_total=2048, mem_free=1024),
            host("beta2", tn=30, load_one=2.0, cpu_num=2, mem_total=2048, mem_free=2048),
            host("beta10", tn=200, load_one=9.0, cpu_num=2, mem_total=2048, mem_free=0),
        ),
        cluster(
            "alpha",
            host("alpha1", load_one=0.0, cpu_num=4),
            host("alpha2", load_one=3.0, cpu_num=4),
            host("alpha3", load_one=4.5, cpu_num=4),
            host("alpha4"),
        ),
    )

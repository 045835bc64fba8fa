"""Our monitor and aggregator beside the real gmond, gmetric, gmetad and gstat of Debian 12."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rrdtool

from kcms.metrics import catalog
from kcms.wire.ganglia_xml import NUMERIC_TYPES, Cluster, Grid, Host, Metric
from tests.interop.conftest import NAMES, OURS, SECONDS, THEIRS, Pair
from tests.interop.ganglia import GZIP_PORT
from tests.interop.hosts import eventually

SIDES = (OURS, THEIRS)
LOADS = {"load_one", "load_five", "load_fifteen"}
CPU_SHARES = {"cpu_idle", "cpu_system", "cpu_user"}
NODE_METRICS = CPU_SHARES | LOADS | {"mem_buffers", "mem_free", "pkts_in", "pkts_out", "proc_total"}
"""What every node must tell."""
SENT_BY_GMOND = 32  # metrics of Debian's configuration that are printed as such
SOON = 20.0  # seconds; several rounds of everything that takes part


def by_name(host: Host, ages: bool = False) -> dict[str, Metric]:
    """The metrics of a host, without how old they are, as that differs between two readings."""
    return {each.name: each if ages else dataclasses.replace(each, tn=0) for each in host.metrics}


def catalogued() -> dict[str, Metric]:
    """What is to be read of each metric that we send, without its value."""
    rows = catalog.by_name(catalog.groups(0))
    del rows["heartbeat"]
    return {
        row.name: Metric(
            row.name, "", row.type, row.units, 0, row.tmax, 0, row.slope, "gmond", row.extra[::-1]
        )
        for row in rows.values()
    }


def without_values(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return {name: dataclasses.replace(each, value="") for name, each in metrics.items()}


def same_on_both(pair: Pair, host: str) -> dict[str, Metric]:
    """What our monitor and gmond tell of ``host`` at the same time, which must be the same."""

    def check() -> dict[str, Metric]:
        ours, theirs = pair.told(OURS, host), pair.told(THEIRS, host)
        assert by_name(ours) == by_name(theirs)
        assert ours.gmond_started == theirs.gmond_started != 0
        assert ours.location == theirs.location
        return by_name(ours)

    return eventually(check, SOON)


def complete(pair: Pair, host: str, count: int) -> Callable[[], None]:
    def check() -> None:
        for server in SIDES:
            assert len(pair.told(server, host).metrics) >= count, f"{server} lacks some of {host}"

    return check


@pytest.fixture(scope="session", autouse=True)
def settled(pair: Pair) -> None:
    """Both monitors know everything that both hosts send."""
    eventually(complete(pair, OURS, len(catalogued())), 2 * SOON)
    eventually(complete(pair, THEIRS, SENT_BY_GMOND), 2 * SOON)


def test_gmond_shows_every_metric_of_our_monitor(pair: Pair) -> None:
    shown = same_on_both(pair, OURS)
    assert without_values(shown) == catalogued()
    assert shown.keys() >= NODE_METRICS
    for metric in shown.values():
        assert metric.type == "string" or metric.number is not None


def test_our_monitor_shows_every_metric_of_gmond(pair: Pair) -> None:
    shown = same_on_both(pair, THEIRS)
    assert len(shown) == SENT_BY_GMOND
    assert shown.keys() >= NODE_METRICS


def test_both_monitors_measure_the_same_machine_alike(pair: Pair) -> None:
    ours, theirs = by_name(pair.told(OURS, OURS)), by_name(pair.told(THEIRS, THEIRS))
    for name in ("cpu_num", "cpu_speed", "mem_total", "swap_total", "boottime", "disk_total"):
        assert ours[name].value == theirs[name].value, name
    for name in ("machine_type", "os_name", "os_release", "gexec"):
        assert ours[name].value == theirs[name].value, name
    assert ours["cpu_num"].number == os.cpu_count()
    differing = {
        name: (ours[name], theirs[name])
        for name, each in theirs.items()
        if (each.type, each.units, each.slope, each.tmax)
        != (ours[name].type, ours[name].units, ours[name].slope, ours[name].tmax)
    }
    assert not differing


def test_names_are_the_inventorys_with_us_and_addresses_with_gmond(pair: Pair) -> None:
    for address, name in NAMES.items():
        assert pair.told(OURS, address).name == name
        assert pair.told(THEIRS, address).name == address


def test_what_is_heard_counts_as_heard_on_both_sides(pair: Pair) -> None:
    for server in SIDES:
        for address in SIDES:
            host = pair.told(server, address)
            assert host.tmax == 20
            assert host.tn < host.tmax
            assert not host.down


GMETRICS = {
    "string": "up and well",
    "int8": "-8",
    "uint8": "250",
    "int16": "-30000",
    "uint16": "60000",
    "int32": "-2000000000",
    "uint32": "4000000000",
    "float": "41.5",
    "double": "2.718281828459045",
}


@pytest.mark.parametrize("kind", GMETRICS)
def test_gmetric_of_each_type_is_shown_by_both_alike(pair: Pair, kind: str) -> None:
    name, value = f"given_{kind}", GMETRICS[kind]
    words = ["-n", name, "-v", value, "-t", kind, "-u", "Units/s", "-x", "120", "-d", "900"]
    pair.gmetric(*words, "-s", "positive", "-g", "lab,env", "-D", "What it is", "-T", "Title")
    expected = Metric(
        *(name, value, kind, "Units/s", 0, 120, 900, "positive", "gmond"),
        (("TITLE", "Title"), ("DESC", "What it is"), ("GROUP", "env"), ("GROUP", "lab")),
    )

    def check() -> tuple[Metric, Metric]:
        ours, theirs = (by_name(pair.told(server, THEIRS)) for server in SIDES)
        return ours[name], theirs[name]

    ours, theirs = eventually(check, SOON)
    assert ours == theirs
    assert dataclasses.replace(ours, extra=()) == dataclasses.replace(expected, extra=())
    assert sorted(ours.extra) == sorted(expected.extra)


def test_a_host_may_spoof_itself_but_nobody_else(pair: Pair) -> None:
    pair.gmetric("-n", "self", "-v", "1", "-t", "uint32", "-S", f"{THEIRS}:theirs1")
    pair.gmetric("-n", "forged", "-v", "1", "-t", "uint32", "-S", f"{OURS}:ours1")
    pair.gmetric("-n", "last", "-v", "1", "-t", "uint32")

    def check() -> None:
        assert "forged" in by_name(pair.told(THEIRS, OURS)), "gmond believes everybody"
        assert by_name(pair.told(OURS, THEIRS)).keys() >= {"self", "last"}

    eventually(check, SOON)
    assert "forged" not in by_name(pair.told(OURS, OURS))


def test_gmetric_again_replaces_value_and_units(pair: Pair) -> None:
    pair.gmetric("-n", "again", "-v", "1", "-t", "uint32")
    pair.gmetric("-n", "again", "-v", "2", "-t", "uint32", "-u", "turns")

    def check() -> None:
        for server in SIDES:
            metric = by_name(pair.told(server, THEIRS))["again"]
            assert (metric.value, metric.units, metric.dmax) == ("2", "turns", 0)

    eventually(check, SOON)


def test_gstat_reads_our_monitor(pair: Pair) -> None:
    said = pair.theirs.run(
        *(pair.real.program("gstat"), "-a", "-n", "-i", OURS), env=pair.real.environment
    )
    assert "Name: alpha" in said
    assert re.search(r"Hosts: 2\n", said)
    assert re.search(r"Dead Hosts: 0\n", said)
    assert {line for line in said.splitlines() if line in SIDES} == set(SIDES)


def test_our_reader_takes_gmonds_compressed_answer(pair: Pair) -> None:
    plain, packed = (pair.tree(THEIRS, port).clusters[0] for port in (8649, GZIP_PORT))
    assert packed.name == plain.name == "beta"
    assert {each.ip for each in packed.hosts} == {each.ip for each in plain.hosts} == set(SIDES)


# Round-robin files


def last(path: Path) -> dict[str, float]:
    """The last values of a file, by data source; none may be unknown."""
    found: dict[str, float | None] = rrdtool.lastupdate(str(path))["ds"]
    values = {name: value for name, value in found.items() if value is not None}
    assert values.keys() == found.keys(), f"{path} has an unknown value"
    return values


def updates(path: Path) -> int:
    return int(rrdtool.info(str(path))["last_update"])


def layout(path: Path) -> dict[str, Any]:
    """What a file is made for: its step, sources and archives, without their contents."""
    passing = r"filename|last_update|header_size|.*(last_ds|value|unknown_sec|cdp_prep.*|cur_row)"
    info = rrdtool.info(str(path))
    return {key: value for key, value in info.items() if not re.fullmatch(passing, key)}


def files(directory: Path) -> set[str]:
    return {each.stem for each in directory.glob("*.rrd")}


def numeric(host: Host) -> set[str]:
    return {each.name for each in host.metrics if each.type in NUMERIC_TYPES}


def check_stored(rrds: Path, cluster: Cluster) -> None:
    """Every numeric metric of every host has a file with a value that is told by ``cluster``."""
    assert len(cluster.hosts) == len(SIDES)
    for host in cluster.hosts:
        place = rrds / cluster.name / host.name
        assert files(place) >= numeric(host) > NODE_METRICS
        for metric in host.metrics:
            if metric.slope == "zero" and metric.type in NUMERIC_TYPES:
                assert last(place / f"{metric.name}.rrd") == {"sum": metric.number}, metric.name
    sums = rrds / cluster.name / "__SummaryInfo__"
    assert files(sums) >= NODE_METRICS
    cpus = sum(each.number or 0 for host in cluster.hosts for each in host.metrics
               if each.name == "cpu_num")  # fmt: skip
    assert last(sums / "cpu_num.rrd") == {"sum": cpus, "num": len(SIDES)}


def goes_on(path: Path) -> None:
    """``path`` is written again and again."""
    before = updates(path)

    def check() -> None:
        assert updates(path) > before

    eventually(check, SOON)


def test_gmetad_polls_our_monitor_and_stores_every_metric(pair: Pair) -> None:
    def check() -> None:
        check_stored(pair.gmetad_rrds, pair.tree(OURS, 8649).clusters[0])

    eventually(check, SOON)
    for address in SIDES:
        goes_on(pair.gmetad_rrds / "alpha" / NAMES[address] / "load_one.rrd")


def test_gmetad_tells_what_our_monitor_told(pair: Pair) -> None:
    def check() -> None:
        upper = pair.tree(THEIRS, 8651).grid
        assert upper.name == "upper"
        (alpha,) = upper.clusters
        told = {host.name: host for host in alpha.hosts}
        assert told.keys() == set(NAMES.values())
        for address, name in NAMES.items():
            wanted = by_name(pair.told(OURS, address))
            found = by_name(told[name])
            assert found == wanted

    eventually(check, SOON)


def test_our_aggregator_polls_gmond_and_stores_every_metric(pair: Pair) -> None:
    def check() -> None:
        check_stored(pair.aggregator_rrds, pair.tree(THEIRS, 8649).clusters[0])

    eventually(check, SOON)
    for address in SIDES:
        goes_on(pair.aggregator_rrds / "beta" / address / "load_one.rrd")


@pytest.mark.parametrize("metric", ["load_one", "given_float"])
@pytest.mark.parametrize("host", ["", "__SummaryInfo__"])
def test_our_files_are_laid_out_as_gmetads(pair: Pair, metric: str, host: str) -> None:
    pair.gmetric("-n", "given_float", "-v", "1.5", "-t", "float", "-s", "positive")
    theirs = pair.gmetad_rrds / "alpha" / (host or NAMES[THEIRS]) / f"{metric}.rrd"
    ours = pair.aggregator_rrds / "beta" / (host or THEIRS) / f"{metric}.rrd"

    def check() -> tuple[dict[str, Any], dict[str, Any]]:
        assert theirs.exists()
        assert ours.exists()
        return layout(ours), layout(theirs)

    ours_as, theirs_as = eventually(check, SOON)
    if metric == "given_float" and host:
        # gmetad 3.7.2 gives the number of hosts the type of the metric, which counts a constant
        assert theirs_as.pop("ds[num].type") == "COUNTER"
        assert ours_as.pop("ds[num].type") == "GAUGE"
    assert ours_as == theirs_as
    assert ours_as["step"] == 2


def lower_grid(pair: Pair) -> Grid:
    (lower,) = pair.tree(THEIRS, 8651).grid.grids
    return lower


def test_gmetad_takes_our_aggregator_as_a_data_source(pair: Pair) -> None:
    cpus = float(len(SIDES) * (os.cpu_count() or 0))

    def check() -> None:
        lower = lower_grid(pair)
        assert (lower.name, lower.authority) == ("lower", "http://head:8080/")
        assert (lower.hosts_up, lower.hosts_down) == (len(SIDES), 0)
        sums = {each.name: each for each in lower.metrics}
        assert sums.keys() >= NODE_METRICS
        assert (sums["cpu_num"].sum, sums["cpu_num"].num) == (cpus, len(SIDES))
        stored = pair.gmetad_rrds / "lower" / "__SummaryInfo__"
        assert files(stored) >= NODE_METRICS
        assert last(stored / "cpu_num.rrd") == {"sum": cpus, "num": len(SIDES)}

    eventually(check, SOON)
    goes_on(pair.gmetad_rrds / "lower" / "__SummaryInfo__" / "load_one.rrd")


def test_the_grid_over_both_of_gmetads_sources_sums_them(pair: Pair) -> None:
    stored = pair.gmetad_rrds / "__SummaryInfo__" / "cpu_num.rrd"
    cpus = float(2 * len(SIDES) * (os.cpu_count() or 0))

    def check() -> None:
        assert last(stored) == {"sum": cpus, "num": 2 * len(SIDES)}

    eventually(check, SOON)


# What follows comes last: it takes from what the others look at.


def test_text_with_the_characters_of_xml_is_shown_by_both_alike(pair: Pair) -> None:
    """gmetad tells such text unescaped, so from here on nobody can read its XML."""
    text = "a & <b> 'c' &amp;"
    pair.gmetric("-n", "awkward", "-v", text, "-t", "string")

    def check() -> None:
        for server in SIDES:
            assert by_name(pair.told(server, THEIRS))["awkward"].value == text

    eventually(check, SOON)


def test_a_gmond_that_starts_later_learns_all_of_our_monitor(pair: Pair) -> None:
    pair.end("gmond")
    pair.start("gmond")
    wanted = catalogued()

    def check() -> None:
        assert without_values(by_name(pair.told(THEIRS, OURS))) == wanted

    eventually(check, 40)


def test_our_monitor_that_starts_later_learns_all_of_gmond(pair: Pair) -> None:
    assert pair.end("monitor") == 0
    pair.start("monitor")
    wanted = without_values(by_name(pair.told(THEIRS, THEIRS)))
    sent = {name for name, each in wanted.items() if each.tmax and not name.startswith("given_")}

    def check() -> None:
        found = without_values(by_name(pair.told(OURS, THEIRS)))
        regular = {name: wanted[name] for name in sent if name in catalogued()}
        assert {name: found.get(name) for name in regular} == regular

    eventually(check, 40 + 2 * SECONDS)


def test_every_program_still_runs(pair: Pair) -> None:
    ended = {name: each.poll() for name, each in pair.daemons.items() if each.poll() is not None}
    assert not ended, pair.logs()

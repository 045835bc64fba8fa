"""Where the parts of an archive go, and which archives are refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.action.restore import (
    GAP,
    check_fits,
    gap,
    numbers,
    targets,
)
from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_archive import (
    ArchiveError,
    Manifest,
    Part,
)

NAMES = ("ca.tar", "managers/alpha.tar.gz", "managers/beta.tar.gz", "rrd/head/00001.tar.gz")
SITE: dict[str, Any] = {
    "clusters": {"alpha": {"manager": "new"}, "beta": {"manager": "b1"}},
    "aggregators": ["new"],
}


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "grid": "lab",
        "release": "0.2.0+ffff",
        "time": 1.0,
        "final": False,
        "managers": {"alpha": "head", "beta": "head"},
        "aggregators": ["head"],
        "parts": [Part(name, 1, "00", 512) for name in NAMES],
    }
    return Manifest(**{**values, **changes})


def test_parts_go_where_the_inventory_has_their_daemons_now() -> None:
    found = targets(manifest(), SITE)
    assert {host: list(row["stores"]) for host, row in found.items()} == {
        "new": ["alpha"],
        "b1": ["beta"],
    }
    assert [part["name"] for part in found["new"]["rrd"]] == ["rrd/head/00001.tar.gz"]
    assert found["b1"]["rrd"] == []


def test_of_several_aggregators_each_gets_its_own() -> None:
    parts = [Part(f"rrd/{host}/00001.tar.gz", 1, "00") for host in ("x", "y")]
    two = manifest(parts=parts, aggregators=["x", "y"])
    found = targets(two, {**SITE, "aggregators": ["y", "x"]})
    assert [found[host]["rrd"][0]["name"] for host in ("x", "y")] == [part.name for part in parts]
    with pytest.raises(ArchiveError, match="files of aggregator x, the inventory has not"):
        targets(two, {**SITE, "aggregators": ["y", "z"]})


def test_a_cluster_that_is_gone_has_no_place() -> None:
    with pytest.raises(ArchiveError, match="has cluster beta, and the inventory has not"):
        targets(manifest(), {**SITE, "clusters": {"alpha": {"manager": "new"}}})


def test_another_grids_archive_is_refused() -> None:
    with pytest.raises(ArchiveError, match="of grid 'lab', and kcms_grid is 'demo'"):
        check_fits(manifest(), "demo", "0.2.0+ffff")


@pytest.mark.parametrize("release", ["0.1.9+eeee", "0.2.0+0000", "0.2.0+ffff"])
def test_an_archive_of_this_or_an_older_release_is_taken(release: str) -> None:
    check_fits(manifest(release=release), "lab", "0.2.0+ffff")


@pytest.mark.parametrize("release", ["0.2.1+0000", "0.10.0+0000", "1.0.0+0000"])
def test_an_archive_of_a_newer_release_is_refused(release: str) -> None:
    with pytest.raises(ArchiveError, match="newer than this one"):
        check_fits(manifest(release=release), "lab", "0.2.0+ffff")


@pytest.mark.parametrize(
    ("final", "keep", "left_out"),
    [(True, True, 0), (True, False, GAP), (False, True, GAP), (False, False, GAP)],
)
def test_numbers_go_on_without_a_gap_only_where_nothing_went_on(
    final: bool, keep: bool, left_out: int
) -> None:
    assert gap(manifest(final=final), keep) == left_out


def test_numbers_compare_as_numbers() -> None:
    assert numbers("0.10.0+9abc") == (0, 10, 0)

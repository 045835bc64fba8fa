"""What the pages say of a tree."""

from __future__ import annotations

import pytest

from kcms.errors import NotFound
from kcms.web import facts
from kcms.web.bands import State
from kcms.web.view import find_host, grid_view, in_order, node_view, reading
from tests.unit.web import trees


def test_nodes_in_the_order_of_their_numbers_and_clusters_by_name() -> None:
    view = grid_view(trees.two_clusters(), 0, "")
    names = [[node.name for node in cluster.nodes] for cluster in view.clusters]
    assert names == [["alpha1", "alpha2", "alpha3", "alpha4"], ["beta1", "beta2", "beta10"]]
    assert sorted(["n10", "n9", "m", "2", "n9a", ""], key=in_order) == [
        "", "2", "m", "n9", "n9a", "n10",
    ]  # fmt: skip


def test_pictures_and_their_words() -> None:
    view = grid_view(trees.two_clusters(), 0, "")
    told = [(n.picture, n.short, n.sentence) for c in view.clusters for n in c.nodes]
    assert told == [
        ("0", "0 %", "alpha1 is up, load 0 on 4 CPUs (0 %)"),
        ("3", "75 %", "alpha2 is up, load 3 on 4 CPUs (75 %)"),
        ("4", "112 %", "alpha3 is up, load 4.5 on 4 CPUs (112 %)"),
        ("none", "no load known", "alpha4 is up, no load known"),
        ("0", "20 %", "beta1 is up, load 0.4 on 2 CPUs (20 %)"),
        ("3", "late 30 s", "beta2 is late, last heard 30 seconds ago, load 2 on 2 CPUs (100 %)"),
        ("down", "down 3 min", "beta10 is down, last heard 3 minutes ago"),
    ]


def test_sums_leave_out_what_is_down() -> None:
    beta = grid_view(trees.two_clusters(), 0, "").cluster("beta").totals
    assert (beta.up, beta.late, beta.down, beta.nodes) == (1, 1, 1, 3)
    assert (beta.cpus, beta.load, beta.total, beta.used) == (4, pytest.approx(2.4), 4096, 1024)
    whole = grid_view(trees.two_clusters(), 0, "").totals
    assert (whole.up, whole.late, whole.down) == (5, 1, 1)
    assert (whole.cpus, whole.load) == (16, pytest.approx(9.9))


def test_an_old_tree_grows_silent() -> None:
    node = trees.host("n", tn=3)
    states = [node_view(node, age, 0).state for age in (0, 18, 76, 77)]
    assert states == [State.UP, State.UP, State.UP, State.DOWN]


def test_waiting_for_the_next_answer_makes_nobody_late() -> None:
    heard, late = trees.host("n", tn=30), trees.host("n", tn=36)
    assert node_view(heard, 1, 14).state is State.UP
    assert node_view(late, 1, 14).state is State.LATE


def test_name_of_the_grid_is_the_aggregators_unless_it_has_none() -> None:
    assert grid_view(trees.grid(name="Lab"), 0, "mine").name == "Lab"
    assert grid_view(trees.grid(name="unspecified"), 0, "mine").name == "mine"


@pytest.mark.parametrize("value", ["", "n/a", "nan", "inf", "-inf", "1e999"])
def test_a_value_that_is_no_number(value: str) -> None:
    node = trees.host("n", load_one=value, cpu_num=value, mem_total=value)
    assert reading(node, "load_one") is None
    assert grid_view(trees.grid(trees.cluster("c", node)), 0, "").totals.cpus == 0


def test_unknown_names() -> None:
    tree = trees.two_clusters()
    with pytest.raises(NotFound, match="no cluster 'gamma'"):
        grid_view(tree, 0, "").cluster("gamma")
    with pytest.raises(NotFound, match="no node 'beta1' in the cluster 'alpha'"):
        find_host(tree, "alpha", "beta1")


def test_facts_of_a_node() -> None:
    now = 1_700_000_000
    node = trees.host(
        "n",
        trees.metric("os_name", "Linux"),
        trees.metric("os_release", "6.1"),
        boottime=now - 7200,
        cpu_num=4,
        cpu_speed=2600,
        load_one=1,
        mem_total=2 * 1024 * 1024,
    )
    told = dict(facts.node_facts(node, node_view(node, 2, 0), now))
    assert told["Last heard"] == "5 seconds ago"
    assert told["System"] == "Linux 6.1"
    assert told["CPUs"] == "4 at 2600 MHz"
    assert told["Load"] == "1 (25 %)"
    assert told["Memory"] == "2.0 GiB"
    assert told["Booted"].endswith("(2 hours ago)")
    assert "Swap space" not in told


def test_metrics_of_the_first_group_come_in_their_order() -> None:
    node = trees.host(
        "n",
        trees.metric("temp", 41.5, "Celsius", extra=(("GROUP", "sensors"),)),
        trees.metric("disk_free", 5.0, "GB", extra=(("GROUP", "disk"),)),
        trees.metric("mem_total", 5.0, "KB", slope="zero"),
        trees.metric("os_name", "Linux"),
        **dict.fromkeys(sorted(facts.K5), 1),
    )
    found = [(title, [each.name for each in metrics]) for title, metrics in facts.groups(node)]
    assert found == [
        ("Metrics", list(facts.K5)),
        ("More: disk", ["disk_free"]),
        ("More: sensors", ["temp"]),
    ]
    assert facts.texts(node) == [("mem_total", "5 KiB"), ("os_name", "Linux")]


def test_a_cluster_that_does_not_answer_says_so() -> None:
    told = [
        grid_view(trees.grid(trees.cluster("c", age=age)), 10, "").cluster("c").trouble
        for age in (0, 49, 50, 110)
    ]
    assert told == [
        "",
        "",
        "no monitor of this cluster has answered for 1 minute",
        "no monitor of this cluster has answered for 2 minutes",
    ]

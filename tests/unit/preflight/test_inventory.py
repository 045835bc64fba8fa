"""What can be wrong with an inventory, and the line that says so."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import lines
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_control import known_options
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_inventory import (
    Picture,
    inventory_problems,
)

OPTIONS = known_options()
ALL = {"kcms_grid": "lab"}
ALPHA = {**ALL, "kcms_cluster": "alpha", "kcms_channel": "239.2.11.71"}
BETA = {**ALL, "kcms_cluster": "beta", "kcms_channel": "239.2.11.72"}


def site() -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
    """A sound inventory: a head, clusters alpha (two nodes) and beta (one)."""
    groups = {
        "all": ["head", "alpha1", "alpha2", "beta1"],
        "kcms_head": ["head"],
        "kcms_nodes": ["alpha1", "alpha2", "beta1"],
        "alpha": ["alpha1", "alpha2"],
        "beta": ["beta1"],
    }
    given = {
        "head": {**ALL, "ansible_host": "10.0.0.1"},
        "alpha1": {**ALPHA, "ansible_host": "10.0.0.2"},
        "alpha2": {**ALPHA, "ansible_host": "10.0.0.3"},
        "beta1": {**BETA, "ansible_host": "10.0.0.4"},
    }
    return groups, given


def found(groups: dict[str, list[str]], given: dict[str, dict[str, Any]]) -> list[str]:
    return lines(inventory_problems(Picture(groups, given, OPTIONS)))


def with_variable(host: str, name: str, value: Any) -> list[str]:
    groups, given = site()
    given[host][name] = value
    return found(groups, given)


def test_a_sound_inventory_has_no_problem() -> None:
    assert found(*site()) == []


@pytest.mark.parametrize("group", ["kcms_head", "kcms_nodes"])
def test_a_missing_group_is_named(group: str) -> None:
    groups, given = site()
    del groups[group]
    assert f"inventory: group {group} is missing or empty; put" in found(groups, given)[0]


def test_a_misspelt_group_is_named_with_the_one_meant() -> None:
    groups, given = site()
    groups["kcms_node"] = ["beta1"]
    assert found(groups, given) == ["inventory: unknown group kcms_node; did you mean kcms_nodes?"]


def test_a_misspelt_variable_is_one_line_for_all_its_hosts() -> None:
    groups, given = site()
    for variables in given.values():
        variables["kcms_chanel"] = "239.2.11.71"
    assert found(groups, given) == [
        "head, alpha1, alpha2 and 1 more: unknown variable kcms_chanel; did you mean kcms_channel?"
    ]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("kcms_slots", "many", "it must be a whole number"),
        ("kcms_submit", "perhaps", "it must be true or false"),
        ("kcms_config", "x", "it must be a table"),
        ("kcms_channel_port", 70000, "a port is a number from 1 to 65535"),
        ("kcms_xml_port", 0, "a port is a number from 1 to 65535"),
        ("kcms_packages_source", "pip", "it must be one of apt, mirror, proxy, bundle"),
        ("kcms_verify_user", ["alice"], "it must be text"),
        ("kcms_shared_directory", "srv/shared", "it must be an absolute path below /"),
        ("kcms_shared_directory", "/", "it must be an absolute path below /"),
        ("kcms_prologue", "prologue.sh", "it must be an absolute path on the host"),
        ("kcms_epilogue", "~/epilogue", "it must be an absolute path on the host"),
        ("kcms_logue_seconds", 0, "it must be at least 1"),
        ("kcms_trusted_hosts", ["10.0.0.300"], "write an address or a network"),
        ("kcms_address", "127.0.0.1", "set an address others can reach"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: Any, rule: str) -> None:
    (line,) = with_variable("beta1", name, value)
    assert line.startswith("beta1: ")
    assert name in line
    assert rule in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kcms_web_port", "8081"),
        ("kcms_submit", "false"),
        ("kcms_trusted_hosts", "10.0.0.0/8"),
        ("kcms_cluster", 7),
        ("kcms_slots", True),
    ],
)
def test_what_only_a_conversion_would_make_right_is_refused(name: str, value: Any) -> None:
    """Roles use the value as it stands."""
    (line,) = [each for each in with_variable("beta1", name, value) if name in each][:1]
    assert "it must be" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kcms_slots", 8),
        ("kcms_clock_tolerance", 2),
        ("kcms_submit", False),
        ("kcms_shared_directory", ["/shared", "/scratch"]),
        ("kcms_prologue", "/etc/site/prologue"),
        ("kcms_logue_seconds", 10),
        ("kcms_trusted_hosts", ["10.0.0.0/24", "fd00::1"]),
        ("kcms_address", "10.9.9.9"),
    ],
)
def test_what_is_of_its_kind_is_taken(name: str, value: Any) -> None:
    assert with_variable("beta1", name, value) == []


def test_a_required_variable_is_asked_for() -> None:
    groups, given = site()
    del given["beta1"]["kcms_grid"]
    assert found(groups, given) == ["beta1: kcms_grid is not set; set it in the inventory"]


def test_a_node_without_cluster_is_named() -> None:
    groups, given = site()
    del given["beta1"]["kcms_cluster"]
    (line,) = found(groups, given)
    assert line.startswith("beta1: it is in kcms_nodes and kcms_cluster is not set; ")


@pytest.mark.parametrize("name", ["17", "a|b", "a&b", "a/b", "-a", "a" * 64, ""])
def test_names_the_protocols_cannot_carry_are_refused(name: str) -> None:
    groups, given = site()
    given["beta1"]["kcms_cluster"] = name
    assert any("cluster" in line for line in found(groups, given))
    groups, given = site()
    groups["kcms_head"] = [name]
    given[name] = {**ALL, "ansible_host": "10.0.0.9"}
    assert f"inventory: host name {name!r} cannot be used" in found(groups, given)[0]


def test_an_unknown_manager_is_named_with_the_host_meant() -> None:
    assert with_variable("beta1", "kcms_manager", "haed") == [
        "inventory: kcms_manager of cluster beta is 'haed', an unknown host; did you mean head?"
    ]


def test_a_cluster_with_two_settings_is_refused() -> None:
    (line,) = with_variable("alpha2", "kcms_xml_port", 8650)
    assert (
        "cluster alpha has two values of kcms_xml_port: 8649 on alpha1 and 8650 on alpha2" in line
    )


def test_one_cluster_name_in_two_groups_is_refused() -> None:
    groups, given = site()
    given["beta1"].update(ALPHA)
    written = {"alpha1": "hosts.yml:9", "alpha2": "hosts.yml:9", "beta1": "hosts.yml:15"}
    (line,) = lines(inventory_problems(Picture(groups, given, OPTIONS, written)))
    assert line.startswith("inventory: groups alpha and beta both set kcms_cluster to 'alpha'; ")


def test_groups_across_a_cluster_are_no_second_cluster() -> None:
    groups, given = site()
    groups.update(rack1=["alpha1"], rack2=["alpha2", "beta1"], fast=["alpha2"])
    assert found(groups, given) == []
    given["beta1"].update(ALPHA)
    del groups["alpha"], groups["beta"]
    written = dict.fromkeys(groups["kcms_nodes"], "hosts.yml:9")
    assert lines(inventory_problems(Picture(groups, given, OPTIONS, written))) == []


def test_two_clusters_on_one_channel_are_refused() -> None:
    (line,) = with_variable("beta1", "kcms_channel", "239.2.11.71")
    assert "clusters alpha and beta share the channel 239.2.11.71 port 8649" in line
    groups, given = site()
    given["beta1"].update(kcms_channel="239.2.11.71", kcms_channel_port=8700)
    assert found(groups, given) == []


def test_two_clusters_that_left_the_channel_out_share_the_default() -> None:
    groups, given = site()
    for variables in given.values():
        variables.pop("kcms_channel", None)
    (line,) = found(groups, given)
    assert "clusters alpha and beta share the channel 239.2.11.71 port 8649" in line


def test_a_channel_must_be_multicast() -> None:
    (line,) = with_variable("beta1", "kcms_channel", "10.0.0.7")
    assert "kcms_channel of cluster beta is '10.0.0.7'; it must be a multicast address" in line


def test_two_managers_of_one_host_need_two_ports() -> None:
    groups, given = site()
    for host in ("alpha1", "alpha2", "beta1"):
        given[host]["kcms_manager_port"] = 8660
    assert found(groups, given) == [
        "head: the managers of alpha and beta both want port 8660; "
        "leave kcms_manager_port out, or give each its own"
    ]
    given["beta1"]["kcms_manager"] = "beta1"
    assert found(groups, given) == []


def test_one_address_of_two_hosts_is_refused() -> None:
    assert with_variable("beta1", "ansible_host", "10.0.0.2") == [
        "beta1: its address 10.0.0.2 is that of alpha1; give each its own"
    ]
    assert with_variable("beta1", "kcms_address", "10.0.0.1") == [
        "beta1: its address 10.0.0.1 is that of head; give each its own"
    ]


@pytest.mark.parametrize("kind", ["mirror", "proxy"])
def test_a_mirror_or_proxy_needs_an_address(kind: str) -> None:
    groups, given = site()
    given["head"].update(kcms_packages_source=kind)
    (line,) = found(groups, given)
    assert line.startswith(f"head: kcms_packages_url is ''; a {kind} needs an address")
    given["head"].update(kcms_packages_url="http://10.0.0.1:3128")
    assert found(groups, given) == []


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("rrd", "it must be an absolute path below /"),
        ("/srv/../shared", "it must be an absolute path below /"),
        ("/srv", "all in it is given to the aggregator, and removed with it"),
        ("/shared/rrd", "put it on a disk of the host's own"),
        ("/shared", "put it on a disk of the host's own"),
    ],
)
def test_round_robin_files_lie_on_the_hosts_own_disk(path: str, rule: str) -> None:
    (line,) = with_variable("head", "kcms_rrd_directory", path)
    assert line.startswith(f"head: kcms_rrd_directory is {path!r}")
    assert line.endswith(rule)


@pytest.mark.parametrize("path", ["/sharedrrd", "/srv/rrd", "/var/lib/kcms/rrd"])
def test_a_place_beside_the_shared_directory_is_fine(path: str) -> None:
    assert with_variable("head", "kcms_rrd_directory", path) == []


def test_addresses_are_of_the_channels_kind() -> None:
    groups, given = site()
    for host in ("alpha1", "alpha2"):
        given[host]["kcms_channel"] = "ff15::4b43"
    given["alpha2"]["kcms_address"] = "2001:db8::2"
    assert found(groups, given) == [
        "alpha1: its address 10.0.0.2 is IPv4, the channel ff15::4b43 IPv6; "
        "give kcms_address and kcms_channel addresses of one kind"
    ]


def of_groups(groups: dict[str, list[str]], clusters: dict[str, str]) -> list[str]:
    given = site()[1]
    return lines(inventory_problems(Picture(groups, given, OPTIONS, {}, clusters)))


def test_a_host_in_the_groups_of_two_clusters_is_named() -> None:
    groups, _given = site()
    groups["beta"] = ["beta1", "alpha2"]
    assert of_groups(groups, {"alpha": "alpha", "beta": "beta"}) == [
        "alpha2: it is in groups alpha and beta, of clusters alpha and beta; "
        "a node is of one cluster: take it out of one of them"
    ]


def test_a_group_inside_another_may_say_otherwise() -> None:
    groups, _given = site()
    groups["lab"] = ["alpha1", "alpha2", "beta1"]
    assert of_groups(groups, {"lab": "alpha", "beta": "beta", "alpha": "alpha"}) == []

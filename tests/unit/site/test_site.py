import copy
from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils.site import (
    Inventory,
    Site,
    SiteError,
    survey,
)

GROUPS = {"kcms_head": ["head"], "kcms_nodes": ["a1", "a2", "a3", "a4", "b1"]}
VARIABLES: dict[str, dict[str, Any]] = {
    "head": {"ansible_host": "10.0.0.1"},
    **{f"a{n}": {"ansible_host": f"10.0.1.{n}", "kcms_cluster": "alpha"} for n in range(1, 5)},
    "b1": {"ansible_host": "10.0.2.1", "kcms_address": "fd00::b1", "kcms_cluster": "beta"},
}
KNOWN_NAMES = {"a1.example": "10.0.1.1", "localhost": "127.0.0.1"}


def resolve(name: str) -> str:
    if name not in KNOWN_NAMES:
        raise OSError(name)
    return KNOWN_NAMES[name]


def site(groups: dict[str, list[str]] | None = None, **changes: dict[str, Any]) -> Site:
    """The site above with other groups, or with variables of hosts changed."""
    variables = copy.deepcopy(VARIABLES)
    for host, values in changes.items():
        variables.setdefault(host, {}).update(values)
    inventory = Inventory(groups or GROUPS, lambda host, name: variables.get(host, {}).get(name))
    return survey(inventory, resolve)


def test_who_does_what() -> None:
    here = site().hosts
    assert here["head"].roles == ["gateway", "rrd", "aggregator", "web", "manager"]
    assert here["head"].units[-2:] == ["kcms-manager@alpha.service", "kcms-manager@beta.service"]
    assert here["a1"].roles == ["monitor", "node", "gateway"]
    assert here["b1"].address == "fd00::b1"


def test_managers_of_one_host_get_a_port_each() -> None:
    assert [c.manager_port for c in site().clusters.values()] == [8660, 8661]
    set_ = site(b1={"kcms_manager_port": 8660})
    assert {c.name: c.manager_port for c in set_.clusters.values()} == {"alpha": 8661, "beta": 8660}
    elsewhere = site(b1={"kcms_manager": "b1"})
    assert [c.manager_port for c in elsewhere.clusters.values()] == [8660, 8660]
    assert elsewhere.hosts["b1"].managers == ["beta"]


def test_the_text_protocol_is_off_until_a_cluster_sets_its_port() -> None:
    assert [c.text_port for c in site(a1={"kcms_text_port": 0}).clusters.values()] == [0, 0]
    there = site(b1={"kcms_text_port": 9000, "kcms_text_allowed": ["10.0.0.0/8"]}).clusters
    assert (there["alpha"].text_port, there["beta"].text_port) == (0, 9000)
    assert there["beta"].text_bind == "127.0.0.1"
    assert there["beta"].text_allowed == ["10.0.0.0/8"]
    assert there["alpha"].text_allowed == ["127.0.0.1", "::1"]


def test_aggregator_is_told_three_hosts_of_a_cluster() -> None:
    assert site(a1={"kcms_xml_port": 9000}).document()["data_sources"] == [
        '"alpha" 10.0.1.1:9000 10.0.1.2:9000 10.0.1.3:9000',
        '"beta" [fd00::b1]:8649',
    ]


def test_managers_know_who_may_speak() -> None:
    given = {"a2": {"kcms_submit": False}, "a3": {"kcms_gateway_port": 9009}}
    files = site(**given).document()["hosts_files"]
    assert files["alpha"]["hosts"] == {
        "head": {"roles": ["admin"], "address": "10.0.0.1", "gateway_port": 8659},
        "a1": {"roles": ["node", "submit"], "address": "10.0.1.1", "gateway_port": 8659},
        "a2": {"roles": ["node"], "address": "10.0.1.2"},
        "a3": {"roles": ["node", "submit"], "address": "10.0.1.3", "gateway_port": 9009},
        "a4": {"roles": ["node", "submit"], "address": "10.0.1.4", "gateway_port": 8659},
        "b1": {"roles": ["submit"], "address": "fd00::b1", "gateway_port": 8659},
    }
    assert files["beta"]["hosts"]["b1"]["roles"] == ["node", "submit"]
    assert "a2" not in files["beta"]["hosts"]


def test_certificates_of_each_daemon() -> None:
    here = site(b1={"kcms_manager": "b1"}, a2={"kcms_submit": False}).hosts
    wanted = {
        host: {c["service"]: c["uris"] for c in here[host].certificates}
        for host in ("head", "a2", "b1")
    }
    assert wanted == {
        "head": {
            "gateway": ["kcms://admin/head"],
            "manager-alpha": ["kcms://manager/alpha"],
            "web": [],
        },
        "a2": {"node": ["kcms://node/a2"]},
        "b1": {
            "node": ["kcms://node/b1"],
            "gateway": ["kcms://submit/b1"],
            "manager-beta": ["kcms://manager/beta"],
        },
    }
    assert here["b1"].certificates[0]["addresses"] == ["fd00::b1"]


def test_the_page_has_a_certificate_of_its_names_and_no_role() -> None:
    found = {
        each["service"]: each
        for each in site(head={"kcms_web_names": ["grid.example"]}).hosts["head"].certificates
    }
    assert found["web"]["names"] == ["head", "grid.example"]
    assert found["web"]["addresses"] == ["10.0.0.1"]
    assert found["web"]["uris"] == []
    assert found["gateway"]["names"] == ["head"]


def test_the_page_elsewhere_than_on_the_head_has_a_gateway() -> None:
    groups = {**GROUPS, "kcms_aggregator": ["stats"], "kcms_web": ["stats"]}
    stats = site(groups, stats={"ansible_host": "10.0.0.2"}).hosts["stats"]
    assert (stats.may, stats.roles) == (["submit"], ["gateway", "rrd", "aggregator", "web"])


def test_a_node_may_also_be_a_head() -> None:
    both = site({"kcms_head": ["a1"], "kcms_nodes": ["a1", "a2"]}).hosts["a1"]
    assert both.may == ["node", "admin"]
    assert both.roles == ["monitor", "node", "gateway", "rrd", "aggregator", "web", "manager"]


@pytest.mark.parametrize(
    ("groups", "changes", "line"),
    [
        ({"kcms_head": ["head"]}, {}, "no host in group kcms_nodes"),
        ({"kcms_nodes": ["a1"]}, {}, "no host in group kcms_head"),
        (None, {"a3": {"kcms_cluster": None}}, "a3 is in kcms_nodes and in no cluster"),
        (None, {"a3": {"kcms_manager": "a3"}}, "kcms_manager of a3 is a3, of a1 head"),
        (None, {"b1": {"kcms_manager": "elsewhere"}}, "'elsewhere'.*must be a host of"),
        (None, {"b1": {"kcms_manager_port": 99999}}, "kcms_manager_port of cluster beta, 99999"),
        (None, {"b1": {"kcms_gateway_port": 99999}}, "kcms_gateway_port of b1, 99999"),
        (None, {"b1": {"kcms_gateway_port": 99}}, "kcms_gateway_port of b1 is 99, and the gateway"),
        (
            None,
            {"a1": {"kcms_manager_port": 9}, "b1": {"kcms_manager_port": 9}},
            "alpha and beta are both on head with port 9",
        ),
        (
            None,
            {"a1": {"kcms_text_port": 9000}, "b1": {"kcms_text_port": 9000}},
            "alpha and beta are both on head, and both have kcms_text_port 9000",
        ),
        (None, {"a1": {"kcms_text_port": 99}}, "kcms_text_port of cluster alpha is 99"),
        (None, {"a1": {"ansible_host": "nowhere"}}, "a1: 'nowhere' is no address and no name"),
        (None, {"a1": {"ansible_host": "localhost"}}, "a1: localhost is this host's loopback"),
        (None, {"a1": {"kcms_cluster": "al pha"}}, "kcms_cluster of a1, 'al pha'"),
        (None, {"head": {"kcms_web_names": "grid"}}, "kcms_web_names of head must be a list"),
        (None, {"head": {"kcms_web_names": ["a b"]}}, "kcms_web_names of head: 'a b' is no host"),
        ({**GROUPS, "kcms_web": ["b1"]}, {}, "b1 is in kcms_web.*kcms_aggregator"),
    ],
)
def test_contradictions_are_one_line(
    groups: dict[str, list[str]] | None, changes: dict[str, dict[str, Any]], line: str
) -> None:
    with pytest.raises(SiteError, match=line):
        site(groups, **changes)


def test_names_are_resolved_to_addresses() -> None:
    assert site(a1={"ansible_host": "a1.example"}).hosts["a1"].address == "10.0.1.1"


def test_partitions_are_queues_of_nodes_of_their_cluster() -> None:
    found = site(a1={"kcms_partitions": {"short": ["a1", "a2"], "long": ["a3"]}})
    assert found.clusters["alpha"].partitions == [
        {"name": "short", "nodes": ["a1", "a2"]},
        {"name": "long", "nodes": ["a3"]},
    ]
    assert found.clusters["beta"].partitions == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a1"], "must be a table of names and their nodes"),
        ({"short": []}, "short must be a list of nodes, not []"),
        ({"short": "a1"}, "short must be a list of nodes, not 'a1'"),
        ({"short": ["a1", "b1"]}, "short has 'b1', which is no node of the cluster"),
    ],
)
def test_partitions_that_cannot_be_are_one_line(given: object, said: str) -> None:
    with pytest.raises(SiteError, match=r"^kcms_partitions of cluster alpha") as caught:
        site(a1={"kcms_partitions": given})
    assert said in str(caught.value)

"""The page's answer becomes hosts and groups, and nothing that could be more than that."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils import grid_hosts
from ansible_collections.kcms.cluster.plugins.plugin_utils.grid_hosts import GridError, read


def host(name: str, load: float | None = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "address": "10.0.0.1",
        "state": "up",
        "silence": 1.0,
        "load": load,
        "cpus": 4,
        "metrics": {"os_release": {"value": "6.1", "units": ""}, "gexec": {"value": 1}},
        **more,
    }


def work(availability: str, used: int = 0, drained: bool = False, why: str = "") -> dict[str, Any]:
    return {
        "availability": availability,
        "drained": drained,
        "drain_reason": why,
        "slots": 4,
        "used": used,
    }


def grid(**clusters: list[dict[str, Any]]) -> dict[str, Any]:
    return {"clusters": [{"name": name, "hosts": hosts} for name, hosts in clusters.items()]}


def groups(found: grid_hosts.GridHosts) -> dict[str, set[str]]:
    return {each.name: set(each.groups) for each in found.hosts}


def test_groups_are_those_of_the_managers_word() -> None:
    document = grid(
        alpha=[
            host("a1", 3.0, jobs=work("idle")),
            host("a2", 0.0, jobs=work("mixed", 1)),
            host("a3", 0.0, jobs=work("allocated", 4)),
            host("a4", 0.0, jobs=work("drained", 0, True, "new disk")),
            host("a5", 0.0, jobs=work("draining", 2, True)),
            host("a6", 0.0, jobs=work("down", 2, True)),
        ]
    )
    assert groups(read(document, 0)) == {
        "a1": {"alpha", "idle"},
        "a2": {"alpha", "busy"},
        "a3": {"alpha", "busy"},
        "a4": {"alpha", "drained"},
        "a5": {"alpha", "drained", "busy"},
        "a6": {"alpha", "down", "drained"},
    }


def test_without_a_manager_the_load_tells() -> None:
    document = grid(
        a=[host("n1", 0.99), host("n2", 1.0), host("n3", None), host("n4", state="down")]
    )
    assert groups(read(document, 0)) == {
        "n1": {"a", "idle"},
        "n2": {"a", "busy"},
        "n3": {"a"},
        "n4": {"a", "down"},
    }


def test_least_loaded_is_by_processor_and_only_what_takes_work() -> None:
    document = grid(
        alpha=[
            host("big", 4.0, cpus=64),
            host("small", 1.0, cpus=1),
            host("gone", 0.0, state="down"),
            host("out", 0.0, jobs=work("drained", 0, True)),
            host("silent", None),
        ],
        beta=[host("mid", 1.0, cpus=8), host("none", 0.0, cpus=0)],
    )
    assert [each.name for each in grid_hosts.least(read(document, 0).hosts, 3)] == [
        "big",
        "mid",
        "small",
    ]
    found = read(document, 2)
    chosen = [each.name for each in found.hosts if "least_loaded" in each.groups]
    assert chosen == ["big", "mid"]


def test_variables() -> None:
    document = grid(alpha=[host("a4", 0.5, jobs=work("drained", 0, True, "new disk"))])
    assert read(document, 0).hosts[0].variables == {
        "ansible_host": "10.0.0.1",
        "kcms_cluster_name": "alpha",
        "kcms_state": "up",
        "kcms_silence": 1.0,
        "kcms_load": 0.5,
        "kcms_cpus": 4,
        "kcms_metrics": {"os_release": "6.1", "gexec": 1},
        "kcms_availability": "drained",
        "kcms_drained": True,
        "kcms_drain_reason": "new disk",
        "kcms_slots": 4,
        "kcms_used": 0,
    }


@pytest.mark.parametrize(
    "address",
    [None, "", "-oProxyCommand=id", "alpha1", "10.0.0.1 -v", "fe80::1%;id", "{{ 1 }}", 7],
)
def test_what_is_no_address_is_no_host(address: object) -> None:
    found = read(grid(alpha=[host("a1", address=address), host("a2", address="fd00::2")]), 3)
    assert [each.name for each in found.hosts] == ["a2"]
    assert found.warnings == ["a1 has no address that could be used; it is left out"]


@pytest.mark.parametrize(
    "name", ["-i", "a b", "{{ x }}", "", "all", "idle", "a\nb", None, "x" * 254]
)
def test_what_is_no_name_is_no_host(name: object) -> None:
    found = read(grid(alpha=[host("a1"), {**host("x"), "name": name}]), 3)
    assert [each.name for each in found.hosts] == ["a1"]
    assert len(found.warnings) == 1


def test_a_host_that_is_there_twice_is_in_one_cluster() -> None:
    found = read(grid(alpha=[host("a1")], beta=[host("a1")]), 0)
    assert groups(found) == {"a1": {"alpha", "idle"}}
    assert found.warnings == ["a1 is there twice, once in cluster 'beta'"]


@pytest.mark.parametrize(
    ("cluster", "prefix", "group"),
    [("my-lab", "", "my_lab"), ("3rd", "", "_3rd"), ("a b", "kcms-", "kcms_a_b"), ("", "", "_")],
)
def test_names_of_groups(cluster: str, prefix: str, group: str) -> None:
    assert grid_hosts.group_name(cluster, prefix) == group


def test_a_cluster_may_not_take_the_name_of_another_group() -> None:
    with pytest.raises(GridError, match=r"cluster 'idle' would be 'idle'.*set cluster_prefix"):
        read(grid(idle=[]), 3)
    assert "c_idle" in read(grid(idle=[]), 3, "c_").groups


@pytest.mark.parametrize(
    "document", [[], {}, {"clusters": {}}, {"clusters": [1]}, {"clusters": [{"name": "a"}]}]
)
def test_another_answer_is_one_line(document: object) -> None:
    with pytest.raises(GridError, match="not that of a KCMS page: it has no list"):
        read(document, 3)


def test_numbers_that_are_none() -> None:
    odd = host("a1", cpus="4", load=float("nan"), silence=True)
    variables = read(grid(alpha=[odd]), 3).hosts[0].variables
    assert [variables[f"kcms_{each}"] for each in ("cpus", "load", "silence")] == [None] * 3

"""The page's account of the grid as hosts and groups of an inventory.  Pure.

What is in it came over the network, by way of every node's monitor: a name or an address that could
be anything but one, as an option of ssh or a template, is left out.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from typing import Any

IDLE, BUSY, DRAINED, DOWN, LEAST_LOADED = "idle", "busy", "drained", "down", "least_loaded"
GROUPS = (IDLE, BUSY, DRAINED, DOWN, LEAST_LOADED)
RESERVED = (*GROUPS, "all", "ungrouped")
IDLE_LOAD = 0.25
"""Load a processor below which a node without a word of its manager counts as idle."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


class GridError(Exception):
    """One line: what is wrong with the answer."""


@dataclass
class GridHost:
    """A host, its variables, and the groups it is in."""

    name: str
    cluster: str
    variables: dict[str, Any]
    groups: list[str] = field(default_factory=list)


@dataclass
class GridHosts:
    """All hosts, the groups there are, and one line for each thing that was left out."""

    hosts: list[GridHost] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(document: Any, least_loaded: int, prefix: str = "") -> GridHosts:
    """The hosts of what ``/api/v1/grid`` answered.

    :param least_loaded: how many hosts are in the group of that name
    :param prefix: of the names of the clusters' groups
    :raises GridError: not such a document, or a cluster whose group would be another
    """
    found = GridHosts(groups=list(GROUPS))
    seen: set[str] = set()
    for cluster in rows(document, "clusters"):
        name = str(cluster.get("name", ""))
        group = group_name(name, prefix)
        if group not in found.groups:
            found.groups.append(group)
        for row in rows(cluster, "hosts"):
            host = host_of(row, name, found.warnings)
            if host is None:
                continue
            if host.name in seen:
                found.warnings.append(f"{host.name} is there twice, once in cluster {name!r}")
                continue
            seen.add(host.name)
            host.groups.append(group)
            found.hosts.append(host)
    for host in least(found.hosts, least_loaded):
        host.groups.append(LEAST_LOADED)
    return found


def rows(document: Any, name: str) -> list[dict[str, Any]]:
    """:raises GridError: there is no list of objects of that name"""
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise GridError(f"the answer is not that of a KCMS page: it has no list {name!r}")
    return found


def group_name(cluster: str, prefix: str) -> str:
    """:raises GridError: it is that of another group"""
    name = re.sub(r"[^A-Za-z0-9_]", "_", prefix + cluster)
    if not name or name[0].isdigit():
        name = f"_{name}"
    if name in RESERVED:
        raise GridError(
            f"the group of cluster {cluster!r} would be {name!r}, which is another: "
            "set cluster_prefix"
        )
    return name


def host_of(row: dict[str, Any], cluster: str, warnings: list[str]) -> GridHost | None:
    """One host with the groups of its state; None, and a warning, if it cannot be one."""
    name, address = row.get("name"), row.get("address")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
        warnings.append(f"{name!r:.100} cannot be the name of a host; it is left out")
        return None
    if not is_address(address):
        warnings.append(f"{name} has no address that could be used; it is left out")
        return None
    jobs = row.get("jobs") if isinstance(row.get("jobs"), dict) else None
    variables = {
        "ansible_host": address,
        "kcms_cluster_name": cluster,
        "kcms_state": str(row.get("state", "")),
        "kcms_silence": number(row.get("silence")),
        "kcms_load": number(row.get("load")),
        "kcms_cpus": number(row.get("cpus")),
        "kcms_metrics": metrics(row.get("metrics")),
        **job_variables(jobs),
    }
    return GridHost(name, cluster, variables, groups_of(variables))


def job_variables(jobs: dict[str, Any] | None) -> dict[str, Any]:
    """What the cluster's manager says of a node; nothing where it did not answer."""
    if jobs is None:
        return {}
    return {
        "kcms_availability": str(jobs.get("availability", "")),
        "kcms_drained": jobs.get("drained") is True,
        "kcms_drain_reason": str(jobs.get("drain_reason") or ""),
        "kcms_slots": number(jobs.get("slots")),
        "kcms_used": number(jobs.get("used")),
    }


def metrics(given: Any) -> dict[str, Any]:
    """The values of a host's metrics by their names, numbers or texts."""
    if not isinstance(given, dict):
        return {}
    values = {
        name: each.get("value")
        for name, each in given.items()
        if isinstance(each, dict) and _NAME.fullmatch(name)
    }
    return {
        name: value if number(value) is not None else str(value) for name, value in values.items()
    }


def groups_of(variables: dict[str, Any]) -> list[str]:
    """Which of the groups of state a host is in."""
    availability = variables.get("kcms_availability")
    if variables["kcms_state"] == "down" or availability == "down":
        return [DOWN, DRAINED] if variables.get("kcms_drained") else [DOWN]
    if availability is None:
        each = per_processor(variables)
        return [] if each is None else [IDLE if each < IDLE_LOAD else BUSY]
    if variables["kcms_drained"]:
        return [DRAINED, BUSY] if variables["kcms_used"] else [DRAINED]
    return [BUSY] if variables["kcms_used"] else [IDLE]


def least(hosts: list[GridHost], count: int) -> list[GridHost]:
    """The ``count`` hosts that can take work and have the lowest load a processor."""
    able = [
        (each, host.name, host)
        for host in hosts
        if not {DOWN, DRAINED} & set(host.groups)
        and host.variables.get("kcms_availability") != "allocated"
        and (each := per_processor(host.variables)) is not None
    ]
    able.sort(key=lambda row: row[:2])
    return [host for _, _, host in able[: max(0, count)]]


def per_processor(variables: dict[str, Any]) -> float | None:
    load, cpus = variables["kcms_load"], variables["kcms_cpus"]
    return None if load is None or not cpus or cpus < 0 else float(load / cpus)


def number(value: Any) -> float | None:
    """A finite number, else None."""
    usable = type(value) in (int, float) and -1e300 < value < 1e300 and math.isfinite(value)
    return value if usable else None


def is_address(value: Any) -> bool:
    """An IPv4 or IPv6 address and nothing else: it becomes a word of ssh's command line."""
    if not isinstance(value, str):
        return False
    try:
        return "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        return False

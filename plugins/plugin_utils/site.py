"""One picture of the site, worked out from the inventory: who does what, where, on which port.

Roles read this instead of each walking over all hosts' variables, which would cost a grid of a
thousand hosts a million look-ups.  No Ansible in here: groups and variables come as plain data.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.preflight_inventory import (
    HEAD,
    NAME_RULE,
    NODES,
    good_name,
    is_port,
)

AGGREGATOR, WEB = "kcms_aggregator", "kcms_web"
SOURCES_PER_CLUSTER = 3
ROLE_ORDER = ("monitor", "node", "gateway", "rrd", "aggregator", "web", "manager")
UNITS = {
    "monitor": "kcms-monitor.service",
    "node": "kcms-node.service",
    "gateway": "kcms-gateway.service",
    "aggregator": "kcms-aggregator.service",
    "web": "kcms-web.service",
}
DEFAULT_MANAGER_PORT = 8660
DEFAULT_GATEWAY_PORT = 8659
DEFAULT_XML_PORT = 8649
DEFAULT_TEXT_BIND = "127.0.0.1"
DEFAULT_TEXT_ALLOWED = ("127.0.0.1", "::1")
PRIVILEGED_PORTS = 1024

Resolve = Callable[[str], str]


class SiteError(Exception):
    """The inventory contradicts itself; one line says where, and what would be right."""


@dataclass
class Host:
    """A host of the site.  ``roles``: our roles it has; ``may``: its roles before a manager.

    ``gateway_port`` is where its gateway listens for others; 0 where it has none.
    """

    name: str
    address: str
    cluster: str | None
    roles: list[str] = field(default_factory=list)
    may: list[str] = field(default_factory=list)
    managers: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    gateway_port: int = 0


@dataclass
class Cluster:
    """A cluster: its hosts in the inventory's order, and where its manager is."""

    name: str
    hosts: list[str]
    manager: str
    xml_port: int = DEFAULT_XML_PORT
    manager_address: str = ""
    manager_port: int = 0
    text_port: int = 0
    text_bind: str = DEFAULT_TEXT_BIND
    text_allowed: list[str] = field(default_factory=lambda: list(DEFAULT_TEXT_ALLOWED))
    partitions: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Site:
    """The whole site."""

    hosts: dict[str, Host]
    clusters: dict[str, Cluster]
    heads: list[str]
    aggregators: list[str]
    webs: list[str]

    def document(self) -> dict[str, Any]:
        """As plain data for templates, with the manager's hosts file and what each role needs."""
        return {
            **asdict(self),
            "data_sources": [self._source(cluster) for cluster in self.clusters.values()],
            "readers": sorted({self.hosts[n].address for n in (*self.heads, *self.aggregators)}),
            "managers": [
                {"name": c.name, "address": c.manager_address, "port": c.manager_port}
                for c in self.clusters.values()
            ],
            "names": {
                cluster.name: {self.hosts[n].address: n for n in cluster.hosts}
                for cluster in self.clusters.values()
            },
            "hosts_files": {name: self._hosts_file(name) for name in self.clusters},
            "manager_hosts": sorted({each.manager for each in self.clusters.values()}),
        }

    def _source(self, cluster: Cluster) -> str:
        """The aggregator's line for a cluster: hosts to ask, the next one when one is silent."""
        addresses = [self.hosts[name].address for name in cluster.hosts[:SOURCES_PER_CLUSTER]]
        shown = [f"[{each}]" if ":" in each else each for each in addresses]
        places = " ".join(f"{each}:{cluster.xml_port}" for each in shown)
        return f'"{cluster.name}" {places}'

    def _hosts_file(self, cluster: str) -> dict[str, Any]:
        """Who may speak to the cluster's manager: its own nodes as such, others' users too."""
        allowed: dict[str, dict[str, Any]] = {}
        for host in self.hosts.values():
            roles = [r for r in host.may if r != "node" or host.cluster == cluster]
            if roles:
                allowed[host.name] = {"roles": roles, "address": host.address}
                if host.gateway_port:
                    allowed[host.name]["gateway_port"] = host.gateway_port
        return {"hosts": allowed}


@dataclass(frozen=True)
class Inventory:
    """What Ansible knows: group name to hosts in order, and a host's variables by name.

    ``variable(host, name)`` is None when the host has no such variable.
    """

    groups: Mapping[str, Sequence[str]]
    variable: Callable[[str, str], Any]

    def members(self, group: str) -> list[str]:
        return list(self.groups.get(group, ()))


def survey(inventory: Inventory, resolve: Resolve) -> Site:
    """Work the site out; ``resolve`` turns a host name into an address.

    :raises SiteError: a group is empty, a name or an address cannot be used, two managers of one
        host share a port
    """
    heads, nodes = inventory.members(HEAD), inventory.members(NODES)
    for group, members in ((HEAD, heads), (NODES, nodes)):
        if not members:
            raise SiteError(f"the inventory has no host in group {group}: name at least one there")
    aggregators = inventory.members(AGGREGATOR) or heads[:1]
    webs = inventory.members(WEB) or aggregators[:1]
    apart = sorted(set(webs) - set(aggregators))
    if apart:
        raise SiteError(
            f"{apart[0]} is in {WEB}, and the page reads the round-robin files of its own host: "
            f"put it in {AGGREGATOR} too"
        )
    names = list(dict.fromkeys([*heads, *aggregators, *webs, *nodes]))
    hosts = {name: _host(inventory, name, name in nodes, resolve) for name in names}
    clusters = _clusters(inventory, hosts, heads[0])
    site = Site(hosts, clusters, heads, aggregators, webs)
    _give_ports(inventory, site)
    _give_text_ports(inventory, site)
    for cluster in site.clusters.values():
        given = inventory.variable(cluster.hosts[0], "kcms_partitions")
        cluster.partitions = list(_partitions(cluster, given or {}))
    for host in hosts.values():
        _give_roles(inventory, site, host)
    return site


def _host(inventory: Inventory, name: str, is_node: bool, resolve: Resolve) -> Host:
    if not good_name(name):
        raise SiteError(f"host name {name!r} cannot be used: {NAME_RULE}")
    given = inventory.variable(name, "kcms_address") or inventory.variable(name, "ansible_host")
    address = _address(name, str(given or name), resolve)
    cluster = inventory.variable(name, "kcms_cluster") if is_node else None
    if is_node and not cluster:
        raise SiteError(
            f"{name} is in {NODES} and in no cluster: set kcms_cluster in the group of its cluster"
        )
    if cluster and not good_name(str(cluster)):
        raise SiteError(f"kcms_cluster of {name}, {cluster!r}, cannot be used: {NAME_RULE}")
    return Host(name, address, str(cluster) if cluster else None)


def _address(host: str, given: str, resolve: Resolve) -> str:
    try:
        found = ipaddress.ip_address(given)
    except ValueError:
        try:
            found = ipaddress.ip_address(resolve(given))
        except (OSError, ValueError) as error:
            raise SiteError(
                f"{host}: {given!r} is no address and no name this machine can resolve: "
                "set kcms_address"
            ) from error
    if found.is_loopback:
        raise SiteError(f"{host}: {given} is this host's loopback to others: set kcms_address")
    return str(found)


def _clusters(inventory: Inventory, hosts: Mapping[str, Host], head: str) -> dict[str, Cluster]:
    clusters: dict[str, Cluster] = {}
    for name in inventory.members(NODES):
        cluster = str(hosts[name].cluster)
        manager = str(inventory.variable(name, "kcms_manager") or head)
        if cluster not in clusters:
            xml_port = inventory.variable(name, "kcms_xml_port") or DEFAULT_XML_PORT
            clusters[cluster] = Cluster(
                cluster, [], manager, _port(cluster, "kcms_xml_port", xml_port)
            )
        there = clusters[cluster]
        there.hosts.append(name)
        if there.manager != manager:
            raise SiteError(
                f"kcms_manager of {name} is {manager}, of {there.hosts[0]} {there.manager}: "
                f"cluster {cluster} has one manager, set it once in the group"
            )
        if manager not in hosts:
            raise SiteError(
                f"kcms_manager of cluster {cluster} is {manager!r}: "
                f"it must be a host of {HEAD} or {NODES}"
            )
    return clusters


def _give_ports(inventory: Inventory, site: Site) -> None:
    """A port for each manager: as set, else counted up from 8660 on its host."""
    taken: dict[tuple[str, int], str] = {}
    for cluster in site.clusters.values():
        cluster.manager_address = site.hosts[cluster.manager].address
        given = inventory.variable(cluster.hosts[0], "kcms_manager_port")
        if given is not None:
            cluster.manager_port = _port(cluster.name, "kcms_manager_port", given)
            _take(taken, cluster)
    for cluster in site.clusters.values():
        if not cluster.manager_port:
            cluster.manager_port = DEFAULT_MANAGER_PORT
            while (cluster.manager, cluster.manager_port) in taken:
                cluster.manager_port += 1
            _take(taken, cluster)


def _give_text_ports(inventory: Inventory, site: Site) -> None:
    """The text protocol of 2003: off, unless a cluster says where its manager shall speak it."""
    taken: dict[tuple[str, int], str] = {}
    for cluster in site.clusters.values():
        first = cluster.hosts[0]
        given = inventory.variable(first, "kcms_text_port")
        if not given or str(given) == "0":
            continue
        cluster.text_port = _port(cluster.name, "kcms_text_port", given)
        if cluster.text_port < PRIVILEGED_PORTS:
            raise SiteError(
                f"kcms_text_port of cluster {cluster.name} is {given}, and the manager is nobody's "
                f"root: choose one from {PRIVILEGED_PORTS} on"
            )
        cluster.text_bind = str(inventory.variable(first, "kcms_text_bind") or DEFAULT_TEXT_BIND)
        allowed = inventory.variable(first, "kcms_text_allowed")
        if allowed is not None:
            cluster.text_allowed = [str(each) for each in allowed]
        other = taken.setdefault((cluster.manager, cluster.text_port), cluster.name)
        if other != cluster.name:
            raise SiteError(
                f"the managers of {other} and {cluster.name} are both on {cluster.manager}, and "
                f"both have kcms_text_port {cluster.text_port}: give each its own"
            )


def _partitions(cluster: Cluster, given: Any) -> Iterator[dict[str, Any]]:
    """The queues of a cluster, as its manager is told them."""
    what = f"kcms_partitions of cluster {cluster.name}"
    if not isinstance(given, Mapping):
        raise SiteError(f"{what} must be a table of names and their nodes, not {given!r}")
    for name, nodes in given.items():
        if not isinstance(nodes, list) or not nodes:
            raise SiteError(f"{what}: {name} must be a list of nodes, not {nodes!r}")
        strangers = [each for each in nodes if each not in cluster.hosts]
        if strangers:
            raise SiteError(f"{what}: {name} has {strangers[0]!r}, which is no node of the cluster")
        yield {"name": str(name), "nodes": [str(each) for each in nodes]}


def _port(cluster: str, variable: str, given: Any) -> int:
    if not is_port(given):
        raise SiteError(f"{variable} of cluster {cluster}, {given!r}, is no port (1 to 65535)")
    return int(given)


def _take(taken: dict[tuple[str, int], str], cluster: Cluster) -> None:
    place = (cluster.manager, cluster.manager_port)
    if place in taken:
        raise SiteError(
            f"the managers of {taken[place]} and {cluster.name} are both on {place[0]} with port "
            f"{place[1]}: leave kcms_manager_port out or give each its own"
        )
    taken[place] = cluster.name


def _give_roles(inventory: Inventory, site: Site, host: Host) -> None:
    is_head = host.name in site.heads
    lends_users = inventory.variable(host.name, "kcms_submit") is not False
    host.managers = [each.name for each in site.clusters.values() if each.manager == host.name]
    if host.cluster:
        host.may.append("node")
    if is_head:
        host.may.append("admin")
    elif lends_users and (host.cluster or host.name in site.webs):
        host.may.append("submit")  # the page reaches the managers through its host's gateway
    has = {
        "monitor": host.cluster is not None,
        "node": host.cluster is not None,
        "gateway": bool({"admin", "submit"} & set(host.may)),
        "rrd": host.name in site.aggregators,
        "aggregator": host.name in site.aggregators,
        "web": host.name in site.webs,
        "manager": bool(host.managers),
    }
    host.roles = [role for role in ROLE_ORDER if has[role]]
    if has["gateway"]:
        host.gateway_port = _gateway_port(inventory, host.name)
    host.units = [UNITS[role] for role in host.roles if role in UNITS]
    host.units += [f"kcms-manager@{name}.service" for name in host.managers]
    host.certificates = list(_certificates(host, _page_names(inventory, host)))


def _gateway_port(inventory: Inventory, host: str) -> int:
    """Where a host's gateway listens for others.  :raises SiteError: it cannot"""
    given = inventory.variable(host, "kcms_gateway_port")
    if given is None:
        return DEFAULT_GATEWAY_PORT
    if not is_port(given):
        raise SiteError(f"kcms_gateway_port of {host}, {given!r}, is no port (1 to 65535)")
    if int(given) < PRIVILEGED_PORTS:
        raise SiteError(
            f"kcms_gateway_port of {host} is {given}, and the gateway is nobody's root: "
            f"choose one from {PRIVILEGED_PORTS} on"
        )
    return int(given)


def _page_names(inventory: Inventory, host: Host) -> list[str]:
    """What people call the page's host.  :raises SiteError: no list of names"""
    given = inventory.variable(host.name, "kcms_web_names") or []
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise SiteError(f"kcms_web_names of {host.name} must be a list of names, not {given!r}")
    for each in given:
        if not good_name(str(each)):
            raise SiteError(f"kcms_web_names of {host.name}: {str(each)!r} is no host name")
    return [str(each) for each in given if str(each) != host.name]


def _certificates(host: Host, page_names: list[str]) -> Iterable[dict[str, Any]]:
    """The certificates of a host: each daemon that speaks TLS has one of its own.

    That of the page carries no role: browsers look at its names, and no manager listens to it.
    """
    identities: dict[str, list[str]] = {}
    if "node" in host.may:
        identities["node"] = [f"kcms://node/{host.name}"]
    speaks = [f"kcms://{role}/{host.name}" for role in host.may if role != "node"]
    if speaks:
        identities["gateway"] = speaks
    for name in host.managers:
        identities[f"manager-{name}"] = [f"kcms://manager/{name}"]
    if "web" in host.roles:
        identities["web"] = []
    for service, uris in identities.items():
        yield {
            "host": host.name,
            "service": service,
            "names": [host.name, *(page_names if service == "web" else [])],
            "addresses": [host.address],
            "uris": uris,
        }

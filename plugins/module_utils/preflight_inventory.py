"""What can be wrong with an inventory before any host is asked.  Pure.

Every check is a generator over one :class:`Picture` and knows nothing of the others, so that one
run names everything there is to correct.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.host_places import wrong_rrd_directory
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import (
    Problem,
    some,
    suggestion,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_options import (
    INTERNAL,
    PREFIX,
    Option,
)

HEAD, NODES = "kcms_head", "kcms_nodes"
GROUPS = (HEAD, NODES, "kcms_aggregator", "kcms_web")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
NAME_RULE = "use letters, digits, '.', '-' and '_', 63 at the most, and not digits alone"
PER_CLUSTER = ("kcms_channel", "kcms_channel_port", "kcms_xml_port", "kcms_manager",
               "kcms_manager_port", "kcms_text_port", "kcms_text_bind",
               "kcms_text_allowed", "kcms_partitions")  # fmt: skip
PORTS = re.compile(r"kcms_\w*port")
MAY_BE_OFF = ("kcms_text_port", "kcms_web_tls_port")  # by a 0
NETWORKS = ("kcms_trusted_hosts", "kcms_text_allowed")


@dataclass(frozen=True)
class Picture:
    """An inventory: groups with their hosts, and the variables each host is given.

    ``origins`` tells, where it is known, the place where a host's kcms_cluster was written;
    ``clusters_of_groups`` is group to the kcms_cluster that it sets itself.
    """

    groups: Mapping[str, Sequence[str]]
    given: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Option]
    origins: Mapping[str, str] = field(default_factory=dict)
    clusters_of_groups: Mapping[str, str] = field(default_factory=dict)

    def hosts(self) -> list[str]:
        """The hosts that are ours, in the order of groups and inventory."""
        return list(dict.fromkeys(host for name in GROUPS for host in self.groups.get(name, ())))

    def value(self, host: str, name: str) -> Any:
        """The variable as set, or its default."""
        given = self.given.get(host, {}).get(name)
        if given is None and name in self.options:
            return self.options[name].default
        return given

    def clusters(self) -> dict[str, list[str]]:
        """Cluster to its nodes; nodes without a usable cluster are left out."""
        found: dict[str, list[str]] = {}
        for host in self.groups.get(NODES, ()):
            cluster = self.value(host, "kcms_cluster")
            if isinstance(cluster, str) and cluster:
                found.setdefault(cluster, []).append(host)
        return found


def inventory_problems(picture: Picture) -> list[Problem]:
    """Everything that is wrong, first the groups, then single variables, then what contradicts."""
    return [problem for check in CHECKS for problem in check(picture)]


def _groups(picture: Picture) -> Iterator[Problem]:
    for group, example in ((HEAD, "the host of aggregator and page"), (NODES, "every node")):
        if not picture.groups.get(group):
            yield Problem("", f"group {group} is missing or empty", f"put {example} into it")
    for group in picture.groups:
        if group.startswith(PREFIX) and group not in GROUPS:
            known = f"groups of ours are {', '.join(GROUPS)}"
            yield Problem("", f"unknown group {group}", suggestion(group, GROUPS, known))


def _names(picture: Picture) -> Iterator[Problem]:
    for host in picture.hosts():
        if not good_name(host):
            yield Problem("", f"host name {host!r} cannot be used", NAME_RULE)
    for cluster in picture.clusters():
        if not good_name(cluster):
            yield Problem("", f"cluster name {cluster!r} cannot be used", NAME_RULE)
    for grid in {str(picture.value(host, "kcms_grid") or "x") for host in picture.hosts()}:
        if not NAME.fullmatch(grid):
            yield Problem("", f"grid name {grid!r} cannot be used", NAME_RULE)


def good_name(name: str) -> bool:
    """Whether a host or cluster may be called so; also the survey of the site goes by this."""
    return NAME.fullmatch(name) is not None and not name.isdigit()


def _variables(picture: Picture) -> Iterator[Problem]:
    known = picture.options
    for host in picture.hosts():
        given = picture.given.get(host, {})
        for name, value in given.items():
            if name.startswith(PREFIX) and name not in known and name not in INTERNAL:
                rule = "meta/argument_specs.yml of the roles lists what there is"
                yield Problem(host, f"unknown variable {name}", suggestion(name, known, rule))
            elif name in known and value is not None:
                rule = known[name].wrong(value) or _wrong_port(name, value) or ""
                if rule:
                    yield Problem(host, f"{name} is {value!r}", rule)
        for option in known.values():
            if option.required and given.get(option.name) in (None, ""):
                yield Problem(host, f"{option.name} is not set", "set it in the inventory")


def _wrong_port(name: str, value: Any) -> str | None:
    off = name in MAY_BE_OFF and str(value) == "0"
    if PORTS.fullmatch(name) and not off and not is_port(value):
        return "a port is a number from 1 to 65535"
    return None


def is_port(value: Any) -> bool:
    """Whether something may listen there; also the survey of the site goes by this."""
    return str(value).isdigit() and 0 < int(value) < 65536


def _placement(picture: Picture) -> Iterator[Problem]:
    ours = picture.hosts()
    for host in picture.groups.get(NODES, ()):
        if not picture.value(host, "kcms_cluster"):
            right = "set it in the group of the node's cluster"
            yield Problem(host, f"it is in {NODES} and kcms_cluster is not set", right)
    for cluster, hosts in picture.clusters().items():
        manager = picture.value(hosts[0], "kcms_manager")
        if manager and manager not in ours:
            right = suggestion(str(manager), ours, f"name a host of {HEAD} or {NODES}")
            wrong = f"kcms_manager of cluster {cluster} is {manager!r}, an unknown host"
            yield Problem("", wrong, right)


def _one_setting_a_cluster(picture: Picture) -> Iterator[Problem]:
    for cluster, hosts in picture.clusters().items():
        for name in PER_CLUSTER:
            values: dict[str, str] = {}
            for host in hosts:
                values.setdefault(str(picture.value(host, name) or "no value"), host)
            if len(values) > 1:
                shown = " and ".join(f"{value} on {host}" for value, host in values.items())
                right = "set it once, in the group of the cluster, or name two clusters"
                yield Problem("", f"cluster {cluster} has two values of {name}: {shown}", right)


def _one_group_a_cluster(picture: Picture) -> Iterator[Problem]:
    """One name written for two groups is a slip; groups across a cluster, as racks, are none."""
    for cluster, hosts in picture.clusters().items():
        pure = {
            group: frozenset(members)
            for group, members in picture.groups.items()
            if members and set(members) <= set(hosts) and group not in (*GROUPS, "all")
        }
        places: dict[str, str] = {}
        for group, members in pure.items():
            written = {picture.origins.get(host, "") for host in members}
            if len(written) == 1 and not any(members < other for other in pure.values()):
                places.setdefault(written.pop(), group)
        if len(places) > 1:
            wrong = f"groups {' and '.join(sorted(places.values()))} both set kcms_cluster to "
            right = "give each cluster a name of its own, or put them into one group"
            yield Problem("", f"{wrong}{cluster!r}", right)


def _one_cluster_a_host(picture: Picture) -> Iterator[Problem]:
    """Which of two groups is heard would hang on their names; one inside the other is meant so."""
    groups = {name: set(picture.groups.get(name, ())) for name in picture.clusters_of_groups}
    for host in picture.groups.get(NODES, ()):
        mine = [name for name, members in groups.items() if host in members]
        for first, second in itertools.combinations(sorted(mine), 2):
            nested = groups[first] < groups[second] or groups[second] < groups[first]
            values = [picture.clusters_of_groups[name] for name in (first, second)]
            if values[0] != values[1] and not nested:
                wrong = f"it is in groups {first} and {second}, of clusters {' and '.join(values)}"
                yield Problem(host, wrong, "a node is of one cluster: take it out of one of them")


def _channels(picture: Picture) -> Iterator[Problem]:
    taken: dict[tuple[str, str], str] = {}
    for cluster, hosts in picture.clusters().items():
        channel = str(picture.value(hosts[0], "kcms_channel"))
        port = str(picture.value(hosts[0], "kcms_channel_port"))
        if not _multicast(channel):
            right = "it must be a multicast address, such as 239.2.11.71"
            yield Problem("", f"kcms_channel of cluster {cluster} is {channel!r}", right)
        else:
            yield from _other_family(picture, cluster, channel)
        other = taken.setdefault((channel, port), cluster)
        if other != cluster:
            wrong = f"clusters {other} and {cluster} share the channel {channel} port {port}"
            right = "give each its own kcms_channel or kcms_channel_port"
            yield Problem("", wrong, right)


def _other_family(picture: Picture, cluster: str, channel: str) -> Iterator[Problem]:
    """An interface is chosen by the host's address, which must be of the channel's kind."""
    version = ipaddress.ip_address(channel).version
    for host in picture.clusters()[cluster]:
        given = picture.given.get(host, {})
        address = str(given.get("kcms_address") or given.get("ansible_host") or host)
        try:
            found = ipaddress.ip_address(address).version
        except ValueError:
            continue  # a name, which may have addresses of both kinds
        if found != version:
            wrong = f"its address {address} is IPv{found}, the channel {channel} IPv{version}"
            right = "give kcms_address and kcms_channel addresses of one kind"
            yield Problem(host, wrong, right)


def _multicast(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_multicast
    except ValueError:
        return False


def _manager_ports(picture: Picture) -> Iterator[Problem]:
    taken: dict[tuple[str, str], str] = {}
    for cluster, hosts in picture.clusters().items():
        heads = picture.groups.get(HEAD) or [""]
        manager = str(picture.value(hosts[0], "kcms_manager") or heads[0])
        port = picture.value(hosts[0], "kcms_manager_port")
        other = taken.setdefault((manager, str(port)), cluster) if port is not None else cluster
        if other != cluster:
            wrong = f"the managers of {other} and {cluster} both want port {port}"
            yield Problem(manager, wrong, "leave kcms_manager_port out, or give each its own")


def _addresses(picture: Picture) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for host in picture.hosts():
        given = picture.given.get(host, {})
        address = str(given.get("kcms_address") or given.get("ansible_host") or host)
        if given.get("kcms_address") and not _usable_address(address):
            yield Problem(host, f"kcms_address is {address!r}", "set an address others can reach")
        other = taken.setdefault(address, host)
        if other != host:
            yield Problem(host, f"its address {address} is that of {other}", "give each its own")


def _usable_address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return NAME.fullmatch(text) is not None
    return not (found.is_loopback or found.is_multicast or found.is_unspecified)


def _shared_directory(picture: Picture) -> Iterator[Problem]:
    for host in picture.hosts():
        for path in shared_directories(picture.value(host, "kcms_shared_directory")):
            if not path.startswith("/") or path.rstrip("/") == "" or ".." in path.split("/"):
                right = "it must be an absolute path below /"
                yield Problem(host, f"kcms_shared_directory is {path!r}", right)


def _site_programs(picture: Picture) -> Iterator[Problem]:
    """Whose they are is seen where they are run."""
    for host in picture.hosts():
        for name in ("kcms_prologue", "kcms_epilogue"):
            path = str(picture.value(host, name) or "")
            if path and not path.startswith("/"):
                right = "it must be an absolute path on the host, as /etc/site/prologue"
                yield Problem(host, f"{name} is {path!r}", right)
        seconds = picture.value(host, "kcms_logue_seconds")
        if isinstance(seconds, int) and seconds < 1:
            yield Problem(host, f"kcms_logue_seconds is {seconds}", "it must be at least 1")


def _rrd_directory(picture: Picture) -> Iterator[Problem]:
    """Round-robin files are written all the time, as one user, by one host."""
    heads = picture.groups.get(HEAD) or []
    for host in picture.groups.get("kcms_aggregator") or heads[:1]:
        path = str(picture.value(host, "kcms_rrd_directory") or "")
        wrong = f"kcms_rrd_directory is {path!r}"
        right = wrong_rrd_directory(path)
        if right:
            yield Problem(host, wrong, right)
            continue
        for shared in shared_directories(picture.value(host, "kcms_shared_directory")):
            if f"{path}/".startswith(f"{shared.rstrip('/')}/"):
                right = "put it on a disk of the host's own"
                yield Problem(host, f"{wrong}, on the shared directory {shared}", right)


def shared_directories(value: Any) -> list[str]:
    """The variable is one path or a list of them."""
    return [str(each) for each in (value if isinstance(value, list | tuple) else [value]) if each]


def _trusted(picture: Picture) -> Iterator[Problem]:
    for host in picture.hosts():
        for name in NETWORKS:
            value = picture.value(host, name)
            for entry in value if isinstance(value, list) else []:
                try:
                    ipaddress.ip_network(str(entry), strict=False)
                except ValueError:
                    right = "write an address or a network, such as 192.0.2.0/24"
                    yield Problem(host, f"{name} has {entry!r}", right)


def _packages(picture: Picture) -> Iterator[Problem]:
    for host in picture.hosts():
        kind = str(picture.value(host, "kcms_packages_source") or "apt")
        url = str(picture.value(host, "kcms_packages_url") or "")
        if kind in ("mirror", "proxy") and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
            right = f"a {kind} needs an address such as http://HOST:PORT/"
            yield Problem(host, f"kcms_packages_url is {url!r}", right)


def _pages(picture: Picture) -> Iterator[Problem]:
    for host in picture.groups.get("kcms_web", ()):
        aggregators = picture.groups.get("kcms_aggregator") or picture.groups.get(HEAD) or [host]
        if host not in aggregators:
            wrong = "it is in kcms_web, and round-robin files are on the aggregator's host"
            yield Problem(host, wrong, f"put it into kcms_aggregator, or use {some(aggregators)}")


CHECKS: tuple[Callable[[Picture], Iterator[Problem]], ...] = (
    _groups,
    _names,
    _variables,
    _placement,
    _one_setting_a_cluster,
    _one_group_a_cluster,
    _one_cluster_a_host,
    _channels,
    _manager_ports,
    _addresses,
    _shared_directory,
    _site_programs,
    _rrd_directory,
    _trusted,
    _packages,
    _pages,
)

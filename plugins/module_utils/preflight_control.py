"""The control node's part of the preflight: what to ask each host, and the inventory as a picture.

Reads the roles' files of this collection; contacts no host.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.kcms.cluster.plugins.module_utils import packages_bundle
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import Problem, lines
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_config import (
    APP,
    config_problems,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_hosts import Target
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_inventory import (
    Picture,
    inventory_problems,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_options import (
    INTERNAL,
    PREFIX,
    Option,
    options,
)

ROLES = Path(__file__).resolve().parents[2] / "roles"
CONNECTION = ("ansible_host",)


def newest_schema() -> int:
    """The version of the job stores that the managers of this collection make."""
    if str(APP) not in sys.path:
        sys.path.append(str(APP))
    from kcms.manager.schema import VERSION

    return VERSION


def known_options(roles: Path = ROLES) -> dict[str, Option]:
    """Every variable of the roles below ``roles``."""
    specifications = [_yaml(path) for path in sorted(roles.glob("*/meta/argument_specs.yml"))]
    return options(specifications, [_yaml(p) for p in sorted(roles.glob("*/defaults/main.yml"))])


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def check_inventory(task_vars: Mapping[str, Any]) -> list[str]:
    """Lines of what is wrong with the inventory, without asking any host."""
    groups = {str(name): [str(h) for h in hosts] for name, hosts in task_vars["groups"].items()}
    ours = Picture(groups, {}, {}).hosts()
    given: dict[str, dict[str, Any]] = {}
    broken: list[Problem] = []
    for host in ours:
        given[host] = {}
        for name, value in _variables(task_vars["hostvars"], host):
            if isinstance(value, AnsibleError):
                reason = str(value).splitlines()[0].rstrip(".")
                broken.append(Problem(host, f"{name} cannot be worked out", f"{reason}"))
            else:
                given[host][name] = value
    broken += (problem for host in ours for problem in config_problems(host, given[host]))
    origins = {host: _origin(task_vars["hostvars"], host) for host in ours}
    picture = Picture(
        groups, given, known_options(), origins, _clusters_of_groups(task_vars["hostvars"])
    )
    return lines([*broken, *inventory_problems(picture)])


def _origin(hostvars: Any, host: str) -> str:
    """Where the host's kcms_cluster was written; empty where this Ansible does not tell."""
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return ""
    return str(Origin.get_tag(hostvars.raw_get(host).get("kcms_cluster")) or "")


def _clusters_of_groups(hostvars: Any) -> dict[str, str]:
    """Group to the kcms_cluster that it sets itself; empty where this Ansible does not tell."""
    inventory, loader = getattr(hostvars, "_inventory", None), getattr(hostvars, "_loader", None)
    found: dict[str, str] = {}
    for name, group in getattr(inventory, "groups", {}).items():
        values = dict(group.get_vars())
        sources = getattr(inventory, "_sources", [])
        values |= get_vars_from_inventory_sources(loader, sources, [group], "task")
        if isinstance(values.get("kcms_cluster"), str):
            found[str(name)] = str(values["kcms_cluster"])
    return found


def _variables(hostvars: Any, host: str) -> Iterator[tuple[str, Any]]:
    values = hostvars[host]  # once: it is worked out anew each time
    for name in hostvars.raw_get(host):
        if name in CONNECTION or (name.startswith(PREFIX) and name not in INTERNAL):
            try:
                yield name, plain(values.get(name))
            except AnsibleError as error:
                yield name, error


def plain(value: Any) -> Any:
    """Without Ansible's own kinds of strings and containers."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def listeners(
    site: Mapping[str, Any], host: str, setting: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """``PROTOCOL PORT``, what listens there and the variable behind it, of all that ``host`` runs.

    ``site`` is the document of kcms.cluster.site; ``setting`` holds the host's variables.
    """
    roles = site["hosts"][host]["roles"]
    wanted = (
        ("monitor", "udp", "the channel", "kcms_channel_port"),
        ("monitor", "tcp", "the monitor", "kcms_xml_port"),
        ("gateway", "tcp", "the gateway", "kcms_gateway_port"),
        ("aggregator", "tcp", "the aggregator", "kcms_aggregator_port"),
        ("web", "tcp", "the page", "kcms_web_port"),
        ("web", "tcp", "the page over TLS", "kcms_web_tls_port"),
    )
    found = [
        (f"{kind} {setting[name]}", what, name)
        for role, kind, what, name in wanted
        if role in roles and setting[name]
    ]
    for cluster in site["hosts"][host]["managers"]:
        ours = site["clusters"][cluster]
        what = f"the manager of {cluster}"
        found.append((f"tcp {ours['manager_port']}", what, "kcms_manager_port"))
        if ours.get("text_port"):
            found.append(
                (f"tcp {ours['text_port']}", f"the text port of {cluster}", "kcms_text_port")
            )
    return found


def ports_of(site: Mapping[str, Any], host: str, setting: Mapping[str, Any]) -> dict[str, str]:
    """``PROTOCOL PORT`` to the variable behind it, for every port that ``host`` will listen on."""
    return {place: name for place, _what, name in listeners(site, host, setting)}


def targets_of(site: Mapping[str, Any], host: str, play: Sequence[str]) -> list[Target]:
    """What ``host`` must reach: managers, from the aggregator the monitors of nodes of this
    ``play``, and from the head, whose users reach every node, their gateways.

    (Those of every host to every other would be as many as the square of the hosts.)
    """
    here = site["hosts"][host]
    found = []
    for name, cluster in site["clusters"].items():
        speaks = "gateway" in here["roles"] or here["cluster"] == name
        if speaks and cluster["manager"] != host:
            what = f"the manager of {name}"
            address, port = cluster["manager_address"], cluster["manager_port"]
            found.append(Target(address, port, what, cluster["manager"]))
        for node in cluster["hosts"] if "aggregator" in here["roles"] else ():
            if node in play and node != host:
                address = site["hosts"][node]["address"]
                found.append(Target(address, cluster["xml_port"], "the monitor", node))
        for node in cluster["hosts"] if host in site["heads"] else ():
            port = site["hosts"][node]["gateway_port"]
            if port and node in play and node != host:
                found.append(Target(site["hosts"][node]["address"], port, "the gateway", node))
    return found


def managed_by(site: Mapping[str, Any], managed: Mapping[str, str]) -> dict[str, str]:
    """Cluster to the inventory host whose manager a node obeys; addresses of no host are left out.

    ``managed`` is cluster to the manager's address, as the node's settings have it.
    """
    names = {row["address"]: name for name, row in site["hosts"].items()}
    return {cluster: names[each] for cluster, each in managed.items() if each in names}


def bundle_problems(facts: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Hosts that need a bundle which is not there and cannot be built here."""
    found = []
    for host, row in facts.items():
        if row["missing"] and row["bundle_directory"]:
            release, architecture = row["os"]["codename"], row["architecture"]
            reason = packages_bundle.why_not(row["bundle_directory"], release, architecture)
            if reason:
                wrong, _, right = reason.partition("; ")
                found.append(Problem(host, f"no bundle of OS packages is there: {wrong}", right))
    return found

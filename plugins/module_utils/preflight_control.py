"""The control node's part of the preflight: what to ask each host, and the inventory as a picture.

Reads the roles' files of this collection; contacts no host.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from ansible.errors import AnsibleError
from ansible_collections.kcms.cluster.plugins.module_utils import packages_bundle
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import (
    Problem,
    lines,
    suggestion,
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

APP = Path(__file__).resolve().parents[2] / "app"
ROLES = Path(__file__).resolve().parents[2] / "roles"
CONNECTION = ("ansible_host",)


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
    picture = Picture(groups, given, known_options(), origins)
    return lines([*broken, *inventory_problems(picture)])


def config_problems(host: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    """What no daemon knows, or would take, of the host's kcms_config."""
    overrides = given.get("kcms_config")
    if not isinstance(overrides, dict) or not overrides:
        return
    if str(APP) not in sys.path:
        sys.path.append(str(APP))
    from kcms import config

    for daemon, settings in overrides.items():
        schema = config.SCHEMAS.get(daemon)
        if schema is None or not isinstance(settings, dict):
            right = "write it as {DAEMON: {SETTING: VALUE}} with a daemon of "
            yield Problem(host, f"kcms_config has {daemon!r}", right + ", ".join(config.SCHEMAS))
            continue
        hints = get_type_hints(schema)
        for name, value in settings.items():
            wrong = f"kcms_config.{daemon}.{name}"
            if name not in hints:
                right = suggestion(name, hints, f"known: {', '.join(hints)}")
                yield Problem(host, f"{wrong} is no setting", right)
            else:
                yield from _wrong_setting(host, wrong, hints[name], value)


def _wrong_setting(host: str, name: str, kind: Any, value: Any) -> Iterator[Problem]:
    from kcms import config
    from kcms.errors import ConfigError

    try:
        config._convert(kind, value, name)
    except ConfigError as error:
        yield Problem(host, str(error), "correct it in the inventory")


def _origin(hostvars: Any, host: str) -> str:
    """Where the host's kcms_cluster was written; empty where this Ansible does not tell."""
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return ""
    return str(Origin.get_tag(hostvars.raw_get(host).get("kcms_cluster")) or "")


def _variables(hostvars: Any, host: str) -> Iterator[tuple[str, Any]]:
    for name in hostvars.raw_get(host):
        if name in CONNECTION or (name.startswith(PREFIX) and name not in INTERNAL):
            try:
                yield name, plain(hostvars[host].get(name))
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


def ports_of(site: Mapping[str, Any], host: str, setting: Mapping[str, Any]) -> dict[str, str]:
    """``PROTOCOL PORT`` to the variable behind it, for every port that ``host`` will listen on.

    ``site`` is the document of kcms.cluster.site; ``setting`` holds the host's variables.
    """
    roles = site["hosts"][host]["roles"]
    wanted = (
        ("monitor", "udp", "kcms_channel_port"),
        ("monitor", "tcp", "kcms_xml_port"),
        ("aggregator", "tcp", "kcms_aggregator_port"),
        ("web", "tcp", "kcms_web_port"),
        ("web", "tcp", "kcms_web_tls_port"),
    )
    found = {
        f"{kind} {setting[name]}": name
        for role, kind, name in wanted
        if role in roles and setting[name]
    }
    for cluster in site["hosts"][host]["managers"]:
        ours = site["clusters"][cluster]
        found[f"tcp {ours['manager_port']}"] = "kcms_manager_port"
        if ours.get("text_port"):
            found[f"tcp {ours['text_port']}"] = "kcms_text_port"
    return found


def targets_of(site: Mapping[str, Any], host: str, play: Sequence[str]) -> list[Target]:
    """What ``host`` must reach: managers, and from the aggregator the nodes of this ``play``."""
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

"""What can be wrong with hosts, judged from what each one said of itself.  Pure.

``Seen`` holds the answers of kcms.cluster.preflight_info by host, only of those in this play: with
``--limit`` hosts are compared with each other, never with hosts that were not asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.preflight import Problem, some

RELEASES = ("12", "13")
KERNEL = (6, 1)
SYSTEMD = 252
PYTHON = (3, 11)
MIB = 2**20
# State and logs of years; releases of our code; what the packages unpack to; their archives.
SPACE = {"/var/lib": 256 * MIB, "/opt": 32 * MIB}
SPACE_TO_INSTALL = {"/usr": 256 * MIB, "/var/tmp": 128 * MIB}  # noqa: S108 - of free space
FIREWALL = {
    "silent": "no answer: a firewall drops it",
    "unreachable": "no route, or a firewall rejects it",
    "prohibited": "a firewall rejects it",
}


@dataclass(frozen=True)
class Target:
    """A port that a host must reach: ``what`` listens there, on inventory host ``other``."""

    address: str
    port: int
    what: str
    other: str


@dataclass(frozen=True)
class Seen:
    """``facts[host]`` are the module's, and of the control node:

    - ``clock``: (earliest, latest) seconds the host's clock can be ahead of the control node's
    - ``asked``: ``PROTOCOL PORT`` to the variable that sets this port
    - ``listeners``: (``PROTOCOL PORT``, what of ours listens there, the variable), of the rollout
    - ``wanted_users``: users that this node must know
    - ``targets``: ports of others that the host was to connect to
    - ``manager_hosts``: cluster to the inventory host of its manager
    """

    facts: Mapping[str, Mapping[str, Any]]
    clock_tolerance: float = 5.0

    def without(self, hosts: Collection[str]) -> Seen:
        facts = {host: row for host, row in self.facts.items() if host not in hosts}
        return Seen(facts, self.clock_tolerance)


def host_problems(seen: Seen) -> list[Problem]:
    """Everything that is wrong.  A host of an unsupported system is told that alone."""
    strangers = list(_systems(seen))
    rest = seen.without({problem.where for problem in strangers})
    return strangers + [problem for check in CHECKS for problem in check(rest)]


def _systems(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        system = facts["os"]
        if system["id"] != "debian" or system["version"] not in RELEASES:
            right = f"only Debian {' and '.join(RELEASES)} are supported: install one of them"
            yield Problem(host, f"it runs {system['name']}", right)


def _versions(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        if version(facts["kernel"]) < KERNEL:
            yield Problem(host, f"its kernel is {facts['kernel']}", "boot Linux 6.1 or newer")
        if facts["systemd"] == 0:
            yield Problem(host, "systemd does not run it", "boot it with systemd")
        elif facts["systemd"] < SYSTEMD:
            yield Problem(host, f"its systemd is {facts['systemd']}", f"{SYSTEMD} is needed")
        if not facts["cgroup2"]:
            right = "boot it with systemd.unified_cgroup_hierarchy=1"
            yield Problem(host, "/sys/fs/cgroup is not cgroup v2", right)
        if version(facts["python"]) < PYTHON:
            right = "set ansible_python_interpreter to /usr/bin/python3"
            yield Problem(host, f"Ansible's Python there is {facts['python']}, not 3.11", right)


def version(text: str) -> tuple[int, int]:
    """The first two numbers of a version; (0, 0) when there are none."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _shared(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        for path, kind in facts["shared"].items():
            if kind == "missing":
                right = "mount the shared file system there, or set kcms_shared_directory"
                yield Problem(host, f"there is no shared directory {path}", right)
            elif kind == "other":
                right = "set kcms_shared_directory to the shared one"
                yield Problem(host, f"{path} is no directory", right)


def _clocks(seen: Seen) -> Iterator[Problem]:
    """Of three and more hosts the middle clock is right, of fewer the control node's."""
    clocks = {host: facts["clock"] for host, facts in seen.facts.items()}
    many = len(clocks) > 2
    right_one = median(sum(span) / 2 for span in clocks.values()) if many else 0.0
    others = "of the other hosts" if many else "of the control node"
    for host, (earliest, latest) in clocks.items():
        ahead = earliest - right_one if earliest > right_one else min(latest - right_one, 0.0)
        if abs(ahead) > seen.clock_tolerance:
            way = "ahead" if ahead > 0 else "behind"
            wrong = f"its clock is at least {abs(ahead):.0f} s {way} of that {others}"
            right = f"switch on time synchronisation ({seen.clock_tolerance:g} s are tolerated)"
            yield Problem(host, wrong, right)


def _taken_ports(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        for row in facts["ports"]:
            if row["unit"].startswith("kcms-"):
                continue
            name = row["program"] or "another program"
            by = f"{name} (pid {row['pid']})" if row["pid"] else name
            setting = facts["asked"].get(f"{row['proto']} {row['port']}", "its setting")
            wrong = f"{row['proto'].upper()} port {row['port']} is taken by {by}"
            yield Problem(host, wrong, f"stop it there, or change {setting}")


def _own_ports(seen: Seen) -> Iterator[Problem]:
    """Two of our own daemons on one port of a host."""
    for host, facts in seen.facts.items():
        places: dict[str, tuple[str, str]] = {}
        for place, what, setting in facts["listeners"]:
            first, other = places.setdefault(place, (what, setting))
            if first != what:
                kind, _, port = place.partition(" ")
                wrong = f"{first} and {what} both want {kind.upper()} port {port}"
                yield Problem(host, wrong, f"change {other} or {setting}")


def _moved_managers(seen: Seen) -> Iterator[Problem]:
    """A manager has its cluster's jobs: another one elsewhere would begin without them."""
    for host, facts in seen.facts.items():
        for cluster in facts["managers"]:
            wanted = facts["manager_hosts"].get(cluster, "no host")
            if wanted == host:
                continue
            store = f"/var/lib/kcms/manager-{cluster}"
            wrong = (
                f"it has the manager of {cluster} and its jobs, the inventory puts it on {wanted}"
            )
            right = (
                f"set kcms_manager back, or: systemctl disable --now kcms-manager@{cluster}, move "
                f"{store} and remove /etc/kcms/manager-{cluster}.toml"
            )
            yield Problem(host, wrong, right)


def _unseen_managers(seen: Seen) -> Iterator[Problem]:
    """A manager would begin anew while the one that nodes obey is out of sight, with its jobs."""
    for host, facts in seen.facts.items():
        for cluster, there in facts.get("managed", {}).items():
            wanted = facts["manager_hosts"].get(cluster, there)
            new = wanted in seen.facts and cluster not in seen.facts[wanted]["managers"]
            if wanted != there and there not in seen.facts and new:
                wrong = f"it obeys the manager of {cluster} on {there}, which this run does not see"
                right = (
                    f"the inventory puts a new one on {wanted}: bring {there} up and run without "
                    f"--limit, set kcms_manager back, or take {there} out of the inventory"
                )
                yield Problem(host, wrong, right)


def unreached_problems(silent: Collection[str], managers: Collection[str]) -> list[Problem]:
    """Of the hosts that were not reached, those without which nothing can be rolled out."""
    right = "bring it up first: nodes can do nothing without it"
    return [
        Problem(host, "it has a manager and cannot be reached", right)
        for host in silent
        if host in managers
    ]


def newer_store_problems(facts: Mapping[str, Mapping[str, Any]], schema: int) -> list[Problem]:
    """Managers that would not start, as a newer release than this one changed their job store."""
    right = (
        "roll that release out, or a newer one; back leads only restore.yml with "
        "kcms_restore_replace and a backup of before"
    )
    return [
        Problem(host, f"the job store of {cluster} is a newer release's (schema {found})", right)
        for host, row in facts.items()
        for cluster, found in row.get("stores", {}).items()
        if found is not None and found > schema and row["manager_hosts"].get(cluster) == host
    ]


def unseen_problems(facts: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Hosts that answered, and could not be looked at."""
    return [
        Problem(host, f"it cannot be looked at ({row.get('msg') or 'no answer'})", "correct that")
        for host, row in facts.items()
        if "time" not in row
    ]


def _closed_ports(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        for target in facts["targets"]:
            answer = facts["reach"].get(f"{target.address} {target.port}", "open")
            reason = FIREWALL.get(answer, answer)
            if answer == "refused" and _listens(seen, target):
                reason = "refused, though it listens there: a firewall rejects it"
            if reason not in ("open", "refused"):
                wrong = f"it cannot reach {target.what} on {target.other} ({reason})"
                right = f"open {target.address} TCP port {target.port} for it"
                yield Problem(host, wrong, right)


def _listens(seen: Seen, target: Target) -> bool:
    rows = seen.facts.get(target.other, {}).get("ports", ())
    return any(row["proto"] == "tcp" and row["port"] == target.port for row in rows)


def _ids(seen: Seen) -> Iterator[Problem]:
    """A user with other ids on some hosts; those ids are right that most hosts have."""
    places: dict[str, dict[tuple[int, int], list[str]]] = {}
    for host, facts in seen.facts.items():
        for user, row in facts["users"].items():
            places.setdefault(user, {}).setdefault((row["uid"], row["gid"]), []).append(host)
    for user, ids in sorted(places.items()):
        counts = Counter({pair: len(hosts) for pair, hosts in ids.items()})
        (usual, _count), *others = counts.most_common()
        for pair, _count in others:
            for host in ids[pair]:
                wrong = f"user {user} has uid {pair[0]}, gid {pair[1]} there, and "
                wrong += f"uid {usual[0]}, gid {usual[1]} on {some(ids[usual])}"
                yield Problem(host, wrong, "give the user the same ids on every host")


def _unknown_users(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        for user in facts["wanted_users"]:
            if user not in facts["users"]:
                right = "make it there, or set kcms_verify_user to one that all nodes know"
                yield Problem(host, f"it knows no user {user}", right)


def _space(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        needed = {**SPACE, **(SPACE_TO_INSTALL if facts["missing"] else {})}
        for place, least in needed.items():
            free = facts["space"].get(place)
            if free is not None and free < least:
                wrong = f"{place} has {free // MIB} MiB free"
                yield Problem(host, wrong, f"{least // MIB} MiB are needed: make room")


def _sources(seen: Seen) -> Iterator[Problem]:
    for host, facts in seen.facts.items():
        answer = facts["source"].get("answer", "open")
        if facts["missing"] and answer != "open":
            wrong = f"OS packages are missing ({some(facts['missing'])}), and their source "
            wrong += f"{facts['source']['where']} cannot be reached ({answer})"
            right = "correct it, or set kcms_packages_source to mirror, proxy or bundle"
            yield Problem(host, wrong, right)


CHECKS: tuple[Callable[[Seen], Iterator[Problem]], ...] = (
    _versions,
    _shared,
    _clocks,
    _taken_ports,
    _own_ports,
    _moved_managers,
    _unseen_managers,
    _closed_ports,
    _ids,
    _unknown_users,
    _space,
    _sources,
)

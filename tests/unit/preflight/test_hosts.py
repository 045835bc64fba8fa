"""What can be wrong with hosts, and the line that says so."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import lines
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_hosts import (
    Seen,
    Target,
    host_problems,
    newer_store_problems,
    unreached_problems,
    unseen_problems,
    version,
)

MIB = 2**20


def sound(**changes: Any) -> dict[str, Any]:
    """What a host without a problem says; its clock is read within a second."""
    facts: dict[str, Any] = {
        "os": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"},
        "kernel": "6.12.9-amd64",
        "systemd": 257,
        "cgroup2": True,
        "python": "3.13.5",
        "shared": {"/shared": "mount"},
        "clock": [-0.5, 0.5],
        "ports": [],
        "managers": [],
        "manager_hosts": {"alpha": "head"},
        "reach": {},
        "asked": {"tcp 8649": "kcms_xml_port", "udp 8649": "kcms_channel_port"},
        "listeners": [["tcp 8649", "the monitor", "kcms_xml_port"]],
        "wanted_users": [],
        "targets": [],
        "users": {"alice": {"uid": 2001, "gid": 2001, "home": "/shared/home/alice"}},
        "space": {"/var/lib": 4096 * MIB, "/opt": 4096 * MIB, "/usr": 4096 * MIB},
        "missing": [],
        "source": {},
    }
    return {**facts, **changes}


def found(**hosts: dict[str, Any]) -> list[str]:
    return lines(host_problems(Seen(hosts)))


def test_a_second_manager_does_not_begin_while_the_first_is_out_of_sight() -> None:
    node = sound(managed={"alpha": "old"}, manager_hosts={"alpha": "new"})
    new = sound(manager_hosts={"alpha": "new"})
    (line,) = found(alpha1=node, new=new)
    assert line.startswith("alpha1: it obeys the manager of alpha on old, which this run does not")
    assert found(alpha1=node, new={**new, "managers": ["alpha"]}) == []  # it has its jobs already
    assert found(alpha1=node) == []  # a run of nodes alone makes no manager
    assert found(alpha1=sound(managed={"alpha": "head"}), head=sound()) == []


def test_who_is_not_reached_stops_the_rollout_only_with_a_manager_on_it() -> None:
    assert lines(unreached_problems(["a1", "head"], ["head"])) == [
        "head: it has a manager and cannot be reached; "
        "bring it up first: nodes can do nothing without it"
    ]
    assert unreached_problems(["a1", "a2"], ["head"]) == []


def test_a_host_that_answers_and_cannot_be_looked_at_is_a_problem() -> None:
    rows = {"a1": {"msg": "no python3"}, "a2": sound(time=1.0)}
    assert lines(unseen_problems(rows)) == ["a1: it cannot be looked at (no python3); correct that"]


def test_sound_hosts_have_no_problem() -> None:
    assert found(alpha1=sound(), alpha2=sound(), head=sound()) == []


@pytest.mark.parametrize(
    ("identity", "release"), [("debian", "11"), ("debian", "14"), ("ubuntu", "24.04")]
)
def test_an_unsupported_system_is_told_that_alone(identity: str, release: str) -> None:
    system = {"id": identity, "version": release, "name": "Some OS"}
    assert found(alpha1=sound(os=system, systemd=0, kernel="5.10", shared={"/s": "missing"})) == [
        "alpha1: it runs Some OS; only Debian 12 and 13 are supported: install one of them"
    ]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"kernel": "6.0.19"}, "its kernel is 6.0.19"),
        ({"kernel": "5.10.0-30-amd64"}, "its kernel is 5.10.0-30-amd64"),
        ({"systemd": 251}, "its systemd is 251; 252 is needed"),
        ({"systemd": 0}, "systemd does not run it"),
        ({"cgroup2": False}, "not cgroup v2"),
        ({"python": "3.9.2"}, "Ansible's Python there is 3.9.2"),
        ({"shared": {"/shared": "missing"}}, "there is no shared directory /shared; mount"),
        ({"shared": {"/shared": "other"}}, "/shared is no directory"),
        ({"space": {"/var/lib": 255 * MIB}}, "/var/lib has 255 MiB free; 256 MiB are needed"),
        ({"space": {"/opt": 0}}, "/opt has 0 MiB free"),
    ],
)
def test_what_a_host_lacks_is_one_line(changes: dict[str, Any], wrong: str) -> None:
    (line,) = found(alpha1=sound(**changes), alpha2=sound())
    assert line.startswith("alpha1: ")
    assert wrong in line


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel": "6.1.0-18-amd64"},
        {"systemd": 252},
        {"python": "3.11.2"},
        {"shared": {"/shared": "directory"}},
        {"shared": {"/shared": "unknown"}},
        {"space": {"/var/lib": 256 * MIB}},
        {"space": {"/usr": 0}},
    ],
)
def test_what_just_suffices_passes(changes: dict[str, Any]) -> None:
    assert found(alpha1=sound(**changes)) == []


def test_room_for_packages_counts_only_when_some_are_missing() -> None:
    (line,) = found(alpha1=sound(missing=["rrdtool"], space={"/usr": 100 * MIB}))
    assert line == "alpha1: /usr has 100 MiB free; 256 MiB are needed: make room"


def test_version_reads_the_first_two_numbers() -> None:
    assert version("6.18.44-fc") == (6, 18)
    assert version("unknown") == (0, 0)


def test_of_three_clocks_the_middle_one_is_right() -> None:
    control_node_is_behind = {"clock": [59.5, 60.5]}
    lone = sound(clock=[69.5, 70.5])
    assert found(a=sound(**control_node_is_behind), b=sound(**control_node_is_behind), c=lone) == [
        "c: its clock is at least 10 s ahead of that of the other hosts; "
        "switch on time synchronisation (5 s are tolerated)"
    ]


def test_of_two_clocks_the_control_node_decides() -> None:
    (line,) = found(a=sound(), b=sound(clock=[-8.5, -7.5]))
    assert line.startswith("b: its clock is at least 8 s behind of that of the control node")


def test_a_clock_counts_only_as_far_as_it_is_certain() -> None:
    slow_answer = [4.0, 12.0]
    assert found(a=sound(), b=sound(clock=slow_answer)) == []
    assert len(lines(host_problems(Seen({"b": sound(clock=slow_answer)}, 3.0)))) == 1


def port(number: int, program: str, unit: str = "", proto: str = "tcp") -> dict[str, Any]:
    return {"proto": proto, "port": number, "program": program, "unit": unit, "pid": 12}


def test_a_port_of_another_program_is_named_with_its_setting() -> None:
    taken = [port(8649, "gmond", "ganglia-monitor.service", "udp")]
    assert found(alpha1=sound(ports=taken)) == [
        "alpha1: UDP port 8649 is taken by gmond (pid 12); "
        "stop it there, or change kcms_channel_port"
    ]


def test_ports_of_our_own_daemons_are_theirs() -> None:
    assert found(alpha1=sound(ports=[port(8649, "python3", "kcms-monitor.service")])) == []


TARGET = Target("10.0.0.1", 8660, "the manager of alpha", "head")


@pytest.mark.parametrize("answer", ["silent", "unreachable", "prohibited"])
def test_a_closed_port_is_named_at_the_host_that_needs_it(answer: str) -> None:
    asking = sound(targets=[TARGET], reach={"10.0.0.1 8660": answer})
    (line,) = found(alpha1=asking)
    assert line.startswith("alpha1: it cannot reach the manager of alpha on head (")
    assert line.endswith("; open 10.0.0.1 TCP port 8660 for it")


def test_refused_is_right_before_the_daemon_runs_and_wrong_after() -> None:
    asking = sound(targets=[TARGET], reach={"10.0.0.1 8660": "refused"})
    assert found(alpha1=asking, head=sound()) == []
    running = sound(ports=[port(8660, "python3", "kcms-manager@alpha.service")])
    (line,) = found(alpha1=asking, head=running)
    assert "refused, though it listens there" in line


def test_other_ids_of_a_user_are_named_with_the_usual_ones() -> None:
    other = {"alice": {"uid": 2005, "gid": 2001, "home": "/shared/home/alice"}}
    assert found(alpha1=sound(), alpha2=sound(users=other), head=sound()) == [
        "alpha2: user alice has uid 2005, gid 2001 there, and uid 2001, gid 2001 on alpha1, head; "
        "give the user the same ids on every host"
    ]


def test_a_user_who_is_not_everywhere_is_no_problem() -> None:
    assert found(alpha1=sound(), head=sound(users={})) == []


def test_a_silent_package_source_counts_only_when_packages_are_missing() -> None:
    silent = {"where": "proxy.example:3128", "answer": "silent"}
    assert found(alpha1=sound(source=silent)) == []
    (line,) = found(alpha1=sound(source=silent, missing=["rrdtool", "python3-flask"]))
    assert "missing (rrdtool, python3-flask), and their source proxy.example:3128 cannot" in line
    assert line.endswith("set kcms_packages_source to mirror, proxy or bundle")


def test_a_manager_is_not_set_up_elsewhere_while_its_jobs_are_here() -> None:
    assert found(head=sound(managers=["alpha"]), alpha1=sound()) == []
    (moved,) = found(head=sound(), alpha1=sound(managers=["alpha"]))
    assert moved.startswith(
        "alpha1: it has the manager of alpha and its jobs, the inventory puts it on head; "
    )
    (gone,) = found(head=sound(managers=["beta"]))
    assert "puts it on no host" in gone


def test_an_older_release_does_not_take_a_newer_ones_store() -> None:
    stores = {"alpha": 3, "beta": 2, "left": 9, "broken": None}
    head = sound(stores=stores, manager_hosts={"alpha": "head", "beta": "head", "broken": "head"})
    (line,) = lines(newer_store_problems({"head": head, "alpha1": sound()}, 2))
    assert line.startswith("head: the job store of alpha is a newer release's (schema 3); ")
    assert newer_store_problems({"head": head}, 3) == []


def test_two_of_our_own_on_one_port_are_named() -> None:
    both = [
        ["tcp 8651", "the aggregator", "kcms_aggregator_port"],
        ["udp 8651", "the channel", "kcms_channel_port"],
        ["tcp 8651", "the page", "kcms_web_port"],
    ]
    assert found(head=sound(listeners=both)) == [
        "head: the aggregator and the page both want TCP port 8651; "
        "change kcms_aggregator_port or kcms_web_port"
    ]


def test_a_node_that_knows_no_verify_user_is_named() -> None:
    assert found(a1=sound(wanted_users=["carol"]), head=sound(wanted_users=[])) == [
        "a1: it knows no user carol; "
        "make it there, or set kcms_verify_user to one that all nodes know"
    ]

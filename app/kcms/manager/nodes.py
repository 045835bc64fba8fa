"""The nodes of a cluster: which there are, which are in use, and how they are shown.  Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from typing import Any

from kcms.errors import InvalidRequest, NotFound
from kcms.jobs.model import Job
from kcms.jobs.needs import cpus_of, memory_of
from kcms.jobs.placement import Candidate
from kcms.manager.memory import Draft, Memory, Node, under_way
from kcms.manager.rows import Drain

OVER_ON_NODE = ("ended", "refused", "lost")
LONGEST_REASON = 200
AVAILABILITY = ("idle", "mixed", "allocated", "draining", "drained", "down")


def follow_hosts(memory: Memory, listed: Set[str], now: float) -> None:
    """Know the nodes of the list of hosts, and those that tasks are on; new ones count as heard."""
    busy = memory.placed.keys()
    for name in (listed | busy) - memory.nodes.keys():
        memory.nodes[name] = Node(name, heard=now)
    for name in memory.nodes.keys() - listed - busy:
        del memory.nodes[name]
        memory.processes.forget_node(name)
    for node in memory.nodes.values():
        node.listed = node.name in listed


def candidates(draft: Draft) -> list[Candidate]:
    """The nodes as placement sees them.  A job on its way to a node takes room there already."""
    coming: defaultdict[str, list[Job]] = defaultdict(list)
    for job in draft.moving():
        moving = under_way(job)
        if moving is not None and not moving.check_only:
            coming[moving.target].append(job)
    return [_candidate(draft, node, coming[node.name]) for node in draft.base.nodes.values()]


def _candidate(draft: Draft, node: Node, coming: list[Job]) -> Candidate:
    said, here = node.report, [job for job, _ in draft.tasks_on(node.name)]
    others = [each for each in node.foreign if each.phase not in OVER_ON_NODE]
    taken = [(each.slots, each.memory) for each in others]
    taken += [(each.slots, each.memory) for each in node.orphans.values()]
    return Candidate(
        name=node.name,
        up=draft.base.is_up(node),
        slots=said.slots if said else 0,
        used=sum(cpus_of(job) for job in (*here, *coming)) + sum(slots for slots, _ in taken),
        load=float(said.load.get("load_one", 0.0)) if said else 0.0,
        cpus=int(said.load.get("cpu_num", 1)) if said else 1,
        drained=draft.drain_of(node.name) is not None,
        memory=int(said.load.get("mem_total", 0.0)) // 1024 if said else 0,
        promised=sum(memory_of(job) for job in (*here, *coming))
        + sum(memory for _, memory in taken),
        queue=float(said.load.get("proc_run", 0.0)) if said else 0.0,
        free=_free_memory(said.load) // 1024 if said else 0,
        abilities=frozenset(said.abilities) if said else frozenset(),
        machine=said.mover.get("machine", "") if said else "",
        criu=said.mover.get("criu", "") if said else "",
    )


def _free_memory(load: dict[str, float]) -> int:
    """KB that are free, or that the kernel frees when they are asked for, as far as they are told;
    a node of the first release told only what nobody uses for anything."""
    return int(load.get("mem_available", load.get("mem_free", 0.0)))


def set_state(
    draft: Draft,
    name: str,
    state: str,
    reason: str,
    by: str,
    now: float,
    migrate: bool = False,
) -> None:
    """Take a node out of use (``drain``) or into it again (``resume``); once more changes nothing.

    :param migrate: whether one that is drained is to be empty
    :raises NotFound: no node of the cluster, and none that is drained
    :raises InvalidRequest: another state, or a reason that cannot be shown in a line
    """
    if state not in ("drain", "resume"):
        raise InvalidRequest(f"state must be drain or resume, not {state!r:.100}")
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InvalidRequest(f"reason must be one line of up to {LONGEST_REASON} characters")
    if migrate and state != "drain":
        raise InvalidRequest("migrate goes with drain: nothing is moved from a node in use")
    there = draft.drain_of(name)
    if name not in draft.base.nodes and there is None:
        raise NotFound(f"there is no node {name!r:.100} in cluster {draft.base.cluster}")
    if state == "resume" and there is not None:
        draft.set_drain(name, None, by, now)
    elif state == "drain" and (there is None or (there.reason, there.migrate) != (reason, migrate)):
        draft.set_drain(name, Drain(reason, by, now, migrate), by, now)


def documents(memory: Memory) -> list[dict[str, Any]]:
    """The nodes as API version 1 shows them, by name."""
    shown = sorted(candidates(Draft(memory)), key=lambda each: each.name)
    return [_document(memory, memory.nodes[each.name], each) for each in shown]


def document(memory: Memory, name: str) -> dict[str, Any]:
    """One node, be it on the list of hosts or not."""
    for each in candidates(Draft(memory)):
        if each.name == name:
            return _document(memory, memory.nodes[name], each)
    node = Node(name, heard=0.0, listed=False)
    return _document(memory, node, _candidate(Draft(memory), node, []))


def _document(memory: Memory, node: Node, seen: Candidate) -> dict[str, Any]:
    said, drain = node.report, memory.drained.get(node.name)
    return {
        "name": node.name,
        "state": "UP" if seen.up else "DOWN",
        "availability": availability(seen),
        "drained": seen.drained,
        "drain_reason": drain.reason if drain else "",
        "leaving": drain is not None and drain.migrate,
        "slots": seen.slots,
        "used": seen.used,
        "load": dict(said.load) if said else {},
        "heard": node.heard if said else None,
        "release": said.release if said else None,
        "mover": dict(said.mover) if said else {},
    }


def availability(node: Candidate) -> str:
    """How far a node can be used, as one of :data:`AVAILABILITY`."""
    if not node.up:
        return "down"
    if node.drained:
        return "draining" if node.used else "drained"
    if not node.used:
        return "idle"
    return "mixed" if node.used < node.slots else "allocated"

#!/usr/bin/python
"""Ansible module: take a node of a cluster out of use, or into it again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_state
short_description: Drain or resume a node of a KCMS cluster
description:
  - A drained node gets no new jobs, and none that is moved there; those that run there go on, or
    with O(migrate=true) are moved to other nodes. It stays drained, also over restarts of manager
    and node, until it is resumed.
  - Only the grid's root may do it, so run it as root on a host with the role C(admin), as the
    head.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Looks at the node, and at whether this caller may change it, and predicts.
  diff_mode:
    support: full
    description: Shows state and reason before and after.
options:
  node:
    description: Inventory name of the node.
    type: str
    required: true
  state:
    description: Whether the node is to be out of use, V(drained), or in use, V(resumed).
    type: str
    choices: [drained, resumed]
    required: true
  reason:
    description:
      - What others are to know about it, one line of at most 200 characters. Needed for
        O(state=drained); another reason than before counts as a change.
    type: str
  migrate:
    description:
      - Whether what runs on a node that is O(state=drained) is moved to other nodes, a few tasks at
        a time and as these have room. The module does not wait for it; RV(leaving) tells how it
        stands. Without it what was to leave goes on where it is.
    type: bool
    default: false
seealso:
  - module: kcms.cluster.node_info
  - module: kcms.cluster.job_migrate
"""

EXAMPLES = r"""
- name: Give the node no new jobs
  kcms.cluster.node_state:
    node: alpha2
    state: drained
    reason: new disk
  delegate_to: head

- name: Have it emptied
  kcms.cluster.node_state:
    node: alpha2
    state: drained
    reason: new disk
    migrate: true
  delegate_to: head

# ansible head -m kcms.cluster.node_state -a 'node=alpha2 state=resumed'
"""

RETURN = r"""
node:
  description: The node after the call; in check mode, as it is.
  returned: success
  type: dict
  sample:
    name: alpha2
    state: UP
    availability: drained
    drained: true
    drain_reason: new disk
    leaving: false
    slots: 4
    used: 0
    load: {load_one: 0.05, cpu_num: 4}
    release: 0.1.0
leaving:
  description:
    - What is on a node that is to be empty, each with its RV(ignore:state) V(moving), V(waiting) or
      V(staying), where it goes, and why it does not; empty in check mode.
  returned: success, with O(migrate=true)
  type: list
  elements: dict
  sample:
    - {job: 12, task: 0, size: 1, user: alice, state: moving, target: alpha1, again: null,
       message: "it moves to alpha1: checking"}
code:
  description: Word for the kind of failure, as V(not_found), V(forbidden), V(unavailable).
  returned: failure of a call
  type: str
  sample: not_found
status:
  description: HTTP status of the failure, 0 when there was no answer.
  returned: failure of a call
  type: int
  sample: 404
"""

from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import (
    REASON_LIMIT,
    Client,
    ClientError,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import run

CALLS = {"drained": "drain", "resumed": "resume"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "node": {"type": "str", "required": True},
    "state": {"type": "str", "required": True, "choices": list(CALLS)},
    "reason": {"type": "str"},
    "migrate": {"type": "bool", "default": False},
}


def set_state(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Drain or resume a node unless it is so, or only to be predicted; what the task returns."""
    check_reason(params["reason"])
    drained, migrate = params["state"] == "drained", bool(params["migrate"])
    if migrate and not drained:
        raise ClientError("invalid_request", "migrate goes with state: drained", 400)
    wanted = (params["state"], params["reason"] or "" if drained else "", migrate)
    found = [each for each in client.nodes() if each["name"] == params["node"]]
    if not found:
        raise ClientError("not_found", f"there is no node {params['node']!r} in this cluster", 404)
    node, before = found[0], state_of(found[0])
    if migrate and "leaving" not in node:
        raise ClientError("unsupported", "the manager's release cannot empty a node", 400)
    if before != wanted:
        if checking:
            check_allowed(client)
        else:
            node = client.set_node_state(params["node"], CALLS[wanted[0]], wanted[1], migrate)
    diff = {"before": in_words(before), "after": in_words(wanted)}
    done = {"changed": before != wanted, "node": node, "diff": diff}
    if migrate:
        done["leaving"] = [] if checking else client.leaving(params["node"])["tasks"]
    return done


def check_reason(reason: str | None) -> None:
    """:raises ClientError: the manager would not take it"""
    if reason is not None and (len(reason) > REASON_LIMIT or not reason.isprintable()):
        message = f"reason must be one line of up to {REASON_LIMIT} characters"
        raise ClientError("invalid_request", message, 400)


def state_of(node: dict[str, Any]) -> tuple[str, str, bool]:
    """Of a manager too old to drain nodes, or to empty them, each is in use, or keeps its jobs."""
    if not node.get("drained"):
        return "resumed", "", False
    return "drained", node["drain_reason"], node.get("leaving") is True


def in_words(state: tuple[str, str, bool]) -> str:
    told = [f"state: {state[0]}", f"reason: {state[1]}" if state[1] else ""]
    told.append("migrate: true" if state[2] else "")
    return "".join(f"{each}\n" for each in told if each)


def check_allowed(client: Client) -> None:
    """Ask for what only the grid's root may see.  :raises ClientError: this caller is not it"""
    try:
        client.jobs(user="root", limit=1)
    except ClientError as error:
        if error.code != "forbidden":
            raise
        message = "only the grid's root may drain and resume nodes: run this as root on the head"
        raise ClientError("forbidden", message, 403) from error


def main() -> None:
    run(set_state, ARGUMENTS, required_if=[("state", "drained", ["reason"])])


if __name__ == "__main__":
    main()

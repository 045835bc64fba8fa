#!/usr/bin/python
"""Ansible module: take a node of a cluster out of use, or into it again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_state
short_description: Drain or resume a node of a KCMS cluster
description:
  - A drained node gets no new jobs, and none that is moved there; those that run there go on. It
    stays drained, also over restarts of manager and node, until it is resumed.
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
    slots: 4
    used: 0
    load: {load_one: 0.05, cpu_num: 4}
    release: 0.1.0
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
}


def set_state(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Drain or resume a node unless it is so, or only to be predicted; what the task returns."""
    check_reason(params["reason"])
    wanted = (params["state"], params["reason"] or "" if params["state"] == "drained" else "")
    found = [each for each in client.nodes() if each["name"] == params["node"]]
    if not found:
        raise ClientError("not_found", f"there is no node {params['node']!r} in this cluster", 404)
    node, before = found[0], state_of(found[0])
    if before != wanted:
        if checking:
            check_allowed(client)
        else:
            node = client.set_node_state(params["node"], CALLS[wanted[0]], wanted[1])
    diff = {"before": in_words(before), "after": in_words(wanted)}
    return {"changed": before != wanted, "node": node, "diff": diff}


def check_reason(reason: str | None) -> None:
    """:raises ClientError: the manager would not take it"""
    if reason is not None and (len(reason) > REASON_LIMIT or not reason.isprintable()):
        message = f"reason must be one line of up to {REASON_LIMIT} characters"
        raise ClientError("invalid_request", message, 400)


def state_of(node: dict[str, Any]) -> tuple[str, str]:
    """Of a manager too old to drain nodes, each is in use."""
    return ("drained", node["drain_reason"]) if node.get("drained") else ("resumed", "")


def in_words(state: tuple[str, str]) -> str:
    return f"state: {state[0]}\n" + (f"reason: {state[1]}\n" if state[1] else "")


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

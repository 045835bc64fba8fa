#!/usr/bin/python
"""Ansible module: look at the nodes of a cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Look at the nodes of a KCMS cluster
description:
  - Returns the nodes of a cluster as its manager knows them, how far each can be used, and whether
    jobs can be moved from and to it.
  - Nodes are always returned as the list RV(nodes); with O(node) the only one of them is
    RV(node), too.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference.
options:
  node:
    description: Only this node. One that is not in the cluster is an error.
    type: str
  availability:
    description: Only nodes that are one of these.
    type: list
    elements: str
    choices: [idle, mixed, allocated, draining, drained, down]
seealso:
  - module: kcms.cluster.node_state
  - module: kcms.cluster.process_info
"""

EXAMPLES = r"""
- name: Which nodes are free
  kcms.cluster.node_info:
    availability: [idle]
    cluster: alpha
  register: free

# ansible head -m kcms.cluster.node_info -a 'node=alpha2'
"""

RETURN = r"""
nodes:
  description: The nodes, by name.
  returned: success
  type: list
  elements: dict
  sample:
    - name: alpha1
      state: UP
      availability: mixed
      slots: 4
      used: 1
node:
  description: The node of O(node), the only one in RV(nodes).
  returned: when O(node) is given
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

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client, ClientError
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import run

AVAILABILITY = ["idle", "mixed", "allocated", "draining", "drained", "down"]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "node": {"type": "str"},
    "availability": {"type": "list", "elements": "str", "choices": AVAILABILITY},
}


def look(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """What the task returns."""
    nodes, wanted = client.nodes(), params["node"]
    if wanted is not None:
        nodes = [each for each in nodes if each["name"] == wanted]
        if not nodes:
            raise ClientError("not_found", f"there is no node {wanted!r} in this cluster", 404)
        return {"changed": False, "nodes": nodes, "node": nodes[0]}
    if params["availability"]:
        nodes = [each for each in nodes if each.get("availability") in params["availability"]]
    return {"changed": False, "nodes": nodes}


def main() -> None:
    run(look, ARGUMENTS, mutually_exclusive=[("node", "availability")])


if __name__ == "__main__":
    main()

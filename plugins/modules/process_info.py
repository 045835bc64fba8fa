#!/usr/bin/python
"""Ansible module: look at the processes of jobs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_info
short_description: Look at the processes of a KCMS cluster's jobs
description:
  - Returns the processes of jobs, as their nodes reported them last. Users see those of their own
    jobs, root of the head everybody's.
  - Those that ended are returned for 10 minutes more.
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
    description: Only processes on this node.
    type: str
  job:
    description: Only processes of this job.
    type: int
  alive:
    description: Only processes that have not ended.
    type: bool
    default: false
seealso:
  - module: kcms.cluster.job_signal
  - module: kcms.cluster.job_info
  - module: kcms.cluster.node_info
"""

EXAMPLES = r"""
- name: What runs on a node
  kcms.cluster.process_info:
    node: alpha2
    alive: true
  register: running

# ansible head -m kcms.cluster.process_info -a 'node=alpha2'
"""

RETURN = r"""
processes:
  description:
    - The processes, by node and pid. C(state) is V(R) for one that is alive, V(T) for one that
      ended, at C(ended) (seconds since the epoch); C(root) says whether it is the first of its
      task, C(status) the letter that /proc has for its state. C(id) is what
      M(kcms.cluster.job_signal) takes. What its node does not say, being of an older release, is
      null or empty.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 12.0.4711@alpha2
      node: alpha2
      pid: 4711
      ppid: 4705
      name: simulate
      command: ./simulate --steps 100
      state: R
      status: S
      ended: null
      job: 12
      task: 0
      user: alice
      root: true
      cpu_seconds: 81.25
      cpu_percent: 97.4
      rss_kib: 204800
      threads: 4
      start_time: 1767225600.5
left_out:
  description:
    - How many more processes there are than the manager lists, which is 10000 at the most. Name
      O(node) or O(user) to have a shorter list when this is not V(0).
  returned: success
  type: int
  sample: 0
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

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import listing, run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "node": {"type": "str"},
    "job": {"type": "int"},
    "alive": {"type": "bool", "default": False},
}


def look(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """What the task returns."""
    found, left_out = listing(client).processes_told(params["user"], params["node"], params["job"])
    shown = [each for each in found if each["state"] == "R" or not params["alive"]]
    return {"changed": False, "processes": shown, "left_out": left_out}


def main() -> None:
    run(look, ARGUMENTS)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: look at the jobs of a cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_info
short_description: Look at jobs of a KCMS cluster
description:
  - Returns one job, or those that fit. Users see their own jobs, root of the head everybody's.
  - Jobs are always returned as the list RV(jobs), which may be empty; with O(id) the only one of
    them is RV(job), too, so that a task that asked for one need not pick it out.
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
  id:
    description: The id of one job. A job that is not there, or is another user's, is an error.
    type: int
  states:
    description: Only jobs in one of these states.
    type: list
    elements: str
    choices: [PENDING, RUNNING, SUSPENDED, CANCELLED, COMPLETED, FAILED, NODE_FAIL, TIMEOUT]
  limit:
    description: Only the newest so many.
    type: int
seealso:
  - module: kcms.cluster.job_kill
  - module: kcms.cluster.job_submit
"""

EXAMPLES = r"""
- name: How did it go
  kcms.cluster.job_info:
    id: 12
    user: alice
  register: asked

- name: What waits, of all users
  kcms.cluster.job_info:
    states: [PENDING]
    cluster: alpha
  delegate_to: head

# ansible alpha1 -m kcms.cluster.job_info -a 'id=12 user=alice'
"""

RETURN = r"""
jobs:
  description: The jobs, the newest last.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 12
      state: COMPLETED
      user: alice
job:
  description: The job of O(id), the only one in RV(jobs).
  returned: when O(id) is given
  type: dict
  sample:
    id: 12
    state: COMPLETED
    user: alice
    tasks:
      - index: 0
        node: alpha2
        exit: {code: 0, signal: null}
more:
  description:
    - Whether there are older jobs that fit, which are not among RV(jobs). A manager lists 1000 at
      the most unless O(limit) says more, and at the most 8 MiB of them.
  returned: success, unless O(id) is given
  type: bool
  sample: false
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

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import FINAL_STATES, Client
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import listing, run

STATES = ["PENDING", "RUNNING", "SUSPENDED", *sorted(FINAL_STATES)]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"type": "int"},
    "states": {"type": "list", "elements": "str", "choices": STATES},
    "limit": {"type": "int"},
}


def look(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """What the task returns."""
    if params["id"] is not None:
        job = client.job(params["id"])
        return {"changed": False, "job": job, "jobs": [job]}
    jobs, more = listing(client).jobs_told(params["states"] or (), params["user"], params["limit"])
    return {"changed": False, "jobs": jobs, "more": more}


def main() -> None:
    run(look, ARGUMENTS, mutually_exclusive=[("id", "states"), ("id", "limit")])


if __name__ == "__main__":
    main()

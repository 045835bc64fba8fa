#!/usr/bin/python
"""Ansible module: kill a job of a cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_kill
short_description: Kill a job of a KCMS cluster
description:
  - Ends a job with all its processes, or takes it out of the queue. Its processes get SIGTERM, and
    SIGKILL when they are still there after the manager's grace time.
  - Users kill their own jobs, root of the head everybody's.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Looks at the job and predicts whether it would be killed.
  diff_mode:
    support: full
    description: Shows the state the job leaves, and the one it goes to.
options:
  id:
    description: The job's id.
    type: int
    required: true
seealso:
  - module: kcms.cluster.job_info
  - module: kcms.cluster.job_signal
  - module: kcms.cluster.job_submit
"""

EXAMPLES = r"""
- name: Kill the job that was submitted before
  kcms.cluster.job_kill:
    id: "{{ submitted.job.id }}"
    user: alice

# ansible head -m kcms.cluster.job_kill -a 'id=12 cluster=alpha'
"""

RETURN = r"""
job:
  description: The job as the manager knows it after the call; in check mode, as it is.
  returned: success
  type: dict
  sample:
    id: 12
    state: RUNNING
    killed_by: alice
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
    FINAL_STATES,
    Client,
    ClientError,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import run

ARGUMENTS: dict[str, dict[str, Any]] = {"id": {"type": "int", "required": True}}


def killable(job: dict[str, Any]) -> bool:
    """Would a kill change anything?  Not when it is over, or is being killed already."""
    return job["state"] not in FINAL_STATES and not job["killed_by"]


def kill(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Kill a job unless that is done or only to be predicted; what the task returns."""
    before = client.job(params["id"])
    result = {"changed": killable(before), "job": before}
    if result["changed"] and not checking:
        try:
            result["job"] = client.kill(params["id"])
        except ClientError as error:
            if error.code != "conflict":
                raise
            # It ended by itself between the two calls.
            result = {"changed": False, "job": client.job(params["id"])}
    after = "CANCELLED" if result["changed"] else before["state"]
    return {**result, "diff": {"before": before["state"] + "\n", "after": after + "\n"}}


def main() -> None:
    run(kill, ARGUMENTS)


if __name__ == "__main__":
    main()

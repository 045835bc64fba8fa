#!/usr/bin/python
"""Ansible module: keep a waiting job back, let a running one stand still, or let them go on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_hold
short_description: Hold, release, suspend or resume a job of a KCMS cluster
description:
  - Keeps a job that waits from being started, or lets it go its way again.
  - Lets a job that runs stand still, with its slot and memory, or lets it go on.
  - Users do that to their own jobs, root of the head to everybody's. What root holds or suspends,
    only root lets go.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Looks at the job and predicts whether anything would change.
  diff_mode:
    support: full
    description: Shows what the job was, and what it is.
options:
  id:
    description: The job's id.
    type: int
    required: true
  state:
    description: What the job is to be.
    type: str
    choices: [held, released, suspended, resumed]
    default: held
seealso:
  - module: kcms.cluster.job_info
  - module: kcms.cluster.job_submit
"""

EXAMPLES = r"""
- name: Keep a job back until the data set is there
  kcms.cluster.job_hold:
    id: 12
    user: alice

- name: Let it go
  kcms.cluster.job_hold:
    id: 12
    state: released
    user: alice

# ansible head -m kcms.cluster.job_hold -a 'id=12 cluster=alpha'
"""

RETURN = r"""
job:
  description: The job as the manager knows it after the call; in check mode, as it is.
  returned: success
  type: dict
  sample:
    id: 12
    state: PENDING
    held_by: alice
code:
  description: Word for the kind of failure, as V(not_found), V(forbidden), V(conflict).
  returned: failure of a call
  type: str
  sample: conflict
status:
  description: HTTP status of the failure, 0 when there was no answer.
  returned: failure of a call
  type: int
  sample: 409
"""

from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client, ClientError
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"type": "int", "required": True},
    "state": {
        "type": "str",
        "choices": ["held", "released", "suspended", "resumed"],
        "default": "held",
    },
}
RULES = {
    "held": ("PENDING", "only a job that waits can be held"),
    "suspended": ("RUNNING", "only a job that runs can be suspended"),
}


def set_hold(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Do it unless it is done or only to be predicted; what the task returns."""
    number, wanted = params["id"], params["state"]
    job = client.job(number)
    now = state_of(job)
    if wanted in RULES and now != wanted and job["state"] != RULES[wanted][0]:
        raise ClientError("conflict", f"job {number} is {job['state']}: {RULES[wanted][1]}", 409)
    undone = {"released": "held", "resumed": "suspended"}.get(wanted)
    changed = now == undone if undone else now != wanted
    if changed and not checking:
        acts = {
            "held": client.hold,
            "released": client.release,
            "suspended": client.suspend,
            "resumed": client.resume,
        }
        job = acts[wanted](number)
    return {
        "changed": changed,
        "job": job,
        "diff": {"before": f"{now}\n", "after": f"{wanted if changed else now}\n"},
    }


def state_of(job: dict[str, Any]) -> str:
    """``held``, ``suspended``, or the state of a job that is neither."""
    if job["state"] == "SUSPENDED":
        return "suspended"
    return "held" if job["state"] == "PENDING" and job["held_by"] else str(job["state"])


def main() -> None:
    run(set_hold, ARGUMENTS)


if __name__ == "__main__":
    main()

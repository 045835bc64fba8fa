#!/usr/bin/python
"""Ansible module: keep a waiting job back, or let it go its way."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_hold
short_description: Hold or release a job of a KCMS cluster
description:
  - Keeps a job that waits from being started, or lets it go its way again.
  - Users hold and release their own jobs, root of the head everybody's. What root holds, only root
    releases.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Looks at the job and predicts whether it would be held or released.
  diff_mode:
    support: full
    description: Shows by whom the job was held, and by whom it is.
options:
  id:
    description: The job's id.
    type: int
    required: true
  state:
    description: What the job is to be.
    type: str
    choices: [held, released]
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
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
}


def set_hold(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Hold or release a job unless that is done or only to be predicted; what the task returns."""
    number, hold = params["id"], params["state"] == "held"
    job = client.job(number)
    waits, held = job["state"] == "PENDING", bool(job["held_by"])
    if hold and not waits:
        why = f"job {number} is {job['state']}: only a job that waits can be held"
        raise ClientError("conflict", why, 409)
    changed = waits and hold is not held
    if changed and not checking:
        job = client.hold(number) if hold else client.release(number)
    diff = {"before": _word(held), "after": _word(hold if changed else held)}
    return {"changed": changed, "job": job, "diff": diff}


def _word(held: bool) -> str:
    return "held\n" if held else "released\n"


def main() -> None:
    run(set_hold, ARGUMENTS)


if __name__ == "__main__":
    main()

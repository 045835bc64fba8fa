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
    description: Has the manager decide as it would, and do nothing.
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

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"type": "int", "required": True},
    "state": {
        "type": "str",
        "choices": ["held", "released", "suspended", "resumed"],
        "default": "held",
    },
}
ACTS = {"held": "hold", "released": "release", "suspended": "suspend", "resumed": "resume"}


def set_hold(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Do it, or have its manager say how the job would be then; what the task returns."""
    before = client.job(params["id"])
    after = client.act(ACTS[params["state"]], params["id"], check=checking)
    return {
        "changed": _hold_of(before) != _hold_of(after),
        "job": before if checking else after,
        "diff": {"before": f"{_said(before)}\n", "after": f"{_said(after)}\n"},
    }


def _hold_of(job: dict[str, Any]) -> tuple[Any, Any]:
    return job["state"], job.get("held_by")


def _said(job: dict[str, Any]) -> str:
    """``PENDING, held by alice``."""
    word = {"PENDING": "held", "SUSPENDED": "suspended"}.get(job["state"], "")
    by = job.get("held_by")
    return f"{job['state']}, {word} by {by}" if word and by else str(job["state"])


def main() -> None:
    run(set_hold, ARGUMENTS)


if __name__ == "__main__":
    main()

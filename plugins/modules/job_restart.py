#!/usr/bin/python
"""Ansible module: let a running job go back to its last checkpoint."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_restart
short_description: Let a running job of a KCMS cluster go back to its last checkpoint
description:
  - Ends what runs of a job, or one task of a batch job, and lets it go on from its last checkpoint,
    as after the loss of its node. What it did since then is lost. The Ansible task does not wait
    until it runs again; M(kcms.cluster.job_info) shows it.
  - A job that saves itself (C(checkpoint_signal), C(restart_from_checkpoint)) and has no checkpoint
    of ours is begun from its beginning, and goes on from what it saved.
  - One that has nothing to go on from is refused.
  - Users do that to their own jobs, root of the head to everybody's.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Has the manager decide as it would, and does nothing.
  diff_mode:
    support: none
    description: A job that goes back is the same job.
options:
  id:
    description: The job's id.
    type: int
    required: true
  task:
    description:
      - Index of the task that is to go back, of a batch job. By default all that run and were
        saved.
    type: int
seealso:
  - module: kcms.cluster.job_checkpoint
  - module: kcms.cluster.job_info
"""

EXAMPLES = r"""
- name: Let a job go back to its last checkpoint
  kcms.cluster.job_restart:
    id: 12
    user: alice

# ansible head -m kcms.cluster.job_restart -a 'id=12'
"""

RETURN = r"""
job:
  description: The job as the manager knows it after the call; in check mode, as it is.
  returned: success
  type: dict
  sample:
    id: 12
    state: RUNNING
    reason: being restarted by alice
msg:
  description: What is done, or would be.
  returned: success
  type: str
  sample: job 12 is being begun anew, from checkpoint 3
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

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_checkpointed import restarting
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"type": "int", "required": True},
    "task": {"type": "int"},
}


def restart(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Let a job go back, or have its manager say whether it would; what the task returns."""
    number, task = params["id"], params["task"]
    before = client.job(number) if checking else None
    after = client.restart(number, task, check=checking)
    said = restarting(after, task)
    return {"changed": True, "job": before or after, "msg": said}


def main() -> None:
    run(restart, ARGUMENTS)


if __name__ == "__main__":
    main()

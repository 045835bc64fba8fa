#!/usr/bin/python
"""Ansible module: save a running job as it is now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_checkpoint
short_description: Save a running job of a KCMS cluster
description:
  - Makes a checkpoint of what runs of a job, or of one task of a batch job, which goes on from
    there when M(kcms.cluster.job_restart) or its node says so, and with an interval or requeue
    also when its node is silent for good. The job stands still for a moment. The Ansible task ends
    when the outcome is known.
  - What keeps a job from being saved is said in one sentence, as what the task fails with. The job
    goes on.
  - A job with a C(checkpoint_signal) saves itself. It gets its signal, and nothing is waited for.
  - Every call makes another checkpoint. The newest ones of a task are kept, two unless the site
    says otherwise.
  - Users save their own jobs, root of the head everybody's.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: partial
    description:
      - Has the manager decide as it would, and does nothing. What a node alone can see, such as a
        network connection of the job, is found when the checkpoint is made.
  diff_mode:
    support: none
    description: Nothing that is there is changed.
options:
  id:
    description: The job's id.
    type: int
    required: true
  task:
    description: Index of the task that is to be saved, of a batch job. By default all that run.
    type: int
  wait_timeout:
    description:
      - Seconds to wait for the outcome at the most. The Ansible task then fails, and the checkpoint
        goes on to its end; M(kcms.cluster.job_info) shows it.
    type: int
    default: 900
seealso:
  - module: kcms.cluster.job_restart
  - module: kcms.cluster.job_info
  - module: kcms.cluster.job_submit
"""

EXAMPLES = r"""
- name: Save a job
  kcms.cluster.job_checkpoint:
    id: 12
    user: alice

- name: Save one task of a batch job
  kcms.cluster.job_checkpoint:
    id: 13
    task: 2
    user: alice

# ansible head -m kcms.cluster.job_checkpoint -a 'id=12'
"""

RETURN = r"""
job:
  description: The job as the manager knows it after the call; in check mode, as it is.
  returned: when the job is there
  type: dict
  sample:
    id: 12
    state: RUNNING
    user: alice
    checkpoint:
      rung: transparent
      why: it goes on from its last checkpoint
      interval: null
      failure: ""
msg:
  description: What was done, or could be.
  returned: success
  type: str
  sample: "checkpoint 3 of job 12 was made: 52 MB, it stood still for 0.38 s"
checkpoints:
  description: What was made, with the task that each is of.
  returned: when something was
  type: list
  elements: dict
  sample:
    - task: 0
      number: 3
      node: alpha1
      time: 1700000000.0
      size: 52428800
      freeze_seconds: 0.384
      seconds: 2.1
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

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_checkpointed import (
    Asked,
    named,
    told,
    trouble,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client, ClientError
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import Failed, run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"type": "int", "required": True},
    "task": {"type": "int"},
    "wait_timeout": {"type": "int", "default": 900},
}


def save(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Save a job, or have its manager say whether it would be; what the task returns."""
    number, task = params["id"], params["task"]
    if checking:
        job = client.job(number)
        client.checkpoint(number, task, check=True)
        return {"changed": True, "job": job, "msg": f"{named(job, task)} would be saved"}
    job = client.checkpoint(number, task)
    asked = Asked(job, task)
    if asked.waits:
        try:
            job = client.wait_checkpoint(number, asked.under_way, task, params["wait_timeout"])
        except ClientError as error:
            raise Failed(error, {"changed": True, "job": job}) from error
    why, made = trouble(job, asked), asked.made(job)
    result = {"changed": bool(made) or not asked.waits, "job": job, "checkpoints": made}
    if why is not None:
        raise Failed(ClientError("conflict", why, 409), result)
    return {**result, "msg": told(job, asked)}


def main() -> None:
    run(save, ARGUMENTS)


if __name__ == "__main__":
    main()

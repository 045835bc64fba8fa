#!/usr/bin/python
"""Ansible module: move a running job to another node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_migrate
short_description: Move a running job of a KCMS cluster to another node
description:
  - Moves a running job, or one task of a batch job, whole, with its processes, pipes and open
    files, to another node of its cluster, where it goes on. The Ansible task ends when the outcome
    is known.
  - What keeps a job from moving is said in one sentence, as what the task fails with. The job then
    goes on where it is.
  - A job that runs on O(node) already is left as it is.
  - Users move their own jobs, root of the head everybody's.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description:
      - Has the manager and both nodes make every check of a migration, does nothing to the job, and
        fails with the sentence that the migration would fail with. The check stands as the job's
        last attempt in what M(kcms.cluster.job_info) shows; a migration that is asked for
        meanwhile goes before it.
  diff_mode:
    support: full
    description: Shows the node before and after.
options:
  id:
    description: The job's id.
    type: int
    required: true
  task:
    description:
      - Index of the task that is to move, for a batch job with more than one. The others stay where
        they are; one task of a job moves at a time.
    type: int
  node:
    description: Inventory name of the node where the job is to go on.
    type: str
    required: true
  wait_timeout:
    description:
      - Seconds to wait for the outcome at the most. The task then fails, and the migration goes on
        to its end; M(kcms.cluster.job_info) shows it.
    type: int
    default: 900
seealso:
  - module: kcms.cluster.job_info
  - module: kcms.cluster.node_info
  - module: kcms.cluster.node_state
"""

EXAMPLES = r"""
- name: Move a job away from a node that is to be mended
  kcms.cluster.job_migrate:
    id: 12
    node: alpha2
    user: alice

- name: Move one task of a batch job
  kcms.cluster.job_migrate:
    id: 13
    task: 2
    node: alpha2
    user: alice

# ansible head -m kcms.cluster.job_migrate -a 'id=12 node=alpha2'
# Can it be moved?  ansible head -m kcms.cluster.job_migrate -a 'id=12 node=alpha2' --check
"""

RETURN = r"""
job:
  description: The job as the manager knows it after the call.
  returned: when the job is there
  type: dict
  sample:
    id: 12
    state: RUNNING
    user: alice
    tasks:
      - index: 0
        node: alpha2
        state: RUNNING
msg:
  description:
    - What was done, or could be, with the size of the job and the time that it stands still.
    - In check mode both are foretold, by what earlier moves between nodes of the cluster took.
  returned: success
  type: str
  sample: "job 12 can be moved to alpha2: about 52 MB, standing still for about 0.41 s"
migration:
  description:
    - The migration, or the check, as it ended. Figures that are not known are null.
    - RV(migration.freeze_seconds) runs from the freeze on the source to the manager's decision that
      the job runs on the target.
  returned: when one was made
  type: dict
  sample:
    number: 1
    task: 0
    source: alpha1
    target: alpha2
    phase: done
    message: ""
    check_only: false
    predicted_bytes: 52428800
    predicted_seconds: 0.41
    bytes: 52512345
    freeze_seconds: 0.38
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
    Client,
    ClientError,
    figures_of_move,
    moved_name,
    trouble_of_move,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import Failed, run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "id": {"type": "int", "required": True},
    "task": {"type": "int"},
    "node": {"type": "str", "required": True},
    "wait_timeout": {"type": "int", "default": 900},
}


def nodes_of(job: dict[str, Any], index: int | None) -> list[str]:
    """Where a job, or that task of it, runs; nowhere unless it does."""
    if job["state"] != "RUNNING":
        return []
    meant = [task for task in job["tasks"] if index in (None, task["index"])]
    return [task["node"] for task in meant if task["state"] == "RUNNING"]


def migrate(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Move a job, or have it checked whether it could be moved; what the task returns."""
    before = client.job(params["id"])
    task = params["task"]
    source, target = nodes_of(before, task), params["node"]
    if source == [target] and not moving_away(before, task):
        return {"changed": False, "job": before, "diff": difference(target, target)}
    asked = client.migrate(params["id"], target, check=checking, task=task)
    number = asked["migration"]["number"]
    try:
        job = client.wait_migration(params["id"], number, seconds=params["wait_timeout"])
    except ClientError as error:
        raise Failed(error, {"changed": not checking, "job": asked}) from error
    trouble = trouble_of_move(job, number)
    result = {"changed": trouble is None, "job": job, "migration": job["migration"]}
    if trouble is not None:
        raise Failed(ClientError("conflict", trouble, 409), result)
    figures = figures_of_move(job["migration"])
    what = "can be" if checking else "has"
    result["msg"] = f"{moved_name(job)} {what} moved to {target}" + (
        f": {figures}" if figures else ""
    )
    return {**result, "diff": difference(job["migration"]["source"], target)}


def moving_away(job: dict[str, Any], index: int | None) -> bool:
    """Whether a migration of it, or of that task, is under way: it may soon run elsewhere."""
    moving = job.get("migration") or {}
    if index not in (None, moving.get("task", 0)):
        return False
    return bool(moving) and moving["end_time"] is None and not moving["check_only"]


def difference(before: str, after: str) -> dict[str, str]:
    return {"before": f"node: {before}\n", "after": f"node: {after}\n"}


def main() -> None:
    run(migrate, ARGUMENTS)


if __name__ == "__main__":
    main()

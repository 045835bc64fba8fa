#!/usr/bin/python
"""Ansible module: send a signal to a job, a task of it, or one of its processes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_signal
short_description: Send a signal to processes of a KCMS cluster
description:
  - Sends a signal to every process of a job that runs or of one of its tasks, or to a single
    process, on whatever node it is. It is sent once at the most.
  - Users signal their own jobs, root of the head everybody's.
  - Every run sends it, so the task always reports a change.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description: Has the manager decide whether it could be sent, and sends nothing.
  diff_mode:
    support: none
    description: What a signal does is its receiver's affair.
options:
  signal:
    description: The signal.
    type: str
    required: true
    choices:
      - HUP
      - INT
      - QUIT
      - ILL
      - TRAP
      - ABRT
      - BUS
      - FPE
      - KILL
      - USR1
      - SEGV
      - USR2
      - PIPE
      - ALRM
      - TERM
      - STKFLT
      - CHLD
      - CONT
      - STOP
      - TSTP
      - TTIN
      - TTOU
      - URG
      - XCPU
      - XFSZ
      - VTALRM
      - PROF
      - WINCH
      - IO
      - PWR
      - SYS
  id:
    description: The id of a job, all of whose processes get it.
    type: int
  task:
    description: The number of the only task of job O(id) that is meant.
    type: int
  process:
    description:
      - The only process that is meant, as V(12.0.4711@alpha2). This is the C(id) that
        M(kcms.cluster.process_info) returns.
    type: str
  kill:
    description: The O(process) is killed when it is still there after the manager's grace time.
    type: bool
    default: false
seealso:
  - module: kcms.cluster.job_kill
  - module: kcms.cluster.process_info
"""

EXAMPLES = r"""
- name: Have a job write down how far it is
  kcms.cluster.job_signal:
    signal: USR1
    id: 12
    user: alice

- name: End one process of it
  kcms.cluster.job_signal:
    signal: TERM
    process: 12.0.4711@alpha2
    kill: true
    user: alice

# ansible head -m kcms.cluster.job_signal -a 'signal=USR1 id=12 cluster=alpha'
"""

RETURN = r"""
job:
  description: The job as the manager knows it.
  returned: success
  type: dict
  sample:
    id: 12
    state: RUNNING
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
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_target import parse

SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "signal": {"type": "str", "required": True, "choices": SIGNALS.split()},
    "id": {"type": "int"},
    "task": {"type": "int"},
    "process": {"type": "str"},
    "kill": {"type": "bool", "default": False},
}


def send(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Send it, or have its manager say whether it could be; what the task returns."""
    if params["process"] is None:
        if params["kill"]:
            raise ClientError("", "kill goes with a process; job_kill ends a whole job")
        number, task, process = params["id"], params["task"], None
    else:
        number, task, process = _process(params["process"])
    job = client.signal(
        number, params["signal"], task, process, kill=params["kill"], check=checking
    )
    return {"changed": True, "job": job}


def _process(text: str) -> tuple[int, int, tuple[str, int]]:
    """Job and task, and node and pid.  :raises ClientError: it names no process"""
    try:
        found = parse(text)
    except ValueError as error:
        raise ClientError("", str(error)) from error
    if found.task is None or found.node is None or found.pid is None:
        raise ClientError("", f"process must be one as 12.0.4711@alpha2, not {found}")
    return found.job, found.task, (found.node, found.pid)


def main() -> None:
    run(
        send,
        ARGUMENTS,
        mutually_exclusive=[("id", "process"), ("task", "process")],
        required_one_of=[("id", "process")],
        required_by={"task": "id"},
    )


if __name__ == "__main__":
    main()

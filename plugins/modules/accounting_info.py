#!/usr/bin/python
"""Ansible module: look at what jobs took."""

from __future__ import annotations

DOCUMENTATION = r"""
module: accounting_info
short_description: Look at what jobs of a KCMS cluster took
description:
  - Returns sums over the jobs that ended in a period, by day, user and state. Users see those of
    their own jobs, root of the head everybody's.
  - A job counts on the day (UTC) on which it ended.
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
  since:
    description: Begin of the period, in seconds since the epoch; 30 days before its end by default.
    type: float
  until:
    description: End of the period, which is not in it, in seconds since the epoch; now by default.
    type: float
seealso:
  - module: kcms.cluster.job_info
"""

EXAMPLES = r"""
- name: What alice took in the last week
  kcms.cluster.accounting_info:
    user: alice
    since: "{{ now().timestamp() - 7 * 86400 }}"
  register: took

# ansible head -m kcms.cluster.accounting_info -a 'user=alice'
"""

RETURN = r"""
rows:
  description:
    - The sums. C(core_seconds) is the time that tasks had processors for themselves, C(cpu_seconds)
      the time that these worked for them, C(max_rss_kib) the most memory that one task had,
      C(checkpoint_seconds) the time that tasks stood still for C(checkpoints).
  returned: success
  type: list
  elements: dict
  sample:
    - day: "2030-12-24"
      user: alice
      state: COMPLETED
      jobs: 3
      tasks: 3
      core_seconds: 90.5
      cpu_seconds: 61.0
      user_seconds: 60.0
      system_seconds: 1.0
      max_rss_kib: 20480
      read_bytes: 0
      write_bytes: 52428800
      checkpoints: 2
      checkpoint_bytes: 20971520
      checkpoint_seconds: 0.4
since:
  description: Begin of the period, in seconds since the epoch.
  returned: success
  type: float
  sample: 1924300000.0
until:
  description: End of the period.
  returned: success
  type: float
  sample: 1926892000.0
more:
  description: Whether there are more rows than the manager returns, which is 10000 at the most.
  returned: success
  type: bool
  sample: false
code:
  description: Word for the kind of failure, as V(not_found), V(forbidden), V(unavailable).
  returned: failure of a call
  type: str
  sample: forbidden
status:
  description: HTTP status of the failure, 0 when there was no answer.
  returned: failure of a call
  type: int
  sample: 403
"""

from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import listing, run

ARGUMENTS: dict[str, dict[str, Any]] = {"since": {"type": "float"}, "until": {"type": "float"}}


def look(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """What the task returns."""
    told = listing(client).accounting(params["since"], params["until"], params["user"])
    return {"changed": False, **told}


def main() -> None:
    run(look, ARGUMENTS)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Documentation of the action kcms.cluster.preflight, which runs on the control node alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Say everything that stands in the way of a rollout
description:
  - With O(stage=inventory), judges groups and variables of the whole inventory.
  - With O(stage=hosts), judges what M(kcms.cluster.preflight_info) registered as C(kcms_preflight)
    on the hosts of the play, and compares them with each other.
  - Prints one line for each problem and fails when there is any. Contacts no host.
options:
  stage:
    description: What to judge.
    type: str
    choices: [inventory, hosts]
    default: hosts
  clock_tolerance:
    description: Seconds that clocks may be apart.
    type: float
    default: 5
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference.
  platform:
    description: The control node.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Judge the inventory
  kcms.cluster.preflight:
    stage: inventory
  run_once: true
"""

RETURN = r"""
problems:
  description: How many problems there are.
  returned: always
  type: int
  sample: 0
"""

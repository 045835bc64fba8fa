#!/usr/bin/python
"""Ansible module: the host's side of a restore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_part
short_description: Put a part of a backup back on a host
description:
  - The host's side of playbooks/restore.yml; M(kcms.cluster.restore) runs it and brings the parts.
  - Nothing is in its place before the last step, and what was there is kept aside.
options:
  step:
    description:
      - V(look) fails when something is there that is to stay; V(unpack) takes a part; V(place) puts
        what was unpacked in its place; V(drop) removes it.
    type: str
    choices: [look, unpack, place, drop]
    required: true
  stamp:
    description: UTC time of this restore, as V(20260101T000000Z).
    type: str
    required: true
  replace:
    description: Whether what is there is kept aside; without it, it forbids the restore.
    type: bool
    default: false
  clusters:
    description: Clusters whose stores are meant.
    type: list
    elements: str
    default: []
  rrd_directory:
    description: Directory of the round-robin files; empty when none are meant.
    type: str
    default: ""
  part:
    description: Path of the part.
    type: str
    default: ""
  taken:
    description: When the backup was made, in seconds since the epoch.
    type: float
    default: 0
  keep:
    description: Whether jobs that had not begun stay as they were.
    type: bool
    default: false
  gap:
    description: Job numbers to leave out.
    type: int
    default: 1000
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Only looks.
  diff_mode:
    support: none
    description: An archive has no difference to show.
  platform:
    description: A host of the grid, or one that is to be.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: See whether something is there
  kcms.cluster.restore_part:
    step: look
    stamp: 20260101T000000Z
    clusters: [alpha]
"""

RETURN = r"""
there:
  description: What is there and would be kept aside.
  returned: for the step look
  type: list
  elements: str
  sample: [the job store of alpha]
settled:
  description: Cluster to what became of its jobs.
  returned: for the step place
  type: dict
  sample:
    alpha: {given_up: 1, kept: 2, last_job: 1007}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_restore import Restore

ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["look", "unpack", "place", "drop"], "required": True},
    "stamp": {"type": "str", "required": True},
    "replace": {"type": "bool", "default": False},
    "clusters": {"type": "list", "elements": "str", "default": []},
    "rrd_directory": {"type": "str", "default": ""},
    "part": {"type": "str", "default": ""},
    "taken": {"type": "float", "default": 0.0},
    "keep": {"type": "bool", "default": False},
    "gap": {"type": "int", "default": 1000},
}


def perform(given: dict[str, Any], check: bool) -> dict[str, Any]:
    """What the task returns.  :raises HostError: with the reason"""
    restore = Restore(given["stamp"], given["replace"], given["rrd_directory"])
    if given["step"] == "look" or check:
        return {"changed": False, "there": restore.look(given["clusters"])}
    if given["step"] == "drop":
        restore.drop()
    elif given["step"] == "place":
        return {"changed": True, "settled": _place(restore, given)}
    elif given["clusters"]:
        (cluster,) = given["clusters"]
        return {"changed": True, "files": restore.unpack_store(cluster, given["part"])}
    else:
        restore.begin_rrd()
        return {"changed": True, "files": restore.unpack_rrd(given["part"])}
    return {"changed": True}


def _place(restore: Restore, given: dict[str, Any]) -> dict[str, Any]:
    settled = {
        cluster: restore.place_store(cluster, given["taken"], given["keep"], given["gap"])
        for cluster in given["clusters"]
    }
    if given["rrd_directory"]:
        restore.place_rrd()
    return settled


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(**perform(module.params, module.check_mode))
    except HostError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

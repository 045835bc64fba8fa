#!/usr/bin/python
"""Ansible module: the host's side of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_part
short_description: Make a part of a backup on a host
description:
  - The host's side of playbooks/backup.yml; M(kcms.cluster.backup) runs it and fetches the parts.
  - Copies of job stores are made while the manager works and are checked.
options:
  step:
    description:
      - V(look) fails when something that should be copied is not there; V(stop) stops managers
        for good; V(store) and V(rrd) make a part; V(drop) removes one.
    type: str
    choices: [look, stop, store, rrd, drop]
    required: true
  clusters:
    description: Clusters whose managers are here.
    type: list
    elements: str
    default: []
  rrd_directory:
    description: Directory of the round-robin files; empty where there are none.
    type: str
    default: ""
  after:
    description: Name of the last file of the part before.
    type: str
    default: ""
  uid:
    description: Whom the part shall belong to.
    type: int
    default: 0
  drop:
    description: Path of a part that was fetched, to be removed first.
    type: str
    default: ""
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
- name: See whether there is something to copy
  kcms.cluster.backup_part:
    step: look
    clusters: [alpha]
"""

RETURN = r"""
part:
  description: The part that was made - path, size, files, after, left_out.
  returned: for the steps store and rrd
  type: dict
  sample:
    path: /var/lib/kcms/.backup-x1y2z3/part
    size: 40960
    files: 2
    after: ""
    left_out: []
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils import host_copies
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError

ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["look", "stop", "store", "rrd", "drop"], "required": True},
    "clusters": {"type": "list", "elements": "str", "default": []},
    "rrd_directory": {"type": "str", "default": ""},
    "after": {"type": "str", "default": ""},
    "uid": {"type": "int", "default": 0},
    "drop": {"type": "str", "default": ""},
}


def perform(given: dict[str, Any], check: bool) -> dict[str, Any]:
    """What the task returns.  :raises HostError: with the reason"""
    if given["step"] == "look" or check:
        host_copies.check_there(given["clusters"], given["rrd_directory"])
        return {"changed": False}
    if given["drop"]:
        host_copies.drop(given["drop"])
    if given["step"] == "stop":
        host_copies.stop_for_good(given["clusters"])
    elif given["step"] == "store":
        (cluster,) = given["clusters"]
        return {"changed": True, "part": asdict(host_copies.pack_store(cluster, given["uid"]))}
    elif given["step"] == "rrd":
        part = host_copies.pack_rrd(given["rrd_directory"], given["after"], given["uid"])
        return {"changed": True, "part": asdict(part)}
    return {"changed": True}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(**perform(module.params, module.check_mode))
    except HostError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

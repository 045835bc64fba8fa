#!/usr/bin/python
"""KCMS off one host, in one module run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: removal
short_description: Take KCMS off a host, in one run
description:
  - Stops and removes what a rollout made there, whatever roles the host had, accounts included.
    OS packages stay, as other software may use them.
  - Data, that is job stores, records of tasks and round-robin files, is kept and given to root,
    unless O(data) is set. The next rollout takes it up again.
  - Refuses, and touches nothing, when tasks run there, or when it would forget jobs that are not
    over.
options:
  running:
    description: End tasks that run there, and give up jobs of a store that are not over.
    type: bool
    default: false
  data:
    description: Whether to remove data too.
    type: bool
    default: false
  rrd_directory:
    description: Directory of the round-robin files.
    type: path
    default: /var/lib/kcms/rrd
  packages:
    description: OS packages that a rollout installs; those that are there are returned.
    type: list
    elements: str
    default: []
  look:
    description: Only look, as in check mode; a refusal is then returned, and is no failure.
    type: bool
    default: false
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Says what would go.
  diff_mode:
    support: none
    description: The paths are returned instead.
  platform:
    description: A host of the grid, or one that is to be.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Take KCMS off the host, keeping its data
  kcms.cluster.removal:
"""

RETURN = r"""
changed_paths:
  description: What went, or changed hands (in check mode, would).
  returned: success
  type: list
  elements: str
  sample: [/etc/kcms, user kcms-monitor]
kept:
  description: Places of data that are kept.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/kcms/rrd]
packages:
  description: Those of O(packages) that are installed; they stay.
  returned: success
  type: list
  elements: str
  sample: [python3-psutil]
refusal:
  description: Why the host is left as it is; empty when nothing forbids it.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils import packages_host
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_removal import Removal, Wish

SWITCH = {"type": "bool", "default": False}


def perform(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """What the task returns.  :raises HostError: it is refused, or a step failed"""
    wish = Wish(params["running"], params["data"], params["rrd_directory"])
    removal = Removal(wish)
    found = removal.examine()
    refusal = found.refusal(wish)
    if refusal and not params["look"]:
        raise HostError(refusal)
    steps = found.steps(wish)
    if steps and not check and not params["look"]:
        removal.carry_out(found)
    names = params["packages"]
    lacking = packages_host.missing_names(names)
    return {
        "changed": bool(steps) and not params["look"],
        "changed_paths": steps,
        "kept": [] if wish.data else list(found.data),
        "packages": [name for name in names if name not in lacking],
        "refusal": refusal,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "running": SWITCH,
            "data": SWITCH,
            "rrd_directory": {"type": "path", "default": "/var/lib/kcms/rrd"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "look": SWITCH,
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**perform(module.params, module.check_mode))
    except (HostError, packages_host.PackageError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

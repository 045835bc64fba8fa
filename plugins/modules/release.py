#!/usr/bin/python
"""Our code on a host: one directory a version, and a link to the current one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Put the version of KCMS that the control node has on a host
description:
  - Unpacks our wheel under RV(path), byte-compiles it and points the link C(current) to it, each in
    one step that is done or not done.
  - Run as a task, the control node builds the wheel from its own sources and sends it only to
    hosts that lack that version; O(version) and O(wheel) are filled in by it.
  - Older versions go, save the newest of them and those that a process still runs from.
options:
  version:
    description: Version to have; filled in from the control node's sources.
    type: str
  wheel:
    description: The wheel, in base64; filled in when the host lacks the version.
    type: str
  root:
    description: Directory of the releases and of the link.
    type: path
    default: /opt/kcms
  keep:
    description: How many of the newest versions stay in any case.
    type: int
    default: 3
  inputs_of:
    description: Units that become stale when the link is switched, see M(kcms.cluster.component).
    type: list
    elements: str
    default: []
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Says whether the version would be sent or switched to.
  diff_mode:
    support: none
    description: The versions are returned instead.
  platform:
    description: A host of the grid, or one that is to be.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Bring our code
  kcms.cluster.release:
    inputs_of: [kcms-node.service]
"""

RETURN = r"""
version:
  description: The version that is (in check mode, would be) current.
  returned: success
  type: str
  sample: 0.1.0+3f5a971c
path:
  description: Its directory.
  returned: success
  type: str
  sample: /opt/kcms/releases/0.1.0+3f5a971c
missing:
  description: Whether the host lacks the version and has to be sent the wheel.
  returned: success
  type: bool
  sample: true
pruned:
  description: Versions that were taken away.
  returned: success
  type: list
  elements: str
  sample: [0.1.0+9c20e671]
stale:
  description: Running units that need a restart.
  returned: success
  type: list
  elements: str
  sample: [kcms-node.service]
"""

import base64

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_release import Releases
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import Systemd


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str"},
            "wheel": {"type": "str", "no_log": True},
            "root": {"type": "path", "default": "/opt/kcms"},
            "keep": {"type": "int", "default": 3},
            "inputs_of": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**bring(module))
    except HostError as error:
        module.fail_json(msg=str(error))


def bring(module: AnsibleModule) -> dict[str, object]:
    """Do what the parameters say; without a wheel that is needed, only tell that it is."""
    params = module.params
    releases, systemd = Releases(params["root"]), Systemd()
    version = params["version"]
    if not version:
        raise HostError(
            "give the version: run this as a task, so that the control node fills it in"
        )
    before = releases.current()
    missing, switched = not releases.has(version), before != version
    states = systemd.states(params["inputs_of"])
    running = {name for name, state in states.items() if state.runs}
    owing = systemd.stale(running)
    stale = (running if switched else set()) | owing
    result: dict[str, object] = {
        "changed": missing or switched or bool(stale),
        "version": version,
        "path": str(releases.directory(version)),
        "missing": missing,
        "stale": sorted(stale),
        "pruned": [],
    }
    if module.check_mode or (missing and not params["wheel"]):
        return result
    if missing:
        releases.unpack(version, base64.b64decode(params["wheel"]))
    if switched:
        systemd.mark(running)
        releases.switch(version)
        if not owing:  # what owes a restart runs a release that is not known
            result["pruned"] = releases.prune(params["keep"], before)
    return result


if __name__ == "__main__":
    main()

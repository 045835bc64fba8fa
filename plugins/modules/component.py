#!/usr/bin/python
"""Everything one role wants of a host, in one module run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: component
short_description: Accounts, files and units of one part of KCMS on a host, in one run
description:
  - Makes groups, system users, directories, files and links as wanted, takes paths away, and
    enables and starts systemd units, in this order and in one module run, because each run of a
    module costs a host more time than the work of this one.
  - Texts are rendered on the control node and given as O(files[].content).
  - Running units whose inputs change are not restarted here. They are returned as RV(stale) and
    stay noted on the host until a later run is given them as O(restarted).
  - In check mode nothing is touched; users, directories and units that are not there yet count as
    "would be made".
options:
  groups:
    description: System groups to make.
    type: list
    elements: str
    default: []
  users:
    description: System users to make, each with a group of its own name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user and of its group.
        type: str
        required: true
      home:
        description: Home directory; it is not made.
        type: str
        default: /nonexistent
      shell:
        description: Login shell.
        type: str
        default: /usr/sbin/nologin
      comment:
        description: Full name.
        type: str
        default: ''
      groups:
        description: Further groups to be in.
        type: list
        elements: str
        default: []
  directories:
    description: Directories to make, parents first.
    type: list
    elements: dict
    default: []
    suboptions:
      path: &path
        description: Absolute path.
        type: path
        required: true
      owner: &owner
        description: Owner.
        type: str
        default: root
      group: &group
        description: Group.
        type: str
        default: root
      mode:
        description: Permissions, as an octal string.
        type: str
        default: '0755'
      contents:
        description:
          - Whether all that lies below belongs to the same owner and group. Links and files with
            a second name elsewhere are left as they are.
        type: bool
        default: false
  files:
    description: Files to write, each with O(files[].content), or with its text in O(secrets).
    type: list
    elements: dict
    default: []
    suboptions:
      path: *path
      owner: *owner
      group: *group
      mode:
        description: Permissions, as an octal string.
        type: str
        default: '0644'
      content:
        description: Text of the file.
        type: str
  secrets:
    description:
      - Texts, by path, of those O(files) that nobody may see; they are in no output, diff or log.
      - They stand apart because a host's log would show them inside a list.
    type: dict
    default: {}
  links:
    description: Symbolic links to make.
    type: list
    elements: dict
    default: []
    suboptions:
      path: *path
      target:
        description: What the link says.
        type: str
        required: true
  absent:
    description: Files and links to take away.
    type: list
    elements: path
    default: []
  units:
    description: Units to enable and start; they become stale when anything else here changes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name with its suffix, as V(kcms-node.service).
        type: str
        required: true
      enabled:
        description: Whether it is started at boot.
        type: bool
        default: true
      started:
        description: Whether it runs now.
        type: bool
        default: true
  inputs_of:
    description: Further units, managed elsewhere, that become stale when anything here changes.
    type: list
    elements: str
    default: []
  restarted:
    description: Units to restart now.
    type: list
    elements: str
    default: []
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Reports what a real run would change.
  diff_mode:
    support: full
    description: Shows files, owners and modes before and after, save those of secrets.
  platform:
    description: A host of the grid, or one that is to be.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Set up a daemon
  kcms.cluster.component:
    users:
      - name: kcms-monitor
    files:
      - path: /etc/kcms/monitor.toml
        content: "{{ settings }}"
      - path: /etc/systemd/system/kcms-monitor.service
        content: "{{ lookup('ansible.builtin.template', 'kcms-monitor.service.j2') }}"
    units:
      - name: kcms-monitor.service
"""

RETURN = r"""
changed_paths:
  description: Accounts, paths and unit steps that were (in check mode, would be) changed.
  returned: success
  type: list
  elements: str
  sample: [user kcms-monitor, /etc/kcms/monitor.toml, start kcms-monitor.service]
stale:
  description: Running units that need a restart because their inputs were replaced.
  returned: success
  type: list
  elements: str
  sample: [kcms-monitor.service]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_component import Component

PATH = {"path": {"type": "path", "required": True}}
OWNED = {
    **PATH,
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}


def _dicts(options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def _strings(elements: str = "str") -> dict[str, Any]:
    return {"type": "list", "elements": elements, "default": []}


def argument_spec() -> dict[str, Any]:
    text = {"type": "str", "default": ""}
    files = {
        **OWNED,
        "mode": {"type": "str", "default": "0644"},
        "content": {"type": "str"},
    }
    return {
        "groups": _strings(),
        "users": _dicts(
            {
                "name": {"type": "str", "required": True},
                "home": {"type": "str", "default": "/nonexistent"},
                "shell": {"type": "str", "default": "/usr/sbin/nologin"},
                "comment": text,
                "groups": _strings(),
            }
        ),
        "directories": _dicts(
            {
                **OWNED,
                "mode": {"type": "str", "default": "0755"},
                "contents": {"type": "bool", "default": False},
            }
        ),
        "files": _dicts(files),
        "secrets": {"type": "dict", "default": {}, "no_log": True},
        "links": _dicts({**PATH, "target": {"type": "str", "required": True}}),
        "absent": _strings("path"),
        "units": _dicts(
            {
                "name": {"type": "str", "required": True},
                "enabled": {"type": "bool", "default": True},
                "started": {"type": "bool", "default": True},
            }
        ),
        "inputs_of": _strings(),
        "restarted": _strings(),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        component = Component.of(module.params)
        outcome = component.examine()
        if not module.check_mode:
            component.carry_out(outcome)
    except HostError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=outcome.changed,
        changed_paths=outcome.changed_paths,
        stale=sorted(outcome.stale),
        diff=[difference.diff() for difference in outcome.differences],
    )


if __name__ == "__main__":
    main()

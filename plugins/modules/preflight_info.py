#!/usr/bin/python
"""Ansible module: what the preflight wants to know of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
short_description: Look at a host before the rollout touches it
description:
  - Collects in one run what the preflight judges. Changes nothing, works on a bare host.
  - As a task, what is not given is worked out from the inventory by the control node, which also
    adds how far the host's clock is from its own.
options:
  shared_directories:
    description: The directories that all hosts share. They are not opened.
    type: list
    elements: str
    default: []
  users:
    description: Users to look up, besides those with a home below O(shared_directories).
    type: list
    elements: str
    default: []
  ports:
    description: Ports to look at, each as V(tcp 8660) or V(udp 8649).
    type: list
    elements: str
    default: []
  targets:
    description: Ports of others to connect to, each as V(ADDRESS PORT).
    type: list
    elements: str
    default: []
  packages:
    description: OS packages to look for.
    type: list
    elements: str
    default: []
  source:
    description: Where packages come from; asked for an answer only when some are missing.
    type: str
    default: ""
  url:
    description: Address of the mirror or proxy.
    type: str
    default: ""
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference.
  platform:
    description: A host of the grid, or one that is to be.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: What is installed here
  kcms.cluster.preflight_info:
    packages: [rrdtool]
  register: seen
"""

RETURN = r"""
os:
  description: id, version, name and codename of the operating system.
  returned: always
  type: dict
  sample: {id: debian, version: "13", name: Debian GNU/Linux 13 (trixie), codename: trixie}
missing:
  description: Which of O(packages) are not installed.
  returned: always
  type: list
  elements: str
  sample: [rrdtool]
ports:
  description: Who has bound O(ports).
  returned: always
  type: list
  elements: dict
  sample:
    - {proto: tcp, port: 8660, program: python3, unit: kcms-manager@alpha.service, pid: 812}
reach:
  description: What connecting to each of O(targets) came to.
  returned: always
  type: dict
  sample: {"10.0.0.10 8660": open}
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_collect import collect

TEXTS = {"type": "list", "elements": "str", "default": []}
ARGUMENTS = {
    "shared_directories": TEXTS,
    "users": TEXTS,
    "ports": TEXTS,
    "targets": TEXTS,
    "packages": TEXTS,
    "source": {"type": "str", "default": ""},
    "url": {"type": "str", "default": ""},
}


def pairs(texts: list[str]) -> list[tuple[str, int]]:
    """``WORD NUMBER`` texts as (word, number)."""
    return [(word, int(number)) for word, number in (text.split() for text in texts)]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    try:
        ports, targets = pairs(given["ports"]), pairs(given["targets"])
    except ValueError:
        module.fail_json(msg="ports and targets are texts of a word and a number: 'tcp 8660'")
    seen = collect(
        given["shared_directories"],
        given["users"],
        ports,
        targets,
        given["packages"],
        (given["source"], given["url"]),
    )
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()

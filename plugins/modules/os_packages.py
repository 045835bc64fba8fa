#!/usr/bin/python
"""Ansible module: OS packages of a host from a source that the host can reach."""

from __future__ import annotations

DOCUMENTATION = r"""
module: os_packages
short_description: Install OS packages from the host's sources, a mirror, a proxy or a bundle
description:
  - Installs what is missing of O(names), in one apt run, without recommended packages.
  - Leaves the apt configuration of the host as it is, and needs no python3-apt, so that check mode
    tells the truth on a bare host.
  - With O(source=bundle) the control node builds, or takes from O(bundle_directory), an archive of
    the packages with all they need, and sends a host what it lacks of it.
options:
  names:
    description: Debian packages that must be installed.
    type: list
    elements: str
    required: true
  source:
    description: Where packages come from.
    type: str
    choices: [apt, mirror, proxy, bundle]
    default: apt
  url:
    description: Address of the mirror or of the proxy.
    type: str
    default: ""
  bundle:
    description:
      - Path of a whole bundle on the host. Without it the control node sends what is needed.
    type: str
    default: ""
  bundle_names:
    description: Packages a bundle is built for; more than O(names) saves building another.
    type: list
    elements: str
    default: []
  bundle_directory:
    description: Directory of the bundles on the control node.
    type: str
    default: ~/.cache/kcms/bundles
  index:
    description: Index of a bundle, as the control node sends it.
    type: str
    default: ""
  step:
    description: Part of the work; the control node uses the others than V(install).
    type: str
    choices: [install, plan, resolve]
    default: install
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Says what would be installed.
  diff_mode:
    support: none
    description: Packages have no difference to show.
  platform:
    description: A host of the grid, or one that is to be.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: What the daemons run on
  kcms.cluster.os_packages:
    names: [python3-psutil, python3-aiohttp]

- name: The same on a host without a route
  kcms.cluster.os_packages:
    names: [python3-psutil, python3-aiohttp]
    source: bundle
"""

RETURN = r"""
missing:
  description: What was missing and is installed now (in check mode, would be).
  returned: always
  type: list
  elements: str
  sample: [python3-psutil]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils import (
    packages_apt,
    packages_host,
)

ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "required": True},
    "source": {"type": "str", "choices": list(packages_apt.SOURCES), "default": "apt"},
    "url": {"type": "str", "default": ""},
    "bundle": {"type": "str", "default": ""},
    "bundle_names": {"type": "list", "elements": "str", "default": []},
    "bundle_directory": {"type": "str", "default": packages_apt.BUNDLE_DIRECTORY},
    "index": {"type": "str", "default": ""},
    "step": {"type": "str", "choices": ["install", "plan", "resolve"], "default": "install"},
}


def perform(wanted: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do one step; what the module answers."""
    missing = packages_host.missing_names(wanted["names"])
    left = packages_host.interrupted() if check else packages_host.forget_interrupted()
    answer: dict[str, Any] = {"missing": missing, "changed": bool(left)}
    if wanted["step"] == "plan":
        if missing:
            answer["release"], answer["architecture"] = packages_host.release_and_architecture()
    elif wanted["step"] == "resolve":
        answer["files"] = packages_host.needed_files(missing, wanted["index"])
    elif missing:
        answer["changed"] = True
        if not check:
            source = packages_apt.Source(wanted["source"], wanted["url"])
            offer = packages_host.Offer(source, wanted["index"], wanted["bundle"])
            packages_host.install(missing, offer)
    return answer


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    wrong = packages_apt.wrong_names(wanted["names"])
    problem = packages_apt.source_problem(wanted["source"], wanted["url"])
    if wrong:
        problem = f"no names of Debian packages: {', '.join(map(repr, wrong))}"
    if problem:
        module.fail_json(msg=problem)
    try:
        answer = perform(wanted, module.check_mode)
    except packages_host.PackageError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"cannot write {error.filename}: {error.strerror}")
    else:
        module.exit_json(**answer)


if __name__ == "__main__":
    main()

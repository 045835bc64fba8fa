#!/usr/bin/python
"""Documentation of the action of this name; there is nothing to run on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site
short_description: Work out from the inventory who does what in the grid
description:
  - Runs on the control node alone.  Reads groups and C(kcms_) variables of all hosts, checks that
    they fit together, and returns one picture of the site, for the roles to read.
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Changes nothing at any time.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference.
  platform:
    description: The control node.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Survey the site
  kcms.cluster.site:
  run_once: true
  register: kcms_site
"""

RETURN = r"""
hosts:
  description: For each host its address, cluster, roles, managers, units and certificates.
  returned: success
  type: dict
  sample:
    alpha1:
      address: 10.0.0.11
      cluster: alpha
      roles: [node, submit]
clusters:
  description: For each cluster its hosts and where its manager listens.
  returned: success
  type: dict
  sample:
    alpha:
      hosts: [alpha1, alpha2]
"""

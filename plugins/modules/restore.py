#!/usr/bin/python
"""Documentation of the action kcms.cluster.restore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Put an archive of a backup back
description:
  - What playbooks/restore.yml is made of.
options:
  step:
    description: V(open) checks all of it, V(ca) puts the CA back, V(put) what is the host's.
    type: str
    choices: [open, ca, put]
    required: true
  archive:
    description: The archive on the control node.
    type: path
    required: true
  grid:
    description: Name of the grid.
    type: str
  pki_directory:
    description: Directory of the CA on the control node.
    type: path
  replace:
    description: Whether what is there is kept aside; without it, it forbids the restore.
    type: bool
    default: false
  pending:
    description: V(keep) or V(fail), for jobs that had not begun; empty goes by the archive.
    type: str
    default: ""
  plan:
    description: What the step V(open) returned.
    type: dict
    default: {}
  rrd_directory:
    description: Directory of the round-robin files on the host.
    type: str
    default: ""
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Checks the archive, and writes nothing.
  diff_mode:
    support: none
    description: An archive has no difference to show.
  platform:
    description: The control node.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Check an archive
  kcms.cluster.restore:
    step: open
    archive: ~/kcms-demo-20260101T000000Z.tar
    grid: demo
    pki_directory: ~/.config/kcms/demo/pki
"""

RETURN = r"""
hosts:
  description: Hosts, each with its parts.
  returned: for the step open
  type: dict
  sample:
    head: {stores: {alpha: {size: 40960}}, rrd: []}
settled:
  description: Cluster to what became of its jobs.
  returned: for the step put
  type: dict
  sample:
    alpha: {}
"""

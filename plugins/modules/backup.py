#!/usr/bin/python
"""Documentation of the action kcms.cluster.backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Bring what cannot be made again to one archive on the control node
description:
  - What playbooks/backup.yml is made of. Nothing half-made stays when a step fails.
options:
  step:
    description: V(begin) with the CA, V(copy) what a host has, V(finish) with the manifest.
    type: str
    choices: [begin, copy, finish]
    required: true
  directory:
    description: Where archives are kept on the control node.
    type: path
  grid:
    description: Name of the grid.
    type: str
  pki_directory:
    description: Directory of the CA on the control node.
    type: path
  path:
    description: What the step V(begin) returned.
    type: path
  host:
    description: Inventory name of the host that is copied.
    type: str
  clusters:
    description: Clusters whose managers are on the host.
    type: list
    elements: str
    default: []
  rrd_directory:
    description: Directory of the round-robin files on the host; empty for none.
    type: str
    default: ""
  final:
    description: Whether managers are stopped for good first.
    type: bool
    default: false
  keep:
    description: How many archives of the grid are kept; 0 keeps all.
    type: int
    default: 0
  time:
    description: What the step V(begin) returned.
    type: float
  managers:
    description: Clusters, each with the host of its manager.
    type: dict
    default: {}
  aggregators:
    description: Hosts with round-robin files.
    type: list
    elements: str
    default: []
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Writes nothing.
  diff_mode:
    support: none
    description: An archive has no difference to show.
  platform:
    description: The control node.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Begin
  kcms.cluster.backup:
    step: begin
    directory: ~/backups
    grid: demo
    pki_directory: ~/.config/kcms/demo/pki
"""

RETURN = r"""
path:
  description: The archive.
  returned: for the steps begin and finish
  type: str
  sample: /root/kcms-backup-2026-11-24.tar
removed:
  description: Archives that were too many.
  returned: for the step finish
  type: list
  elements: str
  sample: []
"""

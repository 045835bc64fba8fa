#!/usr/bin/python
"""Documentation of the action kcms.cluster.bundle, which runs on the control node alone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle
short_description: Build archives of OS packages for hosts without a route
description:
  - Builds, without root, an archive of packages with all they need for each release and
    architecture, from the Debian sources of the control node. One that serves is kept.
options:
  targets:
    description: Releases and architectures, each as V(trixie-amd64).
    type: list
    elements: str
    required: true
  directory:
    description: Directory of the bundles on the control node.
    type: str
    default: ~/.cache/kcms/bundles
  names:
    description: Packages; by default those of all roles.
    type: list
    elements: str
  fresh:
    description: Build also what is there, with the newest packages.
    type: bool
    default: false
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Says whether something would be built.
  diff_mode:
    support: none
    description: Archives have no difference to show.
  platform:
    description: The control node.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Have packages for hosts without a route
  kcms.cluster.bundle:
    targets: [trixie-amd64, bookworm-amd64]
"""

RETURN = r"""
bundles:
  description: Paths of the archives.
  returned: always
  type: list
  elements: str
  sample: [/root/.cache/kcms/bundles/trixie-amd64.tar]
"""

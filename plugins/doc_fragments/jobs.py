"""Options that every job module has."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  user:
    description:
      - In whose name to act. Only root may name another user than itself.
      - Root of a cluster node acts for a user of that node; root of a host with the role C(admin),
        as the head is, sees and kills everybody's jobs when it names nobody.
    type: str
  cluster:
    description: The cluster meant; the host's own by default.
    type: str
  socket:
    description: Unix socket of the host's gateway.
    type: str
    default: /run/kcms-gateway/api.sock
requirements:
  - a host of the grid where C(kcms-gateway) runs (every node, and the head)
author: KCMS maintainers (@kcms)
"""

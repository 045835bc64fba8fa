"""Options and attributes that every module of the action group ``kcms.cluster.jobs`` has."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  user:
    description:
      - In whose name to act. Only root may name another user than itself.
      - Root of a cluster node acts for a user of that node; root of a host with the role C(admin),
        as the head is, sees and kills everybody's jobs when it names nobody.
      - By default the user that the task runs as on the host, so the one that Ansible logs in as,
        or that of C(become_user).
    type: str
  cluster:
    description: The cluster meant; the host's own by default.
    type: str
  socket:
    description: Unix socket of the host's gateway.
    type: str
    default: /run/kcms-gateway/api.sock
attributes:
  action_group:
    description:
      - Use C(group/kcms.cluster.jobs) in C(module_defaults) to give all modules of jobs, nodes and
        processes the same O(user), O(cluster) and O(socket).
    support: full
    membership:
      - kcms.cluster.jobs
  platform:
    description: A host of the grid where C(kcms-gateway) runs, which is every node and the head.
    platforms: debian
    support: full
requirements:
  - a host of the grid where C(kcms-gateway) runs (every node, and the head)
author: KCMS maintainers (@kcms)
"""

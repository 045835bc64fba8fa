#!/usr/bin/python
"""A wave of an upgrade, seen from a host of the grid's root."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wave
short_description: See what runs on a wave of hosts, and that an upgrade did them no harm
description:
  - Runs on a host of C(kcms_head), and asks the managers through its gateway.
  - Without O(release) it returns the tasks that run on the nodes. A manager that does not answer
    is then no failure, as an upgrade may be what mends it.
  - With O(release) it waits until every node is UP with that release at its manager, and the
    managers of O(managers) run it; then it sees that none of O(tasks) was lost or started again.
options:
  clusters:
    description: The nodes of the wave, by cluster; a cluster without nodes is asked all the same.
    type: dict
    required: true
  managers:
    description: Clusters whose manager must have O(release), too.
    type: list
    elements: str
    default: []
  release:
    description: Release that the nodes must have.
    type: str
  tasks:
    description: What an earlier run without O(release) returned.
    type: list
    elements: dict
    default: []
  timeout:
    description: Seconds to wait.
    type: int
    default: 90
  socket:
    description: Unix socket of the host's gateway.
    type: str
    default: /run/kcms-gateway/api.sock
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Changes nothing at any time.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference.
  platform:
    description: A host of the grid.
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: See what runs
  kcms.cluster.wave:
    clusters: {alpha: [alpha1, alpha2]}
  register: before

- name: See that all is well
  kcms.cluster.wave:
    clusters: {alpha: [alpha1, alpha2]}
    release: 0.2.0+0123456789ab
    tasks: "{{ before.tasks }}"
"""

RETURN = r"""
tasks:
  description: The tasks that run on the nodes, or those that were given.
  returned: success
  type: list
  elements: dict
  sample:
    - node: alpha1
      job: 12
      user: alice
silent:
  description: Clusters whose manager did not answer, without O(release).
  returned: success
  type: list
  elements: str
  sample: [beta]
"""

import time
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.host_wave import (
    Task,
    node_problems,
    shown,
    task_problem,
    tasks_on,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import (
    DEFAULT_SOCKET,
    Client,
    ClientError,
)

ACTIVE = ("RUNNING", "SUSPENDED")
PAUSE = 1.0
CALL_SECONDS = 20.0


class Wave:
    """The nodes of a wave, and the managers to ask."""

    def __init__(self, clusters: dict[str, list[str]], socket: str) -> None:
        self.clusters = clusters
        self.clients = {
            name: Client(socket, cluster=name, timeout=CALL_SECONDS) for name in clusters
        }

    def running(self, cluster: str) -> list[Task]:
        """The tasks that run on the wave's nodes.  :raises ClientError: no answer"""
        jobs = list(self.clients[cluster].every_job(ACTIVE))
        return tasks_on(cluster, self.clusters[cluster], jobs)

    def unready(self, release: str, managers: list[str]) -> list[str]:
        """What is not as it should be yet."""
        found = []
        for cluster, nodes in self.clusters.items():
            client = self.clients[cluster]
            try:
                there = client.call("GET", "/v1/ping")[1]["release"]
                if there != release and cluster in managers:
                    found.append(f"the manager of {cluster} runs release {there}, not {release}")
                found += node_problems(nodes, release, client.nodes())
            except ClientError as error:
                found.append(f"the manager of {cluster} does not answer: {error.message}")
        return found

    def harm(self, tasks: list[Task]) -> list[str]:
        """What became of tasks that it should not have.  :raises ClientError: no answer"""
        said = [task_problem(task, self.clients[task.cluster].job(task.job)) for task in tasks]
        return [each for each in said if each]


def look(wave: Wave) -> dict[str, Any]:
    tasks: list[Task] = []
    silent = []
    for cluster in wave.clusters:
        try:
            tasks += wave.running(cluster)
        except ClientError:
            silent.append(cluster)
    return {"tasks": [asdict(task) for task in tasks], "silent": silent}


def wait(wave: Wave, params: dict[str, Any]) -> list[str]:
    """What is still not as it should be when time is over; empty as soon as all is well."""
    end = time.monotonic() + params["timeout"]
    while True:
        left = wave.unready(params["release"], params["managers"])
        if not left or time.monotonic() > end:
            return left
        time.sleep(PAUSE)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "clusters": {"type": "dict", "required": True},
            "managers": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "str"},
            "tasks": {"type": "list", "elements": "dict", "default": []},
            "timeout": {"type": "int", "default": 90},
            "socket": {"type": "str", "default": DEFAULT_SOCKET},
        },
        supports_check_mode=True,
    )
    params = module.params
    wave = Wave(params["clusters"], params["socket"])
    if not params["release"]:
        module.exit_json(changed=False, **look(wave))
    try:
        problems = wait(wave, params)
        problems = problems or wave.harm([Task(**each) for each in params["tasks"]])
    except ClientError as error:
        problems = [error.message]
    if problems:
        module.fail_json(
            msg=f"{shown(problems)}: the upgrade stops here, and hosts not yet reached keep their "
            "release; mend it and run upgrade.yml again (a node that stays silent loses its jobs "
            "after 300 s, or what node_lost of its manager says)"
        )
    module.exit_json(changed=False, tasks=params["tasks"], silent=[])


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: what the aggregator knows of the grid."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grid_info
short_description: Look at the grid through its aggregator
description:
  - Reads the aggregator's XML on the host it runs on, and when each cluster's round-robin files
    were updated.
  - With O(expected), waits until all of these hosts are heard, and fails when some are not.
options:
  host:
    description: Address of the aggregator.
    type: str
    default: 127.0.0.1
  port:
    description: The aggregator's XML port.
    type: int
    default: 8651
  rrd_directory:
    description: Directory of the round-robin files; they are not looked at without it.
    type: path
  expected:
    description: Cluster to hosts that must be heard.
    type: dict
    default: {}
  max_age:
    description: Seconds since the last update of a cluster's newest file, at the most.
    type: int
    default: 60
  timeout:
    description: Seconds to wait for all that.
    type: int
    default: 0
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
- name: Who is heard
  kcms.cluster.grid_info:
  register: grid

# ansible head -m grid_info
"""

RETURN = r"""
clusters:
  description: Cluster to host to C(up), C(tn), C(tmax) and C(address).
  returned: always
  type: dict
  sample:
    alpha:
      alpha1: {up: true, tn: 3, tmax: 20, address: 10.0.0.11}
rrd_ages:
  description: Cluster to seconds since an update of its newest round-robin file.
  returned: when O(rrd_directory) is given
  type: dict
  sample: {alpha: 12}
"""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kcms.cluster.plugins.module_utils.grid_xml import (
    GridError,
    clusters,
    fetch,
    not_heard,
)

ARGUMENTS = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 8651},
    "rrd_directory": {"type": "path"},
    "expected": {"type": "dict", "default": {}},
    "max_age": {"type": "int", "default": 60},
    "timeout": {"type": "int", "default": 0},
}
CONNECT_SECONDS = 10.0


def last_update(directory: Path) -> float | None:
    """When rrdtool last updated the newest file below ``directory``; None without any.

    The file's own time would not do: rrdtool writes through memory, and that sets it late.
    """
    files = sorted(directory.rglob("*.rrd"), key=lambda path: path.stat().st_mtime)
    program = shutil.which("rrdtool")
    if not files or not program:
        return None
    done = subprocess.run(
        [program, "last", str(files[-1])], capture_output=True, text=True, timeout=30, check=False
    )
    return float(done.stdout) if done.returncode == 0 else None


def look(params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What there is, and what is wrong with it.

    :raises GridError: no answer, or none that can be read
    """
    found = clusters(fetch(params["host"], params["port"], CONNECT_SECONDS))
    seen: dict[str, Any] = {"clusters": found}
    wrong = [f"not heard: {each}" for each in not_heard(params["expected"], found)]
    if params["rrd_directory"]:
        root, now = Path(params["rrd_directory"]), time.time()
        updates = {name: last_update(root / name) for name in found}
        ages = {name: None if at is None else round(now - at) for name, at in updates.items()}
        seen["rrd_ages"] = ages
        for name in params["expected"]:
            age = ages.get(name)
            if age is None:
                wrong.append(f"no RRD of cluster {name} below {root}")
            elif age > params["max_age"]:
                wrong.append(f"newest RRD of cluster {name} is {age} s old")
    return seen, wrong


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    end = time.monotonic() + module.params["timeout"]
    while True:
        seen: dict[str, Any] = {}
        try:
            seen, wrong = look(module.params)
        except (GridError, OSError, subprocess.TimeoutExpired) as error:
            wrong = [str(error)]
        if not wrong:
            module.exit_json(changed=False, **seen)
        if time.monotonic() >= end:
            module.fail_json(msg="; ".join(wrong), **seen)
        time.sleep(1)


if __name__ == "__main__":
    main()

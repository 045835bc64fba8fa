"""Playbooks on an inventory that sets only what must be set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = """
all:
  vars: {kcms_grid: physics, ansible_connection: local, ansible_become: false}
  children:
    kcms_head: {hosts: {here: {ansible_host: 192.0.2.1}}}
    kcms_nodes: {children: {alpha: {hosts: {here: {}}, vars: {kcms_cluster: alpha}}}}
"""


def test_the_ca_is_looked_for_where_the_rollout_put_it(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY, encoding="utf-8")
    playbook = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [str(playbook), "-i", str(inventory), "playbooks/renew.yml", "--check"],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert f"there is no CA in {tmp_path}/.config/kcms/physics/pki" in done.stdout

"""A bare lab host with the OS packages in, for the node daemon alone.

``KCMS_NODE_HOST`` may hold the command that reaches another one as root (``nsenter -t PID -a``).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab_node.host import ROOT, Host

LAB = {"LAB": "node", "LAB_HOSTS": "alpha=1"}


@pytest.fixture(scope="session")
def prefix() -> Iterator[list[str]]:
    if "KCMS_NODE_HOST" in os.environ:
        yield shlex.split(os.environ["KCMS_NODE_HOST"])
        return
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root")
    environment = {**os.environ, **LAB}
    lab = [sys.executable, "-m", "lab"]
    subprocess.run([*lab, "up"], check=True, cwd=ROOT, env=environment)
    try:
        yield ["env", *(f"{key}={value}" for key, value in LAB.items()), *lab, "exec", "alpha1"]
    finally:
        subprocess.run([*lab, "down"], check=True, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def host(prefix: list[str]) -> Iterator[Host]:
    made = Host(prefix)
    try:
        made.set_up()
        yield made
    finally:
        made.clean()

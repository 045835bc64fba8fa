"""A bare lab host with the OS packages in, for the node daemon alone.

``KCMS_NODE_HOST`` may hold the command that reaches another one as root (``nsenter -t PID -a``),
``KCMS_NODE_LAB`` the name of a lab that stands, whose hosts alpha1 to alpha3 are used.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab_node.grid import Grid
from tests.lab_node.host import ROOT, Host

LAB = {"LAB": "node", "LAB_HOSTS": "alpha=3"}


COMMAND = [sys.executable, "-m", "lab"]


@pytest.fixture(scope="session")
def prefix(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    if "KCMS_NODE_HOST" in os.environ:
        yield shlex.split(os.environ["KCMS_NODE_HOST"])
        return
    yield reach(request.getfixturevalue("lab_name"), "alpha1")


def reach(lab: str, host: str) -> list[str]:
    """The command that runs the rest of its arguments as root of a lab host."""
    return ["env", f"LAB={lab}", *COMMAND, "exec", host]


@pytest.fixture(scope="session")
def lab_name() -> Iterator[str]:
    if "KCMS_NODE_LAB" in os.environ:
        yield os.environ["KCMS_NODE_LAB"]
        return
    if os.geteuid() != 0:
        pytest.skip("lab hosts need root")
    environment = {**os.environ, **LAB}
    subprocess.run([*COMMAND, "up", "--fresh"], check=True, cwd=ROOT, env=environment)
    try:
        yield LAB["LAB"]
    finally:
        subprocess.run([*COMMAND, "down"], check=True, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def host(prefix: list[str]) -> Iterator[Host]:
    made = Host(prefix)
    try:
        made.set_up()
        yield made
    finally:
        made.clean()


@pytest.fixture(scope="module")
def grid(lab_name: str) -> Iterator[Grid]:
    made = Grid({name: reach(lab_name, name) for name in ("alpha1", "alpha2", "alpha3")})
    try:
        made.set_up()
        yield made
    finally:
        made.clean()

"""A forwarding proxy on the lab's bridge, for packages on hosts that have no route out."""

from __future__ import annotations

import shutil
import socket
import time

from lab import state
from lab.errors import LabError
from lab.launcher import launcher
from lab.model import Lab
from lab.state import Paths

PORT = 8888
_NAME = "proxy"
_PATIENCE = 10.0  # s


def url(lab: Lab) -> str:
    return f"http://{lab.bridge_address}:{PORT}"


def config_text(lab: Lab) -> str:
    """tinyproxy's configuration: this lab only, without the hosts that are kept from it.  Pure."""
    denied = "".join(f"Deny {host.address}\n" for host in lab.hosts if not host.proxied)
    return (
        "User nobody\nGroup nogroup\n"
        f"Port {PORT}\nListen {lab.bridge_address}\n"
        "Timeout 600\nMaxClients 100\nLogLevel Warning\nDisableViaHeader Yes\n"
        "ConnectPort 443\n"
        # The first rule that fits decides.
        f"{denied}Allow {lab.subnet}\n"
    )


def start(lab: Lab, paths: Paths) -> bool:
    """Run the proxy with what the lab is now; True when that changed something."""
    program = shutil.which("tinyproxy")
    if program is None:
        raise LabError("tinyproxy not found: install tinyproxy-bin (`make setup` does)")
    changed = state.write(paths.proxy / "tinyproxy.conf", config_text(lab))
    if runs(lab) and not changed:
        return False
    starter = launcher(lab.name)
    starter.kill(_NAME)
    config = str(paths.proxy / "tinyproxy.conf")
    starter.start(_NAME, [program, "-d", "-c", config], paths.proxy / "log")
    _await(lab, paths)
    return True


def stop(lab: Lab) -> bool:
    """End the proxy; True when it ran."""
    ran = runs(lab)
    launcher(lab.name).kill(_NAME)
    return ran


def runs(lab: Lab) -> bool:
    return launcher(lab.name).runs(_NAME)


def _await(lab: Lab, paths: Paths) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and runs(lab):
        try:
            socket.create_connection((lab.bridge_address, PORT), timeout=2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise LabError(f"the proxy does not answer at {url(lab)}: see {paths.proxy / 'log'}")

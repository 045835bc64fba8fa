"""The bridge of a lab and the links of its hosts."""

from __future__ import annotations

import ipaddress
import json
import time

from lab.errors import LabError
from lab.model import Host, Lab
from lab.shell import run, succeeds

_PATIENCE = 10.0  # s, for the kernel to remove a dead host's link


def taken_networks() -> list[ipaddress.IPv4Network]:
    """The networks this machine has an address in or a route to, the default route left out."""
    found = set()
    for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all") or "[]"):
        destination = route.get("dst", "default")
        if destination not in ("default", "0.0.0.0/0"):
            found.add(ipaddress.IPv4Network(destination, strict=False))
    return sorted(found)


def links() -> dict[str, bool]:
    """The names of this machine's links; True for those that are switched on."""
    entries = json.loads(run("ip", "-json", "link", "show"))
    return {entry["ifname"]: "UP" in entry["flags"] for entry in entries}


def ensure_bridge(lab: Lab) -> bool:
    """Make the lab's bridge as it should be; True when something was missing."""
    changed = False
    if lab.bridge not in links():
        # Snooping needs a querier; without one a cluster's multicast would depend on timing.
        options = ("mcast_snooping", "0", "forward_delay", "0")
        run("ip", "link", "add", lab.bridge, "type", "bridge", *options)
        changed = True
    entries = json.loads(run("ip", "-json", "-4", "address", "show", "dev", lab.bridge) or "[]")
    addresses = [a.get("local") for entry in entries for a in entry.get("addr_info", [])]
    if lab.bridge_address not in addresses:
        run("ip", "address", "add", f"{lab.bridge_address}/24", "dev", lab.bridge)
        changed = True
    if not links()[lab.bridge]:
        run("ip", "link", "set", lab.bridge, "up")
        changed = True
    return changed


def set_link(host: Host, up: bool) -> bool:
    """Plug a host's link in or out; True when that changed it."""
    known = links()
    if host.link not in known:
        raise LabError(f"{host.name} has no link: it does not run (`python3 -m lab start`)")
    if known[host.link] == up:
        return False
    run("ip", "link", "set", host.link, "up" if up else "down")
    return True


def await_no_link(host: Host) -> None:
    """Wait until a dead host's link is gone: the kernel removes it a moment after the host."""
    end = time.monotonic() + _PATIENCE
    while host.link in links():
        if time.monotonic() > end:
            succeeds("ip", "link", "delete", host.link)
            return
        time.sleep(0.02)


def remove(bridge: str) -> None:
    """Remove a bridge and whatever links still hang on it."""
    if bridge not in links():
        return
    for entry in json.loads(run("ip", "-json", "link", "show", "master", bridge) or "[]"):
        succeeds("ip", "link", "delete", entry["ifname"])
    run("ip", "link", "delete", bridge)

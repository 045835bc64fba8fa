"""One host: its files, switching it on and off, waiting until it is ready."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path

from lab import network, state
from lab.errors import LabError
from lab.launcher import Launcher
from lab.model import Host, Lab
from lab.processes import find_init, mounts_below
from lab.shell import run, succeeds
from lab.state import HostPaths, Paths

READY_SECONDS = 120.0
_NSPAWN = Path("/run/systemd/nspawn")
_USERS = {"alice": 2001, "bob": 2002}
_HOSTS_BEGIN = "# hosts of the lab"
_HOSTS_END = "# end of hosts of the lab"

# Multicast needs a route; a real host has its default route for that.
_NETWORK_UNIT = """[Match]
Name=host0

[Network]
Address={address}/24
LinkLocalAddressing=ipv6
IPv6AcceptRA=no

[Route]
Destination=224.0.0.0/4
Scope=link
"""

_BOOT = """#!/bin/sh
# Switches this host on, with a boot clock of its own: that clock has a namespace.
set -eu
PATH=$PATH:/usr/sbin:/sbin
clocks=$(python3 -c '
from time import *
for clock in (CLOCK_BOOTTIME, CLOCK_MONOTONIC):
    print({boot_clock} - int(clock_gettime(clock)))')
set -- $clocks
# A pure version 2 tree of control groups inside; and no seccomp filter, which CRIU cannot suspend.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_SECCOMP=0
exec unshare --time --boottime "$1" --monotonic "$2" {command}
"""


def boot_script(host: Host, bridge: str, root: Path, shared: Path) -> str:
    """The shell script that becomes the host's systemd-nspawn.  Pure."""
    command = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        f"--directory={root}",
        f"--machine={host.machine}",
        f"--hostname={host.name}",
        f"--uuid={host.machine_id}",
        f"--network-bridge={bridge}",
        f"--bind={shared}:/shared",
        "--capability=all",
        "--drop-capability=CAP_SYS_MODULE,CAP_SYS_RAWIO",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
    ]
    return _BOOT.format(boot_clock=host.boot_clock, command=shlex.join(command))


def prepare(lab: Lab, host: Host, paths: Paths, password_hash: str) -> None:
    """Make the files of a host that is switched off: overlay, identity, keys, boot script."""
    files = paths.host(host)
    if not Path(host.root).is_dir():
        raise LabError(
            f"{host.name} stands on {host.root}, which is gone: `python3 -m lab down`, then up"
        )
    for directory in (files.upper, files.work, files.root):
        directory.mkdir(parents=True, exist_ok=True)
    mount(host, files)
    _identify(lab, host, files, paths)
    _admit_admin(files.root / "etc/shadow", password_hash)
    script = boot_script(host, lab.bridge, files.root, paths.shared)
    state.write(files.boot_script, script, 0o755)


def mount(host: Host, files: HostPaths) -> None:
    """Lay the host's own files over its root, unless that is done."""
    if files.root in mounts_below(files.root):
        return
    options = f"lowerdir={host.root},upperdir={files.upper},workdir={files.work}"
    run("mount", "-t", "overlay", f"kcms-lab-{host.machine}", "-o", options, str(files.root))


def unmount(files: HostPaths) -> None:
    """Take the mounts of a host away; processes that still use them do not hold this up."""
    for point in mounts_below(files.top):
        if not succeeds("umount", str(point)):
            run("umount", "--lazy", str(point))


def forget_machines(pattern: str) -> None:
    """Remove what systemd-nspawn keeps of a machine while it runs, and leaves when it is killed.

    A newer one refuses to start over its leftovers.
    """
    for directory in (_NSPAWN / "unix-export", _NSPAWN / "propagate"):
        for top in directory.glob(pattern):
            for point in mounts_below(top):
                run("umount", "--lazy", str(point))
            state.remove_tree(top)


def _identify(lab: Lab, host: Host, files: HostPaths, paths: Paths) -> None:
    etc = files.root / "etc"
    state.write(etc / "hostname", f"{host.name}\n")
    state.write(etc / "machine-id", f"{host.machine_id}\n", 0o444)
    unit = _NETWORK_UNIT.format(address=host.address)
    state.write(etc / "systemd/network/10-host0.network", unit)
    write_hosts(lab, host, paths)
    keys = paths.key.with_suffix(".pub").read_text(encoding="utf-8")
    state.write(etc / "ssh/lab_authorized_keys", keys)
    private = files.host_key.read_text(encoding="utf-8")
    public = files.host_key.with_suffix(".pub").read_text(encoding="utf-8")
    state.write(etc / "ssh/ssh_host_ed25519_key", private, 0o600)
    state.write(etc / "ssh/ssh_host_ed25519_key.pub", public)


def write_hosts(lab: Lab, host: Host, paths: Paths) -> bool:
    """Bring the lab's lines of a host's /etc/hosts up to date; True when they changed."""
    path = paths.host(host).root / "etc/hosts"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    return state.write(path, hosts_file(old, lab))


def hosts_file(old: str, lab: Lab) -> str:
    """The text of /etc/hosts with the lab's lines renewed and all others kept.  Pure."""
    others = re.sub(f"(?ms)^{_HOSTS_BEGIN}$.*?^{_HOSTS_END}\n", "", old)
    if "localhost" not in others:
        others = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + others
    lines = "".join(f"{host.address}\t{host.name}\n" for host in lab.hosts)
    return f"{others}{_HOSTS_BEGIN}\n{lines}{_HOSTS_END}\n"


def _admit_admin(shadow: Path, password_hash: str) -> None:
    """Give admin the lab's password, unless the host's own has been set since."""
    mode = shadow.stat()
    text = shadow.read_text(encoding="utf-8")
    new = re.sub(r"(?m)^admin:[!*]*:", lambda _: f"admin:{password_hash}:", text)
    if new != text:
        shadow.write_text(new, encoding="utf-8")
        shadow.chmod(mode.st_mode & 0o777)


def make_homes(shared: Path) -> None:
    """The shared directory with the users' homes; what is there stays as it is."""
    homes = shared / "home"
    homes.mkdir(parents=True, exist_ok=True)
    for name, uid in _USERS.items():
        home = homes / name
        if not home.exists():
            temporary = homes / f".{name}.new"
            state.remove_tree(temporary)
            temporary.mkdir(mode=0o700)
            _chown(temporary, uid)
            temporary.rename(home)


def _chown(path: Path, uid: int) -> None:
    run("chown", f"{uid}:{uid}", str(path))


def make_key(path: Path, comment: str) -> None:
    """An ed25519 key pair, unless there is one."""
    if path.with_suffix(".pub").exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def switch_on(host: Host, paths: Paths, launcher: Launcher) -> None:
    """Start a prepared host, ending first what may be left of it."""
    switch_off(host, launcher)
    launcher.start(host.name, ["sh", str(paths.host(host).boot_script)], paths.host(host).console)


def switch_off(host: Host, launcher: Launcher) -> bool:
    """The power fails: everything of the host dies at once.  True when it ran."""
    ran = launcher.runs(host.name)
    launcher.kill(host.name)
    network.await_no_link(host)
    forget_machines(host.machine)
    return ran


def await_ready(host: Host, paths: Paths, launcher: Launcher, stop: threading.Event) -> str:
    """Wait until a host has booted and its sshd answers; what systemd says of it.

    Raises LabError with the end of its console when it does not get there in READY_SECONDS.
    """
    end = time.monotonic() + READY_SECONDS
    verdict = "not started"
    while time.monotonic() < end and not stop.is_set():
        if not launcher.runs(host.name):
            raise LabError(_console(host, paths, "ended while it started"))
        verdict = _verdict(host)
        if verdict in ("running", "degraded") and _answers(host.address):
            return verdict
        stop.wait(0.1)
    if stop.is_set():
        raise LabError(f"{host.name}: not waited for")
    raise LabError(_console(host, paths, f"is not ready after {READY_SECONDS:.0f} s ({verdict})"))


def _verdict(host: Host) -> str:
    init = find_init(host.machine_id)
    # Before its manager listens, systemctl would say "offline" at once; waiting here is cheaper.
    if init is None or not Path(f"/proc/{init}/root/run/systemd/private").exists():
        return "starting"
    command = ["nsenter", "--all", f"--target={init}", "--", "timeout", "5"]
    command += ["systemctl", "is-system-running", "--wait"]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "starting"


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _console(host: Host, paths: Paths, what: str) -> str:
    log = paths.host(host).console
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)
    tail = "\n".join(f"  {line}" for line in text.strip().splitlines()[-12:])
    return f"{host.name} {what}; the end of {log}:\n{tail}"

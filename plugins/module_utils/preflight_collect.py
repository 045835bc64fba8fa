"""What the preflight wants to know of the host this runs on.  Reads only; any user may run it.

Standard library only, and no syntax newer than Python 3.8: see preflight_ports.
"""

from __future__ import annotations

import os
import platform
import pwd
import re
import stat
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035 - Python 3.8

from ansible_collections.kcms.cluster.plugins.module_utils import preflight_ports as ports
from ansible_collections.kcms.cluster.plugins.module_utils.host_store import schemas
from ansible_collections.kcms.cluster.plugins.module_utils.packages_apt import POLICY, policy_owner
from ansible_collections.kcms.cluster.plugins.module_utils.packages_sources import machine_sources

# What a look at could block on, or refuse to root, when the server does
NETWORK_TYPES = ("nfs", "nfs4", "autofs", "cifs", "ceph", "lustre", "beegfs", "glusterfs")
STATE = "/var/lib/kcms"
DIRECTORIES = ("/var/lib", "/opt", "/usr", "/var/tmp")  # noqa: S108 - their free space is read


def os_release(text: str) -> dict[str, str]:
    """The fields of an os-release file."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"([A-Z_0-9]+)=(.*)", line)
        if match:
            found[match.group(1)] = match.group(2).strip().strip("\"'")
    return found


def mounts(mountinfo: str) -> list[tuple[str, str]]:
    """(mount point, type) of a mountinfo file, in its order; octal escapes undone."""
    found = []
    for line in mountinfo.splitlines():
        words = line.split()
        if "-" in words[6:]:
            kind = words[words.index("-", 6) + 1]
            found.append((re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), words[4]), kind))
    return found


def shared_kind(path: str, table: list[tuple[str, str]]) -> str:
    """What the shared directory is: mount, directory, missing, other (no directory) or unknown.

    Its content is its users' own, and root may not be let in: the mount table tells enough, and
    only a directory of a local file system is looked at, without entering it.
    """
    wanted = path.rstrip("/") or "/"
    kinds = dict(table)
    if wanted in kinds and wanted != "/":
        return "mount"
    above = [kinds[each] for each in _parents(wanted) if each in kinds]
    if above and above[0].startswith(NETWORK_TYPES):
        return "unknown"
    try:
        return "directory" if stat.S_ISDIR(os.lstat(wanted).st_mode) else "other"
    except OSError:
        return "missing"


def _parents(path: str) -> list[str]:
    return [str(each) for each in Path(path).parents]


def accounts(shared: list[str], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Users with a home below ``shared``, and those of ``names`` that exist."""
    below = tuple(each.rstrip("/") + "/" for each in shared)
    found = [each for each in pwd.getpwall() if below and each.pw_dir.startswith(below)]
    for name in names:
        try:  # a directory service may not list the users it knows
            found.append(pwd.getpwnam(name))
        except KeyError:
            continue
    return {
        each.pw_name: {"uid": each.pw_uid, "gid": each.pw_gid, "home": each.pw_dir}
        for each in found
    }


def output(*command: str) -> str:
    """What a program prints, or nothing when it is missing or does not end."""
    environment = dict(os.environ, LC_ALL="C")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def systemd_version(text: str) -> int:
    """Of the first line of ``systemctl --version``; 0 when there is none."""
    match = re.match(r"systemd (\d+)", text)
    return int(match.group(1)) if match else 0


def installed_packages(names: list[str]) -> list[str]:
    """Those of ``names`` that dpkg calls installed, in their order."""
    if not names:
        return []
    form = "${binary:Package}\\t${db:Status-Status}\\n"
    lines = output("dpkg-query", "-W", "-f", form, "--", *names).splitlines()
    there = {each.split("\t")[0].split(":")[0] for each in lines if each.endswith("\tinstalled")}
    return [name for name in names if name in there]


def package_source(kind: str, url: str) -> dict[str, str]:
    """Whether the place packages come from answers: {"where", "answer"}; empty when not asked."""
    address = url if kind in ("mirror", "proxy") else _own_source() if kind == "apt" else ""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return {}
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"where": parts.netloc, "answer": ports.reach_name(parts.hostname, port)}


def _own_source() -> str:
    """The proxy that the host's apt uses, else the first source it reads over the network."""
    proxy = re.search(r'Proxy "(http[^"]+)"', output("apt-config", "dump", "Acquire::http::Proxy"))
    if proxy:
        return proxy.group(1)
    return next((each.uri for each in machine_sources() if each.uri.startswith("http")), "")


def free_space() -> dict[str, int]:
    """Bytes that are free for root where our files go."""
    found = {}
    for name in DIRECTORIES:
        if Path(name).is_dir():
            state = os.statvfs(name)
            found[name] = state.f_bfree * state.f_frsize
    return found


def identity() -> dict[str, Any]:
    release = os_release(_read("/etc/os-release"))
    table = mounts(_read("/proc/self/mountinfo"))
    running = Path("/run/systemd/system").is_dir()
    return {
        "os": {
            "id": release.get("ID", "unknown"),
            "version": release.get("VERSION_ID", ""),
            "name": release.get("PRETTY_NAME", "an unknown system"),
            "codename": release.get("VERSION_CODENAME", ""),
        },
        "kernel": platform.release(),
        "systemd": systemd_version(output("systemctl", "--version")) if running else 0,
        "cgroup2": dict(table).get("/sys/fs/cgroup") == "cgroup2",
        "python": platform.python_version(),
        "architecture": output("dpkg", "--print-architecture").strip() or platform.machine(),
    }


def collect(
    shared: list[str],
    users: list[str],
    wanted_ports: list[tuple[str, int]],
    targets: list[tuple[str, int]],
    packages: list[str],
    source: tuple[str, str],
) -> dict[str, Any]:
    """Everything in one go; ``time`` is read last, closest to the moment the answer leaves."""
    there = installed_packages(packages)
    lacking = [name for name in packages if name not in there]
    table = mounts(_read("/proc/self/mountinfo"))
    return {
        **identity(),
        "users": accounts(shared, users),
        "shared": {path: shared_kind(path, table) for path in shared},
        "ports": ports.taken(wanted_ports),
        "managers": managers_here(),
        "stores": schemas(STATE),
        "managed": manager_of_node(_read("/etc/kcms/node.toml")),
        "reach": ports.reach(targets),
        "installed": there,
        "missing": lacking,
        "interrupted": policy_owner(_read(POLICY)) is not None,
        "source": package_source(*source) if lacking else {},
        "space": free_space(),
        "time": time.time(),
    }


def managers_here(directory: str = "/etc/kcms") -> list[str]:
    """Clusters whose manager an earlier rollout set up on this host."""
    found = Path(directory).glob("manager-*.toml")
    return sorted(path.stem.removeprefix("manager-") for path in found)


def manager_of_node(text: str) -> dict[str, str]:
    """{cluster: address of its manager} of a node daemon's settings, as a rollout wrote them."""
    found = dict(re.findall(r'^(cluster|manager_address) = "([^"\\]*)"$', text, re.MULTILINE))
    return {found["cluster"]: found["manager_address"]} if len(found) == 2 else {}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""

"""The real Ganglia of Debian 12: fetched, unpacked beside the checkout, and its configurations.

Nothing is installed, as the packages would start their daemons on this machine.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".build" / "interop"
PACKAGES = ("ganglia-monitor", "gmetad", "libganglia1")
LIBRARIES = ("libapr1", "libconfuse2", "libpcre3", "libtirpc3", "librrd8", "libexpat1")
GZIP_PORT = 8650


class Missing(Exception):
    """The real programs cannot be had here; says why."""


@dataclass(frozen=True)
class Ganglia:
    """The unpacked packages."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its programs need to find its libraries."""
        paths = [self._libraries, *sorted((self.root / "lib").glob("*-linux-gnu"))]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, paths)), "LC_ALL": "C"}

    @property
    def _libraries(self) -> Path:
        return next((self.root / "usr" / "lib").glob("*-linux-gnu"))

    def program(self, name: str) -> str:
        """The path of gmond, gmetad, gmetric or gstat."""
        place = "sbin" if name in ("gmond", "gmetad") else "bin"
        return str(self.root / "usr" / place / name)

    def gmond(self, cluster: str, seconds: int | None = None) -> str:
        """Debian's configuration for a daemon in the foreground that belongs to ``cluster``.

        With ``seconds`` metrics are read and sent that often instead of up to 20 minutes apart.
        """
        text = (self.root / "etc" / "ganglia" / "gmond.conf").read_text()
        text = _replace(r"daemonize = yes", "daemonize = no", text)
        text = _replace(r"setuid = yes", "setuid = no", text)
        text = _replace(
            r'cluster \{\s*name = "unspecified"', f'cluster {{ name = "{cluster}"', text
        )
        text = _replace(r"include \([^)]*\)", "", text)
        text = _replace(r'"/usr/lib/[^/"]*/ganglia', f'"{self._libraries}/ganglia', text)
        if seconds is not None:
            text = _replace(r"(collect_every|time_threshold) = \d+", rf"\1 = {seconds}", text)
        return f"{text}\ntcp_accept_channel {{ port = {GZIP_PORT} gzip_output = yes }}\n"


def gmetad(gridname: str, rrd_directory: Path, sources: list[str]) -> str:
    """A configuration of gmetad; ``sources`` as in its data_source lines."""
    lines = [f"data_source {each}" for each in sources]
    lines += [f'gridname "{gridname}"', "setuid off", f'rrd_rootdir "{rrd_directory}"']
    return "\n".join([*lines, "case_sensitive_hostnames 1", ""])


def _replace(pattern: str, to: str, text: str) -> str:
    changed, count = re.subn(pattern, to, text)
    assert count, f"Debian's gmond.conf has no {pattern!r}"
    return changed


def ganglia() -> Ganglia:
    """The real Ganglia.  :raises Missing: it cannot be had, and why"""
    release = _release()
    if release != "12":
        raise Missing(f"Ganglia's daemons are in Debian 12's archive only; this is {release}")
    root = KEPT / "root"
    if not (root / "complete").exists():
        _unpack(root)
    return Ganglia(root)


def _release() -> str:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return "no Debian"
    words = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    version = words.get("VERSION_ID", "").strip('"')
    return version if words.get("ID") == "debian" else words.get("ID", "no Debian")


def _unpack(root: Path) -> None:
    archives = KEPT / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    wanted = [*PACKAGES, *(each for each in LIBRARIES if not _installed(each))]
    done = subprocess.run(
        ["apt-get", "download", *wanted], cwd=archives, capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        raise Missing(f"cannot download {', '.join(wanted)}: {done.stderr.strip()[-500:]}")
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True, timeout=60)
    (root / "complete").touch()


def _installed(package: str) -> bool:
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(asked, capture_output=True, text=True)
    return done.stdout.startswith("installed")

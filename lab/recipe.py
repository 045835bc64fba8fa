"""What the root directories of lab hosts are made of.  A change here makes new roots.  Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

RELEASES = ("trixie", "bookworm")
KINDS = ("prepared", "bare")

# What a minimal host has before anything of ours comes to it.
BARE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "openssh-server",
    "iproute2",
    "ca-certificates",
    "procps",
    "sudo",
)

# What the rollout installs.  Used only while no role names its packages (``<role>_packages`` in
# roles/*/vars/Debian.yml, which are the one place for them).
PRODUCT_PACKAGES = (
    "criu",
    "python3-aiohttp",
    "python3-flask",
    "python3-jeepney",
    "python3-psutil",
    "python3-rrdtool",
    "python3-waitress",
    "rrdtool",
)

# What users' programs need that tests run on prepared hosts.
USER_PACKAGES = ("python3-numpy",)

# Run with the root directory as $1.  systemd-modules-load cannot work in a container; host keys
# and the machine-id must differ between hosts.
CUSTOMISE = r"""
set -eu
root=$1
systemctl --root="$root" --quiet mask systemd-modules-load.service console-getty.service
systemctl --root="$root" --quiet enable systemd-networkd.service ssh.service
chroot "$root" useradd --uid 2001 --no-create-home --home-dir /shared/home/alice \
  --shell /bin/bash --comment Alice alice
chroot "$root" useradd --uid 2002 --no-create-home --home-dir /shared/home/bob \
  --shell /bin/bash --comment Bob bob
chroot "$root" useradd --uid 2000 --create-home --shell /bin/bash --comment Administrator \
  --groups sudo admin
mkdir -p "$root/shared" "$root/etc/ssh/sshd_config.d"
cat > "$root/etc/ssh/sshd_config.d/lab.conf" <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/lab_authorized_keys
END
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root/var/lib/dbus/machine-id"
"""

_LIST_KEY = re.compile(r"[a-z0-9_]+_packages:\s*(#.*)?")
_LIST_ITEM = re.compile(r"\s*-\s+[\"']?([a-z0-9][a-z0-9+.-]*)[\"']?\s*(#.*)?")


@dataclass(frozen=True)
class Recipe:
    """One root: a Debian release and the packages in it."""

    release: str
    kind: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.release}-{self.kind}"

    @property
    def directory(self) -> str:
        """The name of its directory in the cache; another recipe has another."""
        content = "\n".join((self.release, *self.packages, CUSTOMISE))
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def recipe(release: str, kind: str, checkout: Path) -> Recipe:
    """The recipe of a root for what ``checkout`` rolls out."""
    if release not in RELEASES:
        raise LabError(f"unknown release {release!r}: {' or '.join(RELEASES)}")
    if kind not in KINDS:
        raise LabError(f"unknown root {kind!r}: {' or '.join(KINDS)}")
    packages = set(BARE_PACKAGES)
    if kind == "prepared":
        packages |= {*product_packages(checkout), *USER_PACKAGES}
    return Recipe(release, kind, tuple(sorted(packages)))


def parse_root_name(text: str) -> tuple[str, str]:
    """``prepared``, ``bare``, ``bookworm`` or ``bookworm-bare`` → (release, kind)."""
    release, hyphen, kind = text.partition("-")
    if not hyphen and text in KINDS:
        return RELEASES[0], text
    if not hyphen and text in RELEASES:
        return text, KINDS[0]
    if release in RELEASES and kind in KINDS:
        return release, kind
    known = [*KINDS, *(f"{r}-{k}" for r in RELEASES for k in KINDS)]
    raise LabError(f"unknown root {text!r}: one of {', '.join(known)}")


def product_packages(checkout: Path) -> tuple[str, ...]:
    """The operating system's packages that the roles install."""
    found: set[str] = set()
    for path in sorted(checkout.glob("roles/*/vars/Debian.yml")):
        found |= set(parse_package_lists(path.read_text(encoding="utf-8")))
    return tuple(sorted(found)) or PRODUCT_PACKAGES


def parse_package_lists(text: str) -> list[str]:
    """The items of every top-level ``*_packages:`` list of a vars file, in block style.

    The lab runs before there is a YAML parser, so it reads this one shape by itself.
    """
    packages: list[str] = []
    inside = False
    for line in text.splitlines():
        item = _LIST_ITEM.fullmatch(line)
        if inside and item:
            packages.append(item.group(1))
        elif line.strip() and not line.lstrip().startswith("#"):
            inside = _LIST_KEY.fullmatch(line) is not None
    return packages

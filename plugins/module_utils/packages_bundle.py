"""Bundles: one archive of packages with all they need, for hosts that reach no package source.

A bundle is a flat tar: ``manifest.json`` (what it was built for), ``Packages`` (its index) and the
debs.  It is resolved for the target's release and architecture as if nothing were installed there,
so it serves any host of that release.  Building needs no root.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible_collections.kcms.cluster.plugins.module_utils import packages_apt as apt
from ansible_collections.kcms.cluster.plugins.module_utils import packages_sources

KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
BUILD_SECONDS = 1800


class BundleError(Exception):
    """One line for the operator."""


@dataclass(frozen=True)
class Bundle:
    """An archive on the control node, and the names its packages were resolved for."""

    path: Path
    names: frozenset[str]
    index: str

    def packed_index(self) -> str:
        """The index as a module argument: gzip, base64; equal input gives equal text."""
        return b64encode(gzip.compress(self.index.encode(), mtime=0)).decode()

    def part(self, files: list[str], target: Path) -> None:
        """Write a tar of the index and of ``files`` alone to ``target``."""
        wanted = {"Packages", *files}
        with tarfile.open(self.path) as source, tarfile.open(target, "w") as part:
            for member in source:
                if member.name in wanted:
                    part.addfile(member, source.extractfile(member))
                    wanted.discard(member.name)
        if wanted:
            raise BundleError(f"{self.path} lacks {', '.join(sorted(wanted)[:3])}; delete it")


def names_of_roles(roles: Path) -> list[str]:
    """Every OS package that the vars files of the roles below ``roles`` name."""
    found: set[str] = set()
    for path in roles.glob("*/vars/Debian.yml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in (document or {}).items():
            found.update(value if name.endswith("_packages") else ())
    return sorted(found)


def bundle_path(directory: str, release: str, architecture: str) -> Path:
    return Path(directory).expanduser() / f"kcms-bundle-{release}-{architecture}.tar"


def read(path: Path) -> Bundle | None:
    """The bundle at ``path``, or None when there is none.

    :raises BundleError: the file is no bundle
    """
    try:
        with tarfile.open(path) as archive:
            manifest = json.loads(_member(archive, "manifest.json"))
            return Bundle(path, frozenset(manifest["names"]), _member(archive, "Packages"))
    except FileNotFoundError:
        return None
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is no bundle of ours ({error}); delete it") from error


def _member(archive: tarfile.TarFile, name: str) -> str:
    content = archive.extractfile(name)
    if content is None:
        raise KeyError(name)
    return content.read().decode()


def ensure(
    directory: str, release: str, architecture: str, names: list[str], fresh: bool = False
) -> tuple[Bundle, bool]:
    """The bundle that serves ``names``, built when there is none yet; and whether it was built.

    Several processes may ask at once: one builds, the others wait for it.  ``fresh`` builds anew.

    :raises BundleError: this machine cannot build it, or a name is unknown
    """
    path = bundle_path(directory, release, architecture)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            there = read(path)
            if there and not fresh and set(names) <= there.names:
                return there, False
            wanted = set(names) | (there.names if there else frozenset())
            _build(path, release, architecture, sorted(wanted))
    except OSError as error:
        raise BundleError(f"cannot write {error.filename}: {error.strerror}") from error
    built = read(path)
    if built is None:
        raise BundleError(f"{path} vanished while it was built; try again")
    return built, True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def why_not(directory: str, release: str, architecture: str) -> str | None:
    """Why there is no bundle and none can be built here, in one line; None when there can be."""
    path = bundle_path(directory, release, architecture)
    if path.exists():
        return None
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            return _elsewhere(path, f"this machine has no {program}")
    if not _sources(release):
        return _elsewhere(path, "this machine has no Debian package sources")
    return None


def _build(path: Path, release: str, architecture: str, names: list[str]) -> None:
    if not path.exists():
        reason = why_not(str(path.parent), release, architecture)
        if reason:
            raise BundleError(reason)
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as name:
        root = Path(name)
        options = _private_apt(root, release, architecture)
        _apt(apt.update_command(options))
        _apt(apt.install_command(options, names, "--download-only"))
        _write(path, sorted((root / "cache/archives").glob("*.deb")), names)


def _elsewhere(path: Path, reason: str) -> str:
    return f"{reason}; build it on a Debian machine with playbooks/bundle.yml and put it at {path}"


def _private_apt(root: Path, release: str, architecture: str) -> list[str]:
    """An apt of its own below ``root``: nothing installed, our sources for ``release``."""
    sources = _sources(release)
    for name in ("lists/partial", "cache/archives/partial"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    (root / "hooks.conf").write_text(apt.HOOKS)
    (root / "sources.list").write_text("".join(f"{each.line()}\n" for each in sources))
    settings = [
        f"Dir::State={root}",
        f"Dir::State::status={root}/status",
        f"APT::Architecture={architecture}",
        f"APT::Architectures::={architecture}",
        "APT::Sandbox::User=",
        "Debug::NoLocking=true",
        "Dir::Etc::Preferences=-",
        "Dir::Etc::PreferencesParts=-",
    ]
    options = apt.apt_options(str(root), apt.Source("bundle"))
    return options + [word for setting in settings for word in ("-o", setting)]


def _sources(release: str) -> list[packages_sources.DebianSource]:
    own = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    found = packages_sources.machine_sources()
    paths = (Path("/usr/share/keyrings") / name for name in KEYRINGS)
    keyring = next((str(path) for path in paths if path.exists()), "")
    return packages_sources.for_release(found, own, release, keyring) if own else []


def _apt(command: list[str]) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"building the bundle took more than {BUILD_SECONDS} s") from error
    if done.returncode:
        reason = apt.explain(done.stdout.decode(errors="replace"), apt.Source("bundle"))
        raise BundleError(f"cannot build the bundle: {reason.split(';')[0]}")


def _write(path: Path, debs: list[Path], names: list[str]) -> None:
    stanzas = {_file_name(deb): _stanza(deb) for deb in debs}
    part = path.with_suffix(".part")
    with tarfile.open(part, "w") as archive:
        _add(archive, "manifest.json", json.dumps({"names": names, "files": sorted(stanzas)}))
        _add(archive, "Packages", "\n".join(stanzas.values()))
        for deb in debs:
            archive.add(deb, _file_name(deb), filter=_anonymous)
    part.replace(path)


def _file_name(deb: Path) -> str:
    """Apt's cache name without the escaped epoch: a name that needs no quoting in a file: URI."""
    package, version, rest = deb.name.split("_", 2)
    return f"{package}_{version.split('%3a')[-1]}_{rest}"


def _stanza(deb: Path) -> str:
    command = ["dpkg-deb", "-f", str(deb)]
    fields = subprocess.run(command, capture_output=True, check=True, text=True).stdout.rstrip()
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    place = f"Filename: ./{_file_name(deb)}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
    return f"{fields}\n{place}"


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(text.encode()))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member

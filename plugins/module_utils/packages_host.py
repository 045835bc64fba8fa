"""Installing OS packages on the host this runs on; python3-apt is not needed."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils import packages_apt as apt

WORK_PARENT = "/var/tmp"  # noqa: S108 - a directory of mkdtemp is made there; /tmp may be small
APT_SECONDS = 1500
POLICY = Path(apt.POLICY)
KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)


class PackageError(Exception):
    """One line for the operator."""


@dataclass(frozen=True)
class Offer:
    """Where this installation takes its packages from.

    ``index`` is a bundle's Packages file, gzip and base64; ``archive`` a tar of debs here.
    """

    source: apt.Source
    index: str = ""
    archive: str = ""


def run(command: list[str], seconds: float = APT_SECONDS) -> tuple[int, str]:
    """Run a program without terminal; its status and all it printed."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment.update(NEEDRESTART_SUSPEND="1", APT_LISTCHANGES_FRONTEND="none")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise PackageError(f"{command[0]} is missing; only Debian hosts are supported") from error
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"{command[0]} did not end within {seconds:.0f} s") from error
    return done.returncode, done.stdout.decode(errors="replace")


def missing_names(names: list[str]) -> list[str]:
    """Those of ``names`` that dpkg does not call installed."""
    command = ["dpkg-query", "-W", "-f", apt.STATUS_FORMAT, "--", *names]
    found = apt.installed(run(command, 60)[1]) if names else {}
    return [name for name in names if name not in found]


def release_and_architecture() -> tuple[str, str]:
    """Such as ("trixie", "amd64")."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    status, architecture = run(["dpkg", "--print-architecture"], 60)
    if status or not codename:
        raise PackageError("release or architecture is unknown; only Debian hosts are supported")
    return codename, architecture.strip()


def needed_files(names: list[str], index: str) -> list[str]:
    """Files of a bundle that this host lacks for ``names``; only the bundle's index is here."""
    offer = Offer(apt.Source("bundle"), index)
    with _work(offer) as work:
        options = _updated(work, offer)
        status, output = run(apt.install_command(options, names, "--print-uris"))
        if status:
            raise PackageError(apt.explain(output, offer.source))
        return apt.fetched_files(output)


def install(names: list[str], offer: Offer) -> None:
    """Install ``names`` with what they need.

    :raises PackageError: nothing could be reached, a name is unknown, apt or dpkg failed
    """
    with _work(offer) as work:
        options = _updated(work, offer)
        with _nothing_new_starts():
            status, output = run(apt.install_command(options, names))
    if status:
        raise PackageError(apt.explain(output, offer.source))
    left = missing_names(names)
    if left:
        raise PackageError(f"apt ended well, but not installed are {', '.join(left)}")


def _updated(work: Path, offer: Offer) -> list[str]:
    options = apt.apt_options(str(work), offer.source)
    status, output = run(apt.update_command(options))
    if status:
        raise PackageError(apt.explain(output, offer.source))
    return options


@contextlib.contextmanager
def _work(offer: Offer) -> Iterator[Path]:
    """A directory for one apt run, readable for apt's own user, gone afterwards."""
    work = Path(tempfile.mkdtemp(prefix="kcms-apt-", dir=WORK_PARENT))
    try:
        work.chmod(0o755)
        for name in ("lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        (work / "hooks.conf").write_text(apt.HOOKS)
        _write_sources(work, offer)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_sources(work: Path, offer: Offer) -> None:
    if offer.source.kind == "mirror":
        keyring = next((path for path in KEYRINGS if Path(path).exists()), "")
        release = release_and_architecture()[0]
        text = apt.mirror_sources(offer.source.url, release, keyring)
    elif offer.source.kind == "bundle":
        text = apt.bundle_sources(str(_unpacked(work, offer)))
    else:
        return
    (work / "sources.list").write_text(text)


def _unpacked(work: Path, offer: Offer) -> Path:
    directory = work / "bundle"
    directory.mkdir()
    if offer.archive:
        try:
            _unpack(Path(offer.archive), directory)
        except (OSError, tarfile.TarError) as error:
            raise PackageError(f"cannot unpack the bundle {offer.archive}: {error}") from error
    if offer.index:
        packed = base64.b64decode(offer.index)
        (directory / "Packages").write_bytes(gzip.decompress(packed))
    if not (directory / "Packages").exists():
        raise PackageError(f"{offer.archive} holds no index; build it with playbooks/bundle.yml")
    return directory


def _unpack(archive: Path, directory: Path) -> None:
    """A bundle is flat: whatever is no plain file right below its top is left out."""
    with tarfile.open(archive) as bundle:
        for member in bundle:
            content = bundle.extractfile(member) if member.isreg() else None
            if content is not None and "/" not in member.name:
                with (directory / member.name).open("xb") as target:
                    shutil.copyfileobj(content, target)


def forget_interrupted() -> list[str]:
    """Take away what a run that was broken off left here; the paths that went.

    A policy that outlives its run would keep services of other packages from starting, for ever.
    """
    left = interrupted()
    for path in left:
        path.unlink(missing_ok=True)
    return [str(path) for path in left]


def interrupted() -> list[Path]:
    """What no process that still runs has left."""
    owner = _policy_owner()
    return [POLICY] if owner is not None and not Path(f"/proc/{owner}").is_dir() else []


def _policy_owner() -> int | None:
    return apt.policy_owner(POLICY.read_text(errors="replace")) if POLICY.exists() else None


@contextlib.contextmanager
def _nothing_new_starts() -> Iterator[None]:
    """Services that a package brings stay down; those being upgraded are restarted as usual."""
    if POLICY.exists() and _policy_owner() is None:
        yield
        return
    POLICY.write_text(apt.policy_text(os.getpid()))
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)

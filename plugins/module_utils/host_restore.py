"""Putting back on a host what a backup has of it: job stores and round-robin files.

Parts are unpacked beside the place they belong to, where root alone makes names.  Only when all of
them are there and a store is settled are the daemons stopped and the places changed, each by a
rename; what was there is kept aside.  All of it is root's then: the rollout that follows gives it
to its daemons.
"""

from __future__ import annotations

import gzip
import json
import os
import pwd
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_copies import (
    COMMAND,
    MOST_RRD,
    STATE,
    STORE_FILES,
    SUFFIX,
    state_directory,
)

RRD_ACCOUNT = "kcms-aggregator"
RRD_UNITS = ("kcms-aggregator.service",)
STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
HOSTS = "hosts.json"
STORE_NAMES = (*STORE_FILES, HOSTS)
PIECE = 1 << 20
_NAME = re.compile(r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,254}")


@dataclass(frozen=True)
class Restore:
    """One restore: ``stamp`` is its UTC time, which names what is staged and what is kept aside."""

    stamp: str
    replace: bool = False
    rrd_directory: str = ""

    def __post_init__(self) -> None:
        if not STAMP.fullmatch(self.stamp):
            raise HostError(f"{self.stamp!r:.40} is no time of a restore")

    @property
    def aside(self) -> str:
        return f"before-{self.stamp}"

    def staged_store(self, cluster: str) -> Path:
        return Path(STATE) / f".restore-{self.stamp}" / f"manager-{cluster}"

    @property
    def staged_rrd(self) -> Path:
        return Path(self.rrd_directory) / f".restore-{self.stamp}"

    def look(self, clusters: list[str]) -> list[str]:
        """What is there and would be kept aside.  :raises HostError: it is there and is to stay"""
        there = [
            f"the job store of {cluster}"
            for cluster in clusters
            if Path(state_directory(cluster, STATE), STORE_FILES[0]).exists()
        ]
        if self.rrd_directory and _visible(self.rrd_directory):
            there.append(f"round-robin files in {self.rrd_directory}")
        if there and not self.replace:
            raise HostError(
                f"it has {' and '.join(there)} already: -e kcms_restore_replace=true keeps that "
                "aside and puts the backup in its place"
            )
        return there

    def unpack_store(self, cluster: str, part: str) -> int:
        """:raises HostError: the part has something else in it, or the disk does not take it"""
        with _said():
            Path(STATE).mkdir(mode=0o755, parents=True, exist_ok=True)
            place = self.staged_store(cluster)
            _sweep(place.parent)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            place.mkdir(mode=0o700)
            return _unpack(part, place, lambda name: name in STORE_NAMES, 0o600)

    def unpack_rrd(self, part: str) -> int:
        """As :meth:`unpack_store`.  The directory is root's from here on."""
        with _said():
            _own(self.rrd_directory)
            _sweep(self.staged_rrd)
            self.staged_rrd.mkdir(mode=0o755, exist_ok=True)
            return _unpack(part, self.staged_rrd, _is_rrd, 0o644)

    def place_store(self, cluster: str, taken: float, keep: bool, gap: int) -> dict[str, Any]:
        """Settle the copy, then put it in its place.  What became of its jobs is returned.

        :raises HostError: it cannot be; the store that was there stays until the last step
        """
        staged, place = self.staged_store(cluster), Path(state_directory(cluster, STATE))
        command = [COMMAND, "store", "settle", cluster, str(staged)]
        command += ["--taken", repr(taken), "--gap", str(gap), *(["--keep"] if keep else [])]
        done = json.loads(_run(*command))
        _stop(f"kcms-manager@{cluster}.service")
        with _said():
            (staged / HOSTS).unlink(missing_ok=True)  # the rollout writes it from the inventory
            if place.exists():
                aside = Path(STATE) / self.aside
                aside.mkdir(mode=0o700, exist_ok=True)
                place.rename(aside / place.name)
            staged.rename(place)
            if not any(staged.parent.iterdir()):
                staged.parent.rmdir()
        return dict(done)

    def place_rrd(self) -> None:
        """:raises HostError: as :meth:`place_store`"""
        with _said():
            top, aside = Path(self.rrd_directory), Path(self.rrd_directory) / f".{self.aside}"
            for name in _visible(self.rrd_directory):
                aside.mkdir(mode=0o700, exist_ok=True)
                (top / name).rename(aside / name)
            for name in _visible(str(self.staged_rrd)):
                (self.staged_rrd / name).rename(top / name)
            self.staged_rrd.rmdir()
            top.chmod(0o755)

    def begin_rrd(self) -> None:
        """Nobody writes there from here on.  :raises HostError: the aggregator stays"""
        for unit in RRD_UNITS:
            _stop(unit)

    def drop(self) -> None:
        """Remove what was staged, of a restore that was given up, and let go on what was stopped.

        :raises HostError: that cannot be
        """
        shutil.rmtree(Path(STATE) / f".restore-{self.stamp}", ignore_errors=True)
        if not self.rrd_directory:
            return
        begun = self.staged_rrd.exists()
        shutil.rmtree(self.staged_rrd, ignore_errors=True)
        if begun and not (Path(self.rrd_directory) / f".{self.aside}").exists():
            with _said():
                _give_back(self.rrd_directory)


def _sweep(ours: Path) -> None:
    """Remove what other restores staged beside ``ours`` and never put in its place."""
    for each in ours.parent.glob(".restore-*"):
        if each != ours and STAMP.fullmatch(each.name[len(".restore-") :]):
            shutil.rmtree(each, ignore_errors=True)


def _visible(directory: str) -> list[str]:
    """What is in a directory, without what was kept aside or staged."""
    try:
        names = (each.name for each in Path(directory).iterdir())
        return sorted(each for each in names if not each.startswith("."))
    except FileNotFoundError:
        return []


def _own(directory: str) -> None:
    """Make the directory root's alone, so that no other makes names in it meanwhile."""
    Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(handle, os.geteuid(), os.getegid())
        os.fchmod(handle, 0o700)
    finally:
        os.close(handle)


def _give_back(directory: str) -> None:
    """Have the aggregator, if this host has one, write there again."""
    try:
        account = pwd.getpwnam(RRD_ACCOUNT)
    except KeyError:
        return
    os.chown(directory, account.pw_uid, account.pw_gid, follow_symlinks=False)
    Path(directory).chmod(0o755)
    for unit in RRD_UNITS:
        with suppress(HostError):  # one that is not enabled, or not there
            _run("systemctl", "is-enabled", "--quiet", "--", unit)
            _run("systemctl", "start", "--", unit)


def _is_rrd(name: str) -> bool:
    return name.endswith(SUFFIX) and all(_NAME.fullmatch(each) for each in name.split("/"))


def _unpack(part: str, place: Path, fits: Callable[[str], bool], mode: int) -> int:
    """Write the files of a part below ``place``, which root owns; their number."""
    count = 0
    with gzip.open(part) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
        for info in archive:
            source = archive.extractfile(info) if info.isreg() and not info.issparse() else None
            if source is None or not fits(info.name):
                raise HostError(f"the backup has {info.name!r:.100} where it cannot be")
            if fits is _is_rrd and info.size > MOST_RRD:
                raise HostError(f"{info.name} in the backup is too large for a round-robin file")
            if info.size > shutil.disk_usage(place).free:
                raise HostError(f"{place} has no room for {info.name} of {info.size} bytes")
            target = place / info.name
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(target, flags, mode), "wb") as stream:
                shutil.copyfileobj(source, stream, PIECE)
            os.utime(target, (info.mtime, info.mtime))
            count += 1
    return count


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None) or "the backup"
        raise HostError(f"cannot restore: {where}: {reason}") from error


def _stop(unit: str) -> None:
    """Also one that is not there yet.  :raises HostError: it runs on"""
    known = subprocess.run(
        ["systemctl", "show", "--property=ActiveState", "--value", "--", unit],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    if known not in ("", "inactive"):
        _run("systemctl", "stop", "--", unit)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    except OSError as error:
        raise HostError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise HostError(said.removeprefix("kcms: ") or f"{command[0]}: status {done.returncode}")
    return done.stdout

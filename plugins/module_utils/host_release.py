"""Versions of our code on one host: ``ROOT/releases/VERSION`` and the link ``ROOT/current``."""

from __future__ import annotations

import compileall
import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError

VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]*")
TEMPORARY = ".new-"


class Releases:
    """The releases under ``root``; ``proc`` is where running processes are seen."""

    def __init__(self, root: str, proc: str = "/proc") -> None:
        self.root = Path(root)
        self.proc = Path(proc)

    def directory(self, version: str) -> Path:
        """:raises HostError: the version is no file name"""
        if not VERSION.fullmatch(version):
            raise HostError(f"{version!r} is no version")
        return self.root / "releases" / version

    def has(self, version: str) -> bool:
        return self.directory(version).is_dir()

    def current(self) -> str | None:
        """The version that the link points to; None without a link."""
        try:
            return (self.root / "current").readlink().name
        except OSError:
            return None

    def unpack(self, version: str, wheel: bytes) -> None:
        """Put the wheel's files there, byte-compiled, in one step.

        Code is compiled here because daemons and users may not write beside it.

        :raises HostError: the wheel is broken or the disk cannot take it
        """
        final = self.directory(version)
        try:
            final.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=final.parent))
            try:
                _extract(wheel, temporary)
                compileall.compile_dir(
                    temporary, quiet=2, stripdir=str(temporary), prependdir=str(final)
                )
                temporary.chmod(0o755)
                os.sync()  # the name must not outlive a power failure that the content did not
                temporary.rename(final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except (OSError, zipfile.BadZipFile) as error:
            raise HostError(f"cannot unpack version {version} into {final}: {error}") from error

    def switch(self, version: str) -> None:
        """Point the link to the version, in one step."""
        link = self.root / f"{TEMPORARY}current"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("releases") / version)
        link.replace(self.root / "current")

    def prune(self, keep: int, before: str | None = None) -> list[str]:
        """Take old versions away; those that went.

        Never the current one, never one of the newest ``keep``, never one that a process was
        started from: a running task's unit and init point into their version's directory.  Nor
        the one ``before``, which daemons run until they are restarted.
        """
        releases = self.root / "releases"
        there = sorted(
            (path for path in releases.iterdir() if VERSION.fullmatch(path.name)),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        for left in releases.glob(f"{TEMPORARY}*"):  # of a run that was broken off
            shutil.rmtree(left, ignore_errors=True)
        kept = {self.current(), before, *(path.name for path in there[:keep]), *self._in_use(there)}
        gone = [path for path in there if path.name not in kept]
        for path in gone:
            shutil.rmtree(path)
        return sorted(path.name for path in gone)

    def _in_use(self, there: Iterable[Path]) -> set[str]:
        lines = list(_command_lines(self.proc))
        return {path.name for path in there if any(f"{path}/".encode() in line for line in lines)}


def _extract(wheel: bytes, directory: Path) -> None:
    """Files 0644 and directories 0755, whatever the umask is."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        archive.extractall(directory)
    for parent, _, names in os.walk(directory):
        Path(parent).chmod(0o755)
        for name in names:
            (Path(parent) / name).chmod(0o644)


def _command_lines(proc: Path) -> Iterable[bytes]:
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue

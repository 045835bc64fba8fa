"""The CA's directory as one part of a backup, and back.

Everything in it is the rollout's own: files of the names that :mod:`ca_store` gives.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_archive import ArchiveError

NAME = re.compile(r"ca\.(pem|key)|hosts/[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.@-]+\.(pem|key)")
HALVES = ("ca.pem", "ca.key")
MOST = 256 << 20
"""Bytes of a whole CA's part, which is held in memory; ten thousand hosts need less."""

MOST_FILE = 1 << 20


def pack(directory: Path) -> bytes:
    """The CA and what it issued, as a tar.  :raises ArchiveError: there is no CA"""
    for name in HALVES:
        if not (directory / name).is_file():
            raise ArchiveError(f"{directory} has no {name}: is kcms_pki_directory right?")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory).as_posix()
            if NAME.fullmatch(name) and path.is_file() and not path.is_symlink():
                archive.add(path, name, recursive=False, filter=_plain)
    return packed.getvalue()


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def unpack(packed: bytes) -> dict[str, bytes]:
    """Name to content.  :raises ArchiveError: it has something else in it, or is no tar"""
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:
            found = {info.name: _content(archive, info) for info in archive}
    except tarfile.TarError as error:
        raise ArchiveError(f"the CA's part cannot be read: {error}") from error
    if not set(HALVES) <= found.keys():
        raise ArchiveError("the CA's part has no CA")
    return found


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    """A plain file's bytes: of a sparse one, a few could stand for any number."""
    source = archive.extractfile(info) if info.isreg() and not info.issparse() else None
    if source is None or not NAME.fullmatch(info.name) or info.size > MOST_FILE:
        raise ArchiveError(f"the CA's part has {info.name!r:.100}, which is none of a CA's")
    return source.read()


def state(directory: Path, files: dict[str, bytes]) -> str:
    """``none`` there, the ``same`` as in the backup, or ``other``."""
    there = {name: directory / name for name in HALVES}
    if not any(path.exists() for path in there.values()):
        return "none"
    same = all(path.is_file() and path.read_bytes() == files[n] for n, path in there.items())
    return "same" if same else "other"


def put(directory: Path, files: dict[str, bytes], aside: str) -> str:
    """Put the CA in its place at once, what is there aside as ``DIRECTORY.ASIDE``; that path."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, content in files.items():
            path = new / name
            for parent in reversed(path.relative_to(new).parents):
                (new / parent).mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)
        old = directory.with_name(f"{directory.name}.{aside}")
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return str(old) if old.exists() else ""

"""Small JSON files that are either wholly there, and on the disk, or not at all.

Loaded by every task's PID 1, hence so few imports.  All functions raise OSError.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH104, PTH108, PTH118, PTH123

from __future__ import annotations

import os

from kcms.node import plain_json


def _temporary(name: str) -> str:
    return f".{name}.{os.urandom(6).hex()}"


def sync_directory(path: str) -> None:
    """Make what was linked, renamed or removed in the directory last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, document: object) -> None:
    data = plain_json.dumps(document).encode() + b"\n"
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])
    os.ftruncate(descriptor, len(data))
    os.fsync(descriptor)


def _write_temporary(directory: str, name: str, document: object) -> str:
    path = os.path.join(directory, _temporary(name))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write(descriptor, document)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    return path


def replace(directory: str, name: str, document: object) -> None:
    """Write the file, over the one that may be there."""
    path = _write_temporary(directory, name, document)
    os.rename(path, os.path.join(directory, name))
    sync_directory(directory)


def create(directory: str, name: str, document: object) -> None:
    """Write the file.  :raises FileExistsError: there is one; of two callers exactly one wins"""
    path = _write_temporary(directory, name, document)
    try:
        os.link(path, os.path.join(directory, name))
    finally:
        os.unlink(path)
    sync_directory(directory)


def read(directory: str, name: str) -> dict | None:  # type: ignore[type-arg]
    """The document, None when there is no such file.  :raises ValueError: it is no object"""
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            document = plain_json.loads(file.read())
    except FileNotFoundError:
        return None
    if not isinstance(document, dict):
        raise ValueError(f"{directory}/{name} holds no object")
    return document


class Reserved:
    """A file with its room taken in advance, to be written when the disk may be full.

    It need not outlive a power failure before it is written, so nothing is synced until then.
    """

    def __init__(self, directory: str, size: int) -> None:
        self.directory = directory
        self.path = os.path.join(directory, _temporary("reserved"))
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(self.descriptor, 0, size)
        except OSError:
            self.discard()
            raise

    def commit(self, name: str, document: object) -> None:
        """Write the document and give it its name; may be called again after an OSError."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        _write(self.descriptor, document)
        os.rename(self.path, os.path.join(self.directory, name))
        sync_directory(self.directory)

    def discard(self) -> None:
        os.close(self.descriptor)
        os.unlink(self.path)

"""The archive of a backup: a tar of parts, then a manifest, then a seal, with no byte unaccounted.

Any tar reads it.  Each member stands as :func:`_header` writes it, followed by its bytes and zeros
up to the next block of 512.  The manifest is JSON and has the size and SHA-256 of every part before
it; the seal has the size and SHA-256 of the manifest.  So a part can be added without reading those
before it again, and one reading of the whole says whether a byte was changed.

While it is being made, the archive is ``.NAME.tar.PID.part`` with its rows beside it; PID is that
of the playbook, so that one that was broken off is known and taken away by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 1
MANIFEST, SEAL = "manifest.json", "seal"
BLOCK = 512
END = bytes(2 * BLOCK)
PIECE = 1 << 20
MOST_MANIFEST = 64 << 20
PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}")
HALF_MADE = re.compile(r"\.kcms-.*\.tar\.(\d+)\.(part|rows)(\..*)?")


class ArchiveError(Exception):
    """An archive that cannot be made or used; one line says why, and what would be right."""


@dataclass(frozen=True)
class Part:
    """One member: its bytes, and where they begin in the archive that was read."""

    name: str
    size: int
    sha256: str
    offset: int = 0


@dataclass(frozen=True)
class Manifest:
    """What an archive has.

    ``managers``: cluster to the host its store was on; ``aggregators``: hosts with round-robin
    files; ``final``: the managers were stopped for good before; ``time``: epoch seconds.
    """

    grid: str
    release: str
    time: float
    final: bool
    managers: dict[str, str]
    aggregators: list[str]
    parts: list[Part] = field(default_factory=list)

    @property
    def utc(self) -> str:
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def document(self) -> dict[str, Any]:
        rows = {p.name: {"size": p.size, "sha256": p.sha256} for p in self.parts}
        return {"format": FORMAT, **asdict(self), "made": self.utc, "parts": rows}

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """:raises ArchiveError: it is none"""
        try:
            row = json.loads(text)
            if row["format"] != FORMAT:
                raise ArchiveError(
                    f"the archive is of format {row['format']!r}, this release reads {FORMAT}: "
                    "use the release that made it"
                )
            parts = [
                Part(str(name), int(each["size"]), str(each["sha256"]))
                for name, each in row["parts"].items()
            ]
            return cls(
                str(row["grid"]),
                str(row["release"]),
                float(row["time"]),
                row["final"] is True,
                {str(name): str(host) for name, host in row["managers"].items()},
                [str(host) for host in row["aggregators"]],
                parts,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArchiveError(f"its manifest cannot be read: {error!r:.100}") from error

    def of(self, prefix: str) -> list[Part]:
        """The parts below a directory, in their order."""
        return [part for part in self.parts if part.name.startswith(f"{prefix}/")]


def archive_name(grid: str, when: float) -> str:
    return f"kcms-{grid}-{datetime.fromtimestamp(when, UTC).strftime('%Y%m%dT%H%M%SZ')}.tar"


# making one --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Making:
    """An archive under way: ``path`` is what it will be, ``pid`` the playbook's."""

    path: Path
    pid: int

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{self.pid}.part")

    @property
    def rows(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{self.pid}.rows")

    def begin(self) -> None:
        """:raises ArchiveError: the directory cannot be written, or the archive is there"""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.exists():
                raise ArchiveError(f"{self.path} is there already: run again in a second")
            for each in (self.part, self.rows):
                os.close(os.open(each, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            raise ArchiveError(f"cannot write {self.path.parent}: {error.strerror}") from error

    def add(self, name: str, source: BinaryIO, size: int) -> None:
        """Append a part.  :raises ArchiveError: it is cut short, or the disk does not take it"""
        try:
            with self.part.open("r+b") as archive:
                archive.seek(0, os.SEEK_END)
                digest = _append(archive, name, source, size)
            with self.rows.open("a", encoding="utf-8") as rows:
                rows.write(json.dumps([name, size, digest]) + "\n")
        except OSError as error:
            raise ArchiveError(f"cannot write {self.part}: {error.strerror}") from error

    def finish(self, manifest: Manifest) -> Manifest:
        """Add manifest and seal, and give it its name.  :raises ArchiveError: as :meth:`add`"""
        try:
            lines = self.rows.read_text(encoding="utf-8").splitlines()
            manifest.parts.extend(Part(*json.loads(line)) for line in lines)
            text = json.dumps(manifest.document(), indent=1).encode()
            with self.part.open("r+b") as archive:
                archive.seek(0, os.SEEK_END)
                archive.write(_header(MANIFEST, len(text)) + text + _padding(len(text)))
                seal = _seal(text)
                archive.write(_header(SEAL, len(seal)) + seal + _padding(len(seal)) + END)
                archive.flush()
                os.fsync(archive.fileno())
            self.part.rename(self.path)
            self.rows.unlink()
            _sync(self.path.parent)
        except OSError as error:
            raise ArchiveError(f"cannot write {self.path}: {error.strerror}") from error
        return manifest

    def give_up(self) -> None:
        for each in (self.part, self.rows):
            each.unlink(missing_ok=True)


def _append(archive: BinaryIO, name: str, source: BinaryIO, size: int) -> str:
    archive.write(_header(name, size))
    digest, left = hashlib.sha256(), size
    while left:
        piece = source.read(min(PIECE, left))
        if not piece:
            raise ArchiveError(f"{name} was cut short: {left} of {size} bytes are missing")
        digest.update(piece)
        archive.write(piece)
        left -= len(piece)
    archive.write(_padding(size))
    return digest.hexdigest()


def _header(name: str, size: int) -> bytes:
    if not PART_NAME.fullmatch(name):
        raise ArchiveError(f"{name!r:.100} is no name of a part")
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _seal(manifest: bytes) -> bytes:
    return f"{len(manifest):020d} {hashlib.sha256(manifest).hexdigest()}\n".encode()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(directory: Path) -> None:
    """Take away what runs left that were broken off."""
    for each in directory.glob(".kcms-*"):
        found = HALF_MADE.fullmatch(each.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            each.unlink(missing_ok=True)


def prune(made: Path, grid: str, keep: int) -> list[str]:
    """Remove archives of the grid until ``keep`` are there; their names.  0 keeps all.

    ``made`` is the one that is new.  It stays, and those that a wrong clock dated after it count as
    older than any other: they would push each new one out.
    """
    ours = re.compile(rf"kcms-{re.escape(grid)}-\d{{8}}T\d{{6}}Z\.tar")
    found = [each for each in made.parent.iterdir() if ours.fullmatch(each.name)]
    found.sort(key=lambda each: (each.name <= made.name, each.name))
    gone = found[:-keep] if keep > 0 else []
    for each in gone:
        each.unlink()
    return [each.name for each in gone]


# reading one -------------------------------------------------------------------------------------


def verify(path: Path) -> Manifest:
    """Read the whole archive; its manifest, when every byte is as it was written.

    :raises ArchiveError: it cannot be read, is no archive of ours, or was changed or cut
    """
    with _reading(path) as archive:
        text, end = _manifest(archive, path)
        manifest = Manifest.parse(text)
        archive.seek(0)
        parts = [_verified(archive, part, path) for part in manifest.parts]
        if archive.tell() != end or archive.read(BLOCK) != _header(MANIFEST, len(text)):
            raise _changed(path, "it has parts that its manifest does not name")
    manifest.parts[:] = parts
    return manifest


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as archive:
            yield archive
    except OSError as error:
        raise ArchiveError(f"cannot read {path}: {error.strerror}") from error


def _manifest(archive: BinaryIO, path: Path) -> tuple[bytes, int]:
    """The manifest's text, and where its header begins."""
    tail = 2 * BLOCK + len(END)
    whole = archive.seek(0, os.SEEK_END)
    if whole < tail or whole % BLOCK:
        raise ArchiveError(f"{path} is no whole archive of a backup: it is cut, or another file")
    archive.seek(whole - tail)
    last = archive.read(tail)
    said = last[BLOCK : BLOCK + len(_seal(b""))]
    size = int(said[:20]) if said[:20].isdigit() else -1
    start = whole - tail - size - len(_padding(size)) - BLOCK if 0 <= size < MOST_MANIFEST else -1
    if start < 0:
        raise ArchiveError(f"{path} is no whole archive of a backup: it is cut, or another file")
    archive.seek(start + BLOCK)
    text = archive.read(size)
    seal = _seal(text)
    expected = _padding(size) + _header(SEAL, len(seal)) + seal + _padding(len(seal)) + END
    if archive.read() != expected:
        raise _changed(path, "its manifest is not the one that was sealed")
    return text, start


def _verified(archive: BinaryIO, part: Part, path: Path) -> Part:
    header = _header(part.name, part.size)
    if archive.read(len(header)) != header:
        raise _changed(path, f"{part.name} is not where its manifest says")
    offset, digest = archive.tell(), hashlib.sha256()
    for piece in _pieces(archive, part.size):
        digest.update(piece)
    padding = _padding(part.size)
    if digest.hexdigest() != part.sha256 or archive.read(len(padding)) != padding:
        raise _changed(path, f"{part.name} is not what its SHA-256 says")
    return Part(part.name, part.size, part.sha256, offset)


def _pieces(archive: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = archive.read(min(PIECE, size))
        if not piece:
            return
        size -= len(piece)
        yield piece


def _changed(path: Path, how: str) -> ArchiveError:
    return ArchiveError(f"{path} was changed since it was made ({how}): use another copy of it")


def extract(path: Path, part: Part, target: BinaryIO) -> None:
    """Write a part's bytes.  :raises ArchiveError: they are not those that were verified"""
    digest = hashlib.sha256()
    with _reading(path) as archive:
        archive.seek(part.offset)
        for piece in _pieces(archive, part.size):
            digest.update(piece)
            target.write(piece)
    target.flush()
    if digest.hexdigest() != part.sha256:
        raise _changed(path, f"{part.name} is not what its SHA-256 says")


@contextmanager
def whole_or_nothing(making: Making) -> Iterator[None]:
    """Nothing half-made stays, whatever ends the work."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            making.give_up()
        raise

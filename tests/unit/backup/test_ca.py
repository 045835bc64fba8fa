"""The CA's directory as one part of a backup, and back."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_archive import ArchiveError
from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_ca import pack, put, state, unpack

FILES = {"ca.pem": b"C", "ca.key": b"K", "hosts/a1/node.pem": b"N", "hosts/a1/node.key": b"n"}


def directory(path: Path) -> Path:
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    (path / "hosts/a1/.node.key.x7").write_bytes(b"left over")
    return path


def test_a_ca_comes_back_as_it_was_and_private(tmp_path: Path) -> None:
    files = unpack(pack(directory(tmp_path / "pki")))
    assert files == FILES
    assert put(tmp_path / "new" / "pki", files, "before-X") == ""
    there = list((tmp_path / "new" / "pki").rglob("*"))
    assert {each.relative_to(tmp_path / "new/pki").as_posix(): each.stat().st_mode & 0o777
            for each in there} == {
        "hosts": 0o700, "hosts/a1": 0o700, **dict.fromkeys(FILES, 0o600)
    }  # fmt: skip
    assert (tmp_path / "new/pki").stat().st_mode & 0o777 == 0o700


def test_another_ca_is_known_and_kept_aside(tmp_path: Path) -> None:
    place = directory(tmp_path / "pki")
    assert state(place, FILES) == "same"
    assert state(tmp_path / "none", FILES) == "none"
    (place / "ca.key").write_bytes(b"other")
    assert state(place, FILES) == "other"
    assert put(place, FILES, "before-X") == str(tmp_path / "pki.before-X")
    assert (tmp_path / "pki.before-X/ca.key").read_bytes() == b"other"
    assert state(place, FILES) == "same"


def test_half_a_ca_is_no_backup(tmp_path: Path) -> None:
    (directory(tmp_path / "pki") / "ca.key").unlink()
    with pytest.raises(ArchiveError, match=r"has no ca.key"):
        pack(tmp_path / "pki")


@pytest.mark.parametrize("name", ["../../.ssh/authorized_keys", "/etc/cron.d/x", "hosts/../x.pem"])
def test_a_part_with_other_names_is_refused(name: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(ArchiveError, match="none of a CA's"):
        unpack(packed.getvalue())


def packed_as(mode: str, files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def sparse(size: int) -> bytes:
    """A ca.pem of ``size`` zeros that takes no room at all in the tar."""
    info = tarfile.TarInfo("ca.pem")
    info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(size)}
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (packed_as("w:xz", FILES), "cannot be read"),
        (packed_as("w:gz", FILES), "cannot be read"),
        (b"x" * 1024, "cannot be read"),
        (packed_as("w", {**FILES, "ca.pem": bytes((1 << 20) + 1)}), "ca.pem', which is none"),
        (sparse(1 << 19), "ca.pem', which is none"),
    ],
)
def test_a_part_does_not_grow_in_memory(packed: bytes, words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        unpack(packed)

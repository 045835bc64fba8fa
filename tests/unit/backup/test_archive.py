"""The archive of a backup: every byte of it counts, and nothing half-made stays."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils import backup_archive
from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_archive import (
    ArchiveError,
    Making,
    Manifest,
    archive_name,
    extract,
    prune,
    sweep,
    verify,
    whole_or_nothing,
)

NOW = 1_700_000_000.0
PARTS = {"ca.tar": b"c" * 513, "managers/alpha.tar.gz": b"s" * 1024, "rrd/head/00001.tar.gz": b""}


def manifest() -> Manifest:
    return Manifest("demo", "0.1.0+abc", NOW, False, {"alpha": "head"}, ["head"])


def made(directory: Path) -> Path:
    making = Making(directory / archive_name("demo", NOW), 77)
    making.begin()
    for name, content in PARTS.items():
        making.add(name, io.BytesIO(content), len(content))
    making.finish(manifest())
    return making.path


def content(path: Path, manifest: Manifest) -> dict[str, bytes]:
    found = {}
    for part in manifest.parts:
        target = io.BytesIO()
        extract(path, part, target)
        found[part.name] = target.getvalue()
    return found


def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert path.name == "kcms-demo-20231114T221320Z.tar"
    assert path.stat().st_mode & 0o777 == 0o600
    found = verify(path)
    assert content(path, found) == PARTS
    assert (found.grid, found.time, found.managers) == ("demo", NOW, {"alpha": "head"})
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_any_tar_reads_it(tmp_path: Path) -> None:
    with tarfile.open(made(tmp_path)) as archive:
        assert archive.getnames() == [*PARTS, "manifest.json", "seal"]
        member = archive.extractfile("manifest.json")
        assert member is not None
        assert json.load(member)["made"] == "2023-11-14 22:13:20 UTC"


def test_every_changed_byte_is_seen(tmp_path: Path) -> None:
    path = made(tmp_path)
    good = path.read_bytes()
    with path.open("r+b", buffering=0) as archive:
        for at, byte in enumerate(good):
            archive.seek(at)
            archive.write(bytes([byte ^ 0x41]))
            with pytest.raises(ArchiveError):
                verify(path)
            archive.seek(at)
            archive.write(bytes([byte]))
    assert len(verify(path).parts) == 3


@pytest.mark.parametrize("bytes_left", [0, 511, 512, 2048, 5000])
def test_a_cut_archive_is_none(tmp_path: Path, bytes_left: int) -> None:
    path = made(tmp_path)
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(ArchiveError, match="is no whole archive"):
        verify(path)


def test_an_archive_with_something_behind_or_before_it_is_none(tmp_path: Path) -> None:
    path = made(tmp_path)
    good = path.read_bytes()
    for bad in (good + bytes(512), bytes(512) + good):
        path.write_bytes(bad)
        with pytest.raises(ArchiveError):
            verify(path)


def test_a_part_that_changes_after_the_check_is_not_used(tmp_path: Path) -> None:
    path = made(tmp_path)
    found = verify(path)
    bad = bytearray(path.read_bytes())
    bad[found.parts[0].offset] ^= 1
    path.write_bytes(bad)
    with pytest.raises(ArchiveError, match=r"ca.tar is not what its SHA-256 says"):
        content(path, found)


def test_a_part_cut_short_leaves_nothing(tmp_path: Path) -> None:
    making = Making(tmp_path / "kcms-demo-20231114T221320Z.tar", 77)
    making.begin()
    with pytest.raises(ArchiveError, match="2 of 7 bytes are missing"), whole_or_nothing(making):
        making.add("ca.tar", io.BytesIO(b"short"), 7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", ".hidden", "a/../b", "a\nb", ""])
def test_a_part_has_a_harmless_name(tmp_path: Path, name: str) -> None:
    making = Making(tmp_path / "kcms-demo-20231114T221320Z.tar", 77)
    making.begin()
    with pytest.raises(ArchiveError, match="no name of a part"):
        making.add(name, io.BytesIO(b""), 0)


def test_only_what_dead_runs_left_is_swept(tmp_path: Path) -> None:
    alive = backup_archive.os.getpid()
    kept = [f".kcms-demo-1.tar.{alive}.part", ".kcms-other", "kcms-demo-20231114T221320Z.tar"]
    dead = ".kcms-demo-1.tar.4194305"
    for name in (*kept, f"{dead}.part", f"{dead}.rows", f"{dead}.part.x7f2_"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(("keep", "left"), [(0, 4), (2, 2), (9, 4)])
def test_the_newest_archives_are_kept(tmp_path: Path, keep: int, left: int) -> None:
    names = [archive_name("demo", NOW + day * 86400) for day in range(4)]
    others = [archive_name("demo-b", NOW), "kcms-demo-notes.tar", "my.tar"]
    for name in (*names, *others):
        (tmp_path / name).touch()
    gone = prune(tmp_path / names[-1], "demo", keep)
    assert gone == names[: 4 - left]
    there = {each.name for each in tmp_path.iterdir()}
    assert there == {*names[4 - left :], *others}


@pytest.mark.parametrize(("keep", "left"), [(1, ["made"]), (2, ["before", "made"])])
def test_an_archive_of_a_wrong_clock_pushes_no_other_out(
    tmp_path: Path, keep: int, left: list[str]
) -> None:
    days = {"before": -1, "made": 0, "ahead": 400}
    names = {what: archive_name("demo", NOW + day * 86400) for what, day in days.items()}
    for name in names.values():
        (tmp_path / name).touch()
    prune(tmp_path / names["made"], "demo", keep)
    assert {each.name for each in tmp_path.iterdir()} == {names[what] for what in left}


def test_an_archive_of_a_coming_format_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(backup_archive, "FORMAT", 2)
        path = made(tmp_path)
    with pytest.raises(ArchiveError, match="of format 2, this release reads 1"):
        verify(path)

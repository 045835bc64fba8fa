"""The archive of packages for offline hosts."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils import packages_bundle, packages_host
from ansible_collections.kcms.cluster.plugins.module_utils.packages_bundle import (
    BundleError,
    bundle_path,
    ensure,
    read,
)

FILES = {
    "manifest.json": json.dumps({"names": ["rrdtool"], "files": ["a.deb", "b.deb"]}),
    "Packages": "Package: a\nFilename: ./a.deb\n",
    "a.deb": "content of a",
    "b.deb": "content of b",
}


def archive(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as target:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            target.addfile(member, io.BytesIO(text.encode()))
    return path


def built(directory: Path) -> Path:
    return archive(bundle_path(str(directory), "trixie", "amd64"), FILES)


def test_a_host_gets_the_index_and_only_what_it_lacks(tmp_path: Path) -> None:
    bundle = read(built(tmp_path))
    assert bundle is not None
    bundle.part(["b.deb"], tmp_path / "part.tar")
    with tarfile.open(tmp_path / "part.tar") as part:
        assert sorted(part.getnames()) == ["Packages", "b.deb"]
        content = part.extractfile("b.deb")
        assert content is not None
        assert content.read() == b"content of b"


def test_a_file_the_bundle_lacks_is_named(tmp_path: Path) -> None:
    bundle = read(built(tmp_path))
    assert bundle is not None
    with pytest.raises(BundleError, match=r"lacks c\.deb; delete it"):
        bundle.part(["c.deb"], tmp_path / "part.tar")


def test_the_index_travels_as_text(tmp_path: Path) -> None:
    bundle = read(built(tmp_path))
    assert bundle is not None
    assert gzip.decompress(base64.b64decode(bundle.packed_index())).decode() == FILES["Packages"]


def test_no_file_is_no_bundle_and_a_broken_one_is_said(tmp_path: Path) -> None:
    assert read(tmp_path / "none.tar") is None
    (tmp_path / "broken.tar").write_text("no tar")
    with pytest.raises(BundleError, match=r"broken\.tar is no bundle of ours"):
        read(tmp_path / "broken.tar")


def test_a_bundle_that_serves_the_names_is_kept(tmp_path: Path) -> None:
    path = built(tmp_path)
    bundle, new = ensure(str(tmp_path), "trixie", "amd64", ["rrdtool"])
    assert (bundle.path, new) == (path, False)


def test_another_name_builds_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def build(path: Path, release: str, architecture: str, names: list[str]) -> None:
        asked.append(names)
        archive(path, {**FILES, "manifest.json": json.dumps({"names": names})})

    monkeypatch.setattr(packages_bundle, "_build", build)
    built(tmp_path)
    bundle, new = ensure(str(tmp_path), "trixie", "amd64", ["python3-flask"])
    assert new
    assert asked == [["python3-flask", "rrdtool"]]
    assert bundle.names == {"python3-flask", "rrdtool"}


def test_a_machine_without_apt_is_told_where_to_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match=r"has no apt-get; build it on a Debian machine"):
        ensure(str(tmp_path), "trixie", "arm64", ["rrdtool"])


def test_a_bundle_that_would_leave_its_directory_is_kept_inside(tmp_path: Path) -> None:
    path = archive(tmp_path / "evil.tar", {"../out": "x", "sub/in": "y", "ok.deb": "z"})
    (tmp_path / "inside").mkdir()
    packages_host._unpack(path, tmp_path / "inside")
    assert [each.name for each in (tmp_path / "inside").iterdir()] == ["ok.deb"]
    assert not (tmp_path / "out").exists()

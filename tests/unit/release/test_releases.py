import io
import os
import zipfile
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_release import Releases


def wheel(text: str = "x = 1\n") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("kcms/__init__.py", text)
    return packed.getvalue()


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    (tmp_path / "proc").mkdir()
    return Releases(str(tmp_path / "opt"), str(tmp_path / "proc"))


def runs_from(releases: Releases, version: str, pid: int = 42) -> None:
    (releases.proc / str(pid)).mkdir()
    command = f"python3\0{releases.directory(version)}/kcms/node/init.py\0".encode()
    (releases.proc / str(pid) / "cmdline").write_bytes(command)


def test_unpack_and_switch(releases: Releases) -> None:
    assert releases.current() is None
    releases.unpack("1.0+a", wheel())
    assert releases.has("1.0+a")
    assert releases.current() is None
    releases.switch("1.0+a")
    assert releases.current() == "1.0+a"
    package = releases.root / "current" / "kcms"
    assert list((package / "__pycache__").glob("__init__.*.pyc"))
    assert (package / "__init__.py").stat().st_mode & 0o777 == 0o644
    assert package.stat().st_mode & 0o777 == 0o755


def test_broken_wheel_leaves_nothing(releases: Releases) -> None:
    with pytest.raises(HostError, match=r"cannot unpack version 1\.0"):
        releases.unpack("1.0", b"no zip")
    assert not releases.has("1.0")
    assert list((releases.root / "releases").iterdir()) == []


def test_prune_keeps_newest_current_and_running(releases: Releases) -> None:
    for age, version in enumerate(["6", "5", "4", "3", "2", "1"]):
        releases.unpack(version, wheel())
        os.utime(releases.directory(version), (1000 - age, 1000 - age))
    (releases.root / "releases" / ".new-left").mkdir()
    releases.switch("3")
    runs_from(releases, "1")
    assert releases.prune(keep=2, before="4") == ["2"]
    assert releases.prune(keep=2) == ["4"]
    there = sorted(path.name for path in (releases.root / "releases").iterdir())
    assert there == ["1", "3", "5", "6"]


def test_a_version_is_not_kept_by_one_whose_name_begins_alike(releases: Releases) -> None:
    for age, version in enumerate(["2", "1+ab", "1+a"]):
        releases.unpack(version, wheel())
        os.utime(releases.directory(version), (1000 - age, 1000 - age))
    releases.switch("2")
    runs_from(releases, "1+ab")
    assert releases.prune(keep=1) == ["1+a"]


@pytest.mark.parametrize("version", ["", "../x", "a/b", ".new"])
def test_version_must_be_a_name(releases: Releases, version: str) -> None:
    with pytest.raises(HostError, match="is no version"):
        releases.has(version)

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils.wheel import (
    Sources,
    WheelError,
    build_wheel,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    package = tmp_path / "kcms"
    (package / "sub" / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Us."""\n\n__version__ = "1.2.3"\n')
    (package / "sub" / "a.py").write_text("x = 1\n")
    (package / "sub" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"no")
    return tmp_path


def test_same_sources_same_bytes(app: Path) -> None:
    first = build_wheel(Sources.read(app))
    (app / "kcms" / "sub" / "a.py").touch()
    assert build_wheel(Sources.read(app)) == first


def test_version_follows_every_content_and_name(app: Path) -> None:
    versions = {Sources.read(app).version}
    (app / "kcms" / "sub" / "a.py").write_text("x = 2\n")
    versions.add(Sources.read(app).version)
    (app / "kcms" / "sub" / "a.py").rename(app / "kcms" / "sub" / "b.py")
    versions.add(Sources.read(app).version)
    assert len(versions) == 3
    assert all(version.startswith("1.2.3+") for version in versions)


def test_wheel_lists_itself_truly(app: Path) -> None:
    sources = Sources.read(app)
    with zipfile.ZipFile(io.BytesIO(build_wheel(sources))) as archive:
        info = f"kcms-{sources.version}.dist-info"
        rows = {
            row[0]: row[1:] for row in csv.reader(archive.read(f"{info}/RECORD").decode().split())
        }
        assert set(rows) == set(archive.namelist())
        content = archive.read("kcms/sub/a.py")
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        assert rows["kcms/sub/a.py"] == [f"sha256={digest}", str(len(content))]
        assert f"Version: {sources.version}\n" in archive.read(f"{info}/METADATA").decode()
        assert f'__version__ = "{sources.version}"\n' in archive.read("kcms/__init__.py").decode()
        assert not [name for name in rows if name.endswith(".pyc")]


def test_pip_makes_a_command_of_it_and_knows_what_via_needs(tmp_path: Path) -> None:
    tool = [sys.executable, str(ROOT / "tools/wheel"), str(tmp_path)]
    path = subprocess.run(tool, capture_output=True, text=True, check=True).stdout.strip()
    install = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([sys.executable, *install, path], check=True)
    (found,) = distributions(name="kcms", path=[str(tmp_path)])
    assert found.requires == ['paramiko>=2.12; extra == "via"']
    assert found.metadata.get_all("Provides-Extra") == ["via"]
    done = subprocess.run(
        [tmp_path / "bin/kcms", "version"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"kcms {found.version}\n"


def test_missing_package_or_version(app: Path, tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="no package kcms under"):
        Sources.read(tmp_path / "elsewhere")
    (app / "kcms" / "__init__.py").write_text("")
    with pytest.raises(WheelError, match="says no __version__"):
        _ = Sources.read(app).version

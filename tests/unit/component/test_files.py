import grp
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_files import Wanted, differs, put

ME = pwd.getpwuid(os.getuid()).pw_name
US = grp.getgrgid(os.getgid()).gr_name


def wanted(path: Path, kind: str = "file", **more: object) -> Wanted:
    return Wanted(str(path), kind, owner=ME, group=US, **more)  # type: ignore[arg-type]


def test_file_is_written_once_with_its_mode(tmp_path: Path) -> None:
    want = wanted(tmp_path / "a.toml", content=b"x = 1\n", mode=0o640)
    found = differs(want)
    assert found is not None
    assert (found.before, found.after) == ("", f"owner {ME} group {US} mode 0640\nx = 1\n")
    assert not (tmp_path / "a.toml").exists()
    put(want)
    assert (tmp_path / "a.toml").read_bytes() == b"x = 1\n"
    assert (tmp_path / "a.toml").stat().st_mode & 0o7777 == 0o640
    assert differs(want) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.toml"]


def test_bytes_that_show_alike_still_differ(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xff")
    path.chmod(0o644)
    assert differs(wanted(path, content=b"\xfe")) is not None


def test_mode_alone_is_a_difference_and_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"same")
    path.chmod(0o666)
    want = wanted(path, content=b"same", mode=0o600)
    found = differs(want)
    assert found is not None
    assert "mode 0666" in found.before
    put(want)
    assert path.stat().st_mode & 0o7777 == 0o600


def test_private_content_is_in_no_diff(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old secret")
    found = differs(wanted(path, content=b"new secret", private=True))
    assert found is not None
    assert "secret" not in repr(found.diff())


def test_unknown_owner_is_a_difference_to_look_at_and_an_error_to_make(tmp_path: Path) -> None:
    want = Wanted(str(tmp_path / "f"), "file", owner="no-such-user", group=US)
    assert differs(want) is not None
    with pytest.raises(HostError, match="user no-such-user, which this host does not know"):
        put(want)
    assert list(tmp_path.iterdir()) == []


def test_directory_and_link(tmp_path: Path) -> None:
    directory = wanted(tmp_path / "d", "directory", mode=0o750)
    link = wanted(tmp_path / "l", "link", target="d")
    for want in (directory, link):
        assert differs(want) is not None
        put(want)
        assert differs(want) is None
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o750
    moved = wanted(tmp_path / "l", "link", target="elsewhere")
    found = differs(moved)
    assert found is not None
    assert (found.before, found.after) == ("link to d\n", "link to elsewhere\n")
    put(moved)
    assert (tmp_path / "l").readlink() == Path("elsewhere")


def test_absent(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    assert differs(wanted(path, "absent")) is None
    path.touch()
    assert differs(wanted(path, "absent")) is not None
    put(wanted(path, "absent"))
    assert not path.exists()


def test_a_directory_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is there and is no file: move it away"):
        differs(wanted(tmp_path, content=b""))


def test_under_a_missing_directory_it_would_be_made_but_cannot(tmp_path: Path) -> None:
    want = wanted(tmp_path / "no" / "f")
    assert differs(want) is not None
    with pytest.raises(HostError, match=r"cannot write .*/no/f: No such file or directory"):
        put(want)

"""Where staged files go, and how a broken transfer goes on."""

from __future__ import annotations

import pytest

from kcms.errors import InvalidRequest
from kcms.via.staging import (
    STALE_SECONDS,
    Local,
    begin_at,
    check_names,
    is_seen,
    on_head,
    part_name,
    place,
    stage_directory,
    stale,
)

DIGEST, OTHER = "ab" * 32, "cd" * 32


def local(path: str = "/home/me/prog.sh", digest: str = DIGEST, field: str = "executable") -> Local:
    return Local(field, path, 10, 0o755, digest)


def test_a_file_has_a_directory_for_its_content_and_keeps_its_name() -> None:
    found = place(local(), "/s/alice/.kcms/stage", by_content=True)
    assert found.path == f"/s/alice/.kcms/stage/{DIGEST[:32]}/prog.sh"
    assert found.part == f"/s/alice/.kcms/stage/.kcms-{DIGEST[:32]}.part"
    assert found.directories == (
        "/s/alice/.kcms/stage",
        f"/s/alice/.kcms/stage/{DIGEST[:32]}",
    )


def test_a_directory_that_is_named_takes_the_file_itself() -> None:
    found = place(local(), "/s/mine", by_content=False)
    assert (found.path, found.directories) == ("/s/mine/prog.sh", ("/s/mine",))


def test_two_files_of_one_name_are_refused_unless_they_are_the_same() -> None:
    check_names([local("/a/x"), local("/b/x", field="input"), local("/b/y", OTHER)])
    with pytest.raises(InvalidRequest, match=r"executable /a/x and input /b/x have one name"):
        check_names([local("/a/x"), local("/b/x", OTHER, "input")])


@pytest.mark.parametrize(
    ("home", "real", "given", "stage"),
    [
        ("/shared/home/a", "/shared/home/a", None, "/shared/home/a/.kcms/stage"),
        ("/home/a", "/shared/home/a", None, "/home/a/.kcms/stage"),
        ("/home/a", "/home/a", "/shared/a/", "/shared/a"),
        ("/shared/home/a", "/shared/home/a", "mine", "/shared/home/a/mine"),
        ("/shared/home/a", "/shared/home/a", "~/mine", "/shared/home/a/mine"),
    ],
)
def test_where_it_is_staged(home: str, real: str, given: str | None, stage: str) -> None:
    assert stage_directory(home, given) == stage
    assert is_seen(home, real, ["/scratch", "/shared/"]) == (given is None or home != "/home/a")


@pytest.mark.parametrize("home", ["/home/a", "/sharedby/a"])
def test_not_every_node_sees_what_is_staged_in_a_home_of_its_own(home: str) -> None:
    assert not is_seen(home, home, ["/scratch", "/shared"])
    assert not is_seen(home, home, [])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (":/s/x", "/s/x"),
        ("/s/x", "/s/x"),
        ("out/x", "/h/a/out/x"),
        (":./x", "/h/a/x"),
        ("~/x", "/h/a/x"),
        ("../x", "/h/a/../x"),
        (".", "/h/a/."),
    ],
)
def test_paths_on_the_head_begin_at_home(path: str, found: str) -> None:
    assert on_head(path, "/h/a") == found


@pytest.mark.parametrize(
    ("part", "size", "begin"),
    [(None, 10, 0), (0, 10, 0), (4, 10, 4), (10, 10, 10), (11, 10, 0), (None, 0, 0), (5, 0, 0)],
)
def test_a_transfer_goes_on_where_it_broke(part: int | None, size: int, begin: int) -> None:
    assert begin_at(part, size) == begin


def test_only_our_own_leftovers_are_cleared_and_only_old_ones() -> None:
    now, old = 1e9, 1e9 - STALE_SECONDS - 1
    ours = part_name(DIGEST)
    found = [(ours, old), (part_name(OTHER), now), ("x.part", old), (f"{ours}x", old), ("y", old)]
    assert stale(found, now) == [ours]

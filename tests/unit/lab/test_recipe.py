"""What roots are made of, and when they are made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import recipe
from lab.errors import LabError

VARS = """---
# node_packages: the ones below
node_packages:
  - python3-aiohttp   # the API
  # a note
  - "python3-jeepney"

  - libc++1
node_ports:
  - tcp
more_packages: # also
- criu
"""


def write_role(checkout: Path, role: str, text: str) -> None:
    path = checkout / "roles" / role / "vars" / "Debian.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_package_lists_are_found_and_other_lists_are_not() -> None:
    packages = recipe.parse_package_lists(VARS)
    assert packages == ["python3-aiohttp", "python3-jeepney", "libc++1", "criu"]


def test_the_roles_say_what_a_prepared_root_has(tmp_path: Path) -> None:
    write_role(tmp_path, "node", VARS)
    write_role(tmp_path, "web", "web_packages:\n  - python3-flask\n  - criu\n")
    prepared = recipe.recipe("trixie", "prepared", tmp_path)
    extra = {"python3-aiohttp", "python3-jeepney", "libc++1", "criu", "python3-flask"}
    assert set(prepared.packages) == {*extra, *recipe.BARE_PACKAGES, *recipe.USER_PACKAGES}
    assert set(recipe.recipe("trixie", "bare", tmp_path).packages) == set(recipe.BARE_PACKAGES)


def test_without_roles_the_usual_packages(tmp_path: Path) -> None:
    assert recipe.product_packages(tmp_path) == recipe.PRODUCT_PACKAGES


def test_a_new_package_makes_another_root_of_the_same_name(tmp_path: Path) -> None:
    before = recipe.recipe("trixie", "prepared", tmp_path)
    bare_before = recipe.recipe("trixie", "bare", tmp_path)
    write_role(tmp_path, "web", "web_packages:\n  - python3-flask\n")
    after = recipe.recipe("trixie", "prepared", tmp_path)
    assert before.directory != after.directory
    assert before.name == after.name == "trixie-prepared"
    assert recipe.recipe("trixie", "bare", tmp_path).directory == bare_before.directory


def test_a_new_script_makes_another_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = recipe.recipe("trixie", "bare", tmp_path)
    before = one.directory
    monkeypatch.setattr(recipe, "CUSTOMISE", recipe.CUSTOMISE + "true\n")
    assert one.directory != before


def test_each_release_and_kind_has_its_own_directory(tmp_path: Path) -> None:
    directories = {
        recipe.recipe(release, kind, tmp_path).directory
        for release in recipe.RELEASES
        for kind in recipe.KINDS
    }
    assert len(directories) == 4


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("prepared", ("trixie", "prepared")),
        ("bare", ("trixie", "bare")),
        ("bookworm", ("bookworm", "prepared")),
        ("bookworm-bare", ("bookworm", "bare")),
        ("trixie-prepared", ("trixie", "prepared")),
    ],
)
def test_names_of_roots(text: str, root: tuple[str, str]) -> None:
    assert recipe.parse_root_name(text) == root


@pytest.mark.parametrize("text", ["", "sid", "bookworm-", "-bare", "bare-bookworm"])
def test_an_unknown_root_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(LabError, match="bookworm-bare"):
        recipe.parse_root_name(text)

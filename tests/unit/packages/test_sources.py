"""Reading the machine's own Debian sources for another release."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils.packages_sources import (
    DebianSource,
    deb822_sources,
    for_release,
    machine_sources,
    one_line_sources,
)

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://other.example/
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
"""
LIST = """\
# deb http://old.example/ bookworm main
deb http://archive.example/debian bookworm main contrib  # here
deb [arch=amd64 signed-by=/k.gpg] https://vendor.example/apt bookworm stable
deb-src http://archive.example/debian bookworm main
deb [trusted=yes] file:/srv ./
"""


def test_deb822_stanzas_are_read_and_disabled_ones_left_out() -> None:
    found = deb822_sources(DEB822)
    first = DebianSource(
        "http://archive.example/debian",
        "bookworm",
        ("main", "contrib"),
        "/usr/share/keyrings/k.gpg",
    )
    assert found[0] == first
    assert [each.suite for each in found] == ["bookworm", "bookworm-updates", "bookworm-security"]
    assert found[2].signed_by == ""


def test_one_line_sources_are_read() -> None:
    assert one_line_sources(LIST) == [
        DebianSource("http://archive.example/debian", "bookworm", ("main", "contrib")),
        DebianSource("https://vendor.example/apt", "bookworm", ("stable",), "/k.gpg"),
    ]


def test_another_release_is_asked_of_debians_archives_alone() -> None:
    sources = [
        DebianSource("http://a.example/debian", "bookworm", ("main", "contrib"), "/old.gpg"),
        DebianSource("http://a.example/debian", "bookworm", ("main",)),
        DebianSource("http://a.example/debian-security", "bookworm-security", ("main",)),
        DebianSource("http://a.example/debian", "bookworm-backports", ("main",)),
        DebianSource("http://vendor.example/", "bookworm", ("stable",)),
        DebianSource("http://vendor.example/", "cloud-sdk-bookworm", ("main",)),
    ]
    lines = [each.line() for each in for_release(sources, "bookworm", "trixie", "/k.gpg")]
    assert lines == [
        "deb [signed-by=/k.gpg] http://a.example/debian trixie main",
        "deb [signed-by=/k.gpg] http://a.example/debian-security trixie-security main",
    ]


def test_both_formats_of_a_machine_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/more.list").write_text("deb http://more.example/ trixie main\n")
    (tmp_path / "sources.list.d/old.list.save").write_text("deb http://old.example/ x main\n")
    found = machine_sources(tmp_path)
    assert len(found) == 2 + 3 + 1
    assert found[-1].uri == "http://more.example/"
    assert machine_sources(tmp_path / "none") == []

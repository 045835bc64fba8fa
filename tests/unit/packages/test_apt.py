"""What apt is asked, and what is made of its answers."""

from __future__ import annotations

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.packages_apt import (
    Source,
    apt_options,
    bundle_sources,
    explain,
    fetched_files,
    install_command,
    installed,
    mirror_sources,
    source_problem,
    wrong_names,
)

# apt 3.0 of Debian 13, on a host without a route
NO_ROUTE = """\
E: Failed to fetch http://archive.example/debian/InRelease  Temporary failure resolving
E: Some index files failed to download. They have been ignored, or old ones used instead.
"""
PRINTED = """\
'file:/var/tmp/kcms-apt-x/bundle/./rrdtool_1.7.2-4%2bb5_amd64.deb' rrdtool_1.7.2-4.deb 461864 S:ab
'file:/var/tmp/kcms-apt-x/bundle/./libdbi1_0.9.0-6_amd64.deb' libdbi1_0.9.0-6_amd64.deb 29000 S:cd
"""


def test_installed_counts_only_what_dpkg_calls_installed() -> None:
    status = (
        "rrdtool\tinstalled\t1.7.2-4\n"
        "libc6:amd64\tinstalled\t2.41\n"
        "python3-flask\tconfig-files\t3.1\n"
        "python3-psutil\thalf-configured\t7.0\n"
        "python3-jeepney\tnot-installed\t\n"
        "dpkg-query: no packages found matching python3-waitress\n"
    )
    assert installed(status) == {"rrdtool": "1.7.2-4", "libc6": "2.41"}


def test_one_run_keeps_to_its_directory_and_never_asks() -> None:
    options = apt_options("/w", Source("apt"))
    assert "Dir::State::lists=/w/lists" in options
    assert "Dir::Cache=/w/cache" in options
    assert not any(each.startswith("Dir::Etc") for each in options)
    command = install_command(options, ["rrdtool"])
    assert command[0] == "apt-get"
    assert command[-3:] == ["install", "--", "rrdtool"]
    assert "--no-install-recommends" in command
    assert "-y" in command


def test_a_proxy_keeps_the_sources_of_the_host() -> None:
    options = apt_options("/w", Source("proxy", "http://10.0.0.1:3128"))
    assert "Acquire::http::Proxy=http://10.0.0.1:3128" in options
    assert "Acquire::https::Proxy=http://10.0.0.1:3128" in options
    assert not any(each.startswith("Dir::Etc") for each in options)


@pytest.mark.parametrize("kind", ["mirror", "bundle"])
def test_mirror_and_bundle_replace_the_sources_of_the_host(kind: str) -> None:
    options = apt_options("/w", Source(kind, "http://mirror.example/debian"))
    assert "Dir::Etc::SourceList=/w/sources.list" in options
    assert "Dir::Etc::SourceParts=-" in options


def test_sources_files() -> None:
    assert (
        mirror_sources("http://mirror.example/debian", "trixie", "/k.gpg")
        == "deb [signed-by=/k.gpg] http://mirror.example/debian/ trixie main\n"
    )
    assert (
        mirror_sources("http://m.example/", "trixie", "") == "deb http://m.example/ trixie main\n"
    )
    assert bundle_sources("/w/bundle") == "deb [trusted=yes] file:/w/bundle ./\n"


def test_files_of_a_bundle_are_read_from_apts_list() -> None:
    assert fetched_files(PRINTED) == ["libdbi1_0.9.0-6_amd64.deb", "rrdtool_1.7.2-4+b5_amd64.deb"]
    assert fetched_files("") == []


@pytest.mark.parametrize(
    ("output", "source", "expected"),
    [
        (
            NO_ROUTE,
            Source("apt"),
            "cannot reach archive.example for OS packages; "
            "set kcms_packages_source to mirror, proxy or bundle",
        ),
        (
            "E: Failed to fetch http://archive.example/x  Could not connect to 10.0.0.9:3128\n",
            Source("proxy", "http://10.0.0.9:3128/"),
            "cannot reach 10.0.0.9:3128 for OS packages; "
            "correct kcms_packages_url, or set kcms_packages_source to bundle",
        ),
        (
            "E: Unable to locate package python3-flusk\n",
            Source("bundle"),
            "no package source offers python3-flusk; "
            "build the bundle anew with playbooks/bundle.yml",
        ),
        (
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct it.\n",
            Source("apt"),
            "dpkg was interrupted on this host before; run: dpkg --configure -a",
        ),
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4 (apt)\n",
            Source("apt"),
            "another package manager held dpkg's lock for 180 s; try again after it",
        ),
        ("W: a\nE: first\nE: last\n", Source("apt"), "apt failed: last"),
        ("", Source("apt"), "apt failed: no output"),
    ],
)
def test_a_failure_is_one_line_with_its_remedy(output: str, source: Source, expected: str) -> None:
    assert explain(output, source) == expected


@pytest.mark.parametrize(
    ("kind", "url", "word"),
    [
        ("pip", "", "must be one of apt, mirror, proxy, bundle"),
        ("mirror", "", "a mirror needs an address"),
        ("proxy", "10.0.0.1:3128", "a proxy needs an address"),
        ("mirror", "ftp://old.example/", "a mirror needs an address"),
    ],
)
def test_a_wrong_choice_of_source_is_named(kind: str, url: str, word: str) -> None:
    assert word in (source_problem(kind, url) or "")


def test_right_choices_of_source_pass() -> None:
    assert source_problem("apt", "") is None
    assert source_problem("bundle", "") is None
    assert source_problem("proxy", "http://10.0.0.1:3128") is None
    assert source_problem("mirror", "https://mirror.example/debian/") is None


def test_names_that_could_be_options_are_refused() -> None:
    assert wrong_names(["rrdtool", "-oDir=/", "a b", "Python3", "g++"]) == [
        "-oDir=/",
        "a b",
        "Python3",
    ]

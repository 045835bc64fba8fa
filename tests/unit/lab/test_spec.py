"""Names, numbers and subnets of lab hosts."""

from __future__ import annotations

import ipaddress
import itertools
import uuid

import pytest

from lab import spec
from lab.errors import LabError
from lab.spec import HostSpec


def test_default_hosts_are_a_head_and_two_clusters() -> None:
    assert spec.parse_hosts(spec.DEFAULT_HOSTS) == [
        HostSpec("head", None),
        HostSpec("alpha1", "alpha"),
        HostSpec("alpha2", "alpha"),
        HostSpec("alpha3", "alpha"),
        HostSpec("beta1", "beta"),
        HostSpec("beta2", "beta"),
    ]


def test_commas_separate_too() -> None:
    assert spec.parse_hosts("head,a=1") == [HostSpec("head", None), HostSpec("a1", "a")]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no hosts"),
        ("head Alpha=3", "'Alpha'"),
        ("alpha=0", "'alpha=0'"),
        ("alpha=", "'alpha='"),
        ("alpha=x", "'alpha=x'"),
        ("alpha=201", "'alpha=201'"),
        ("alpha=-1", "'alpha=-1'"),
        ("alpha=²", "'alpha=²'"),
        ("=3", "''"),
        ("1234", "'1234'"),
        ("alpha1 alpha=2", "alpha1"),
        ("a=150 b=51", "201 hosts"),
        ("../x", "'../x'"),
    ],
)
def test_a_wrong_word_is_named(text: str, word: str) -> None:
    with pytest.raises(LabError) as caught:
        spec.parse_hosts(text)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a--b", "a-", "-a", "9a", "a_b", "A", "", "a" * 31])
def test_names_that_cannot_be_host_names(name: str) -> None:
    with pytest.raises(LabError):
        spec.check_name("lab", name)


def test_cluster_of_a_host_name() -> None:
    assert spec.cluster_of("alpha4") == "alpha"
    assert spec.cluster_of("alpha-12") == "alpha"
    assert spec.cluster_of("head") is None


def test_subnet_is_the_same_every_time_and_within_its_range() -> None:
    subnet = spec.pick_subnet("kcms", [])
    assert subnet == spec.pick_subnet("kcms", [])
    assert subnet != spec.pick_subnet("labtest", [])
    assert subnet.prefixlen == 24
    assert subnet.subnet_of(ipaddress.IPv4Network("10.64.0.0/10"))


def test_a_taken_subnet_gives_the_next() -> None:
    first, second, third = itertools.islice(spec.subnets("kcms"), 3)
    assert int(second.network_address) - int(first.network_address) == 256
    inside_second = ipaddress.IPv4Network(f"{second[16]}/28")
    assert spec.pick_subnet("kcms", [first]) == second
    assert spec.pick_subnet("kcms", [first, inside_second]) == third


def test_the_subnets_are_all_different_and_end() -> None:
    assert len(set(spec.subnets("kcms"))) == 64 * 256
    with pytest.raises(LabError, match="is free"):
        spec.pick_subnet("kcms", [ipaddress.IPv4Network("10.0.0.0/8")])


def test_tags_are_short_and_no_other_lab_has_them() -> None:
    assert spec.pick_tag("kcms", set()) == "kcms"
    first = spec.pick_tag("labtest", set())
    second = spec.pick_tag("labtest", {first})
    assert first[:2] == second[:2] == "la"
    assert first != second
    assert len(first) == len(second) == 4
    assert spec.pick_tag("kcms", {"kcms"}) != "kcms"


@pytest.mark.parametrize("host", ["head", "alpha1", "alpha10", "alpha100", "a" * 30])
def test_link_names_fit_into_the_kernels_15_characters(host: str) -> None:
    assert len("vb-" + spec.machine_name("kcms", host)) <= 15


def test_long_host_names_stay_apart() -> None:
    names = {spec.machine_name("kcms", f"verylongname{n}") for n in range(200)}
    assert len(names) == 200


def test_machine_ids_are_stable_random_uuids_of_their_own() -> None:
    one = spec.machine_id("kcms", "alpha1")
    assert one == spec.machine_id("kcms", "alpha1")
    assert one not in (spec.machine_id("kcms", "alpha2"), spec.machine_id("other", "alpha1"))
    assert uuid.UUID(one).version == 4
    assert uuid.UUID(one).variant == uuid.RFC_4122

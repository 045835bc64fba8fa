import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import (
    Authority,
    AuthorityError,
    Pair,
    Request,
)
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
REQUEST = Request("alpha1", "node", ["alpha1"], ["10.0.0.1"], ["kcms://node/alpha1"])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("lab", NOW)


@pytest.fixture(scope="module")
def leaf(authority: Authority) -> Pair:
    return authority.issue(REQUEST, NOW)


def test_ca_may_sign_leaves_only_for_twenty_years(authority: Authority) -> None:
    certificate = authority.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=20 * 365)
    assert certificate.not_valid_before_utc == NOW - DAY


def test_leaf_carries_who_it_is_and_who_signed(authority: Authority, leaf: Pair) -> None:
    certificate = x509.load_pem_x509_certificate(leaf.certificate)
    get = certificate.extensions.get_extension_for_class
    names = get(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["alpha1"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["kcms://node/alpha1"]
    ca_key = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert get(x509.AuthorityKeyIdentifier).value.key_identifier == ca_key.value.digest
    assert set(get(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert certificate.not_valid_after_utc == NOW + timedelta(days=5 * 365)


@pytest.mark.parametrize(
    ("years", "objection"),
    [(0, None), (3, None), (4, None), (4.1, "it ends on 2030-12-31"), (6, "it ends on 2030-12-31")],
)
def test_renewed_in_its_last_year(
    authority: Authority, leaf: Pair, years: float, objection: str | None
) -> None:
    assert authority.objection(leaf, REQUEST, NOW + timedelta(days=365 * years)) == objection


@pytest.mark.parametrize("field", ["names", "addresses", "uris"])
def test_issued_anew_when_it_says_another_thing(
    authority: Authority, leaf: Pair, field: str
) -> None:
    other = {"names": ["b"], "addresses": ["10.0.0.2"], "uris": ["kcms://node/b"]}[field]
    request = dataclasses.replace(REQUEST, **{field: other})
    assert authority.objection(leaf, request, NOW) == "names, address or roles differ"


def test_foreign_swapped_broken_or_missing_pairs(authority: Authority, leaf: Pair) -> None:
    foreign = Authority.make("lab", NOW).issue(REQUEST, NOW)
    objection = authority.objection
    assert objection(foreign, REQUEST, NOW) == "another CA signed it"
    assert (
        objection(Pair(leaf.certificate, foreign.key), REQUEST, NOW) == "its key is another one's"
    )
    assert objection(Pair(b"", leaf.key), REQUEST, NOW) == "it cannot be read"
    assert objection(None, REQUEST, NOW) == "there is none"


def test_ca_is_loaded_whole_or_not_at_all(authority: Authority, leaf: Pair) -> None:
    pair = authority.pair()
    assert Authority.load(pair, "d").certificate == authority.certificate
    with pytest.raises(AuthorityError, match=r"ca.key in d is not the key of ca.pem"):
        Authority.load(Pair(pair.certificate, leaf.key), "d")
    with pytest.raises(AuthorityError, match="the CA in d cannot be read"):
        Authority.load(Pair(b"x", pair.key), "d")


def test_bad_address_is_one_line(authority: Authority) -> None:
    request = dataclasses.replace(REQUEST, addresses=["10.0.0.300"])
    with pytest.raises(AuthorityError, match=r"certificate node of alpha1: .*10\.0\.0\.300"):
        authority.issue(request, NOW)

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import (
    AuthorityError,
    Request,
)
from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REQUESTS = [
    Request("alpha1", "node", ["alpha1"], ["10.0.0.1"], ["kcms://node/alpha1"]),
    Request("head", "gateway", ["head"], ["10.0.0.9"], ["kcms://admin/head"]),
]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_second_run_keeps_everything(tmp_path: Path) -> None:
    store = Store(tmp_path / "pki")
    first = store.bring("lab", REQUESTS, NOW)
    assert first.reasons == [
        "ca: there is none",
        "alpha1/node: there is none",
        "head/gateway: there is none",
    ]
    again = store.bring("lab", REQUESTS, NOW)
    assert again.reasons == []
    assert again.ca == first.ca
    assert [each.pair for each in again.issued] == [each.pair for each in first.issued]


def test_keys_are_private(tmp_path: Path) -> None:
    Store(tmp_path / "pki").bring("lab", REQUESTS, NOW)
    keys = list((tmp_path / "pki").rglob("*.key"))
    assert len(keys) == 3
    assert {mode(key) for key in keys} == {0o600}
    assert {mode(key.parent) for key in keys} == {0o700}


def test_only_what_is_lost_is_issued_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.bring("lab", REQUESTS, NOW)
    (tmp_path / "hosts/alpha1/node.key").unlink()
    assert store.bring("lab", REQUESTS, NOW).reasons == ["alpha1/node: there is none"]
    assert store.bring("lab", REQUESTS, NOW).reasons == []


def test_renewal_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.bring("lab", REQUESTS, NOW)
    later = NOW + timedelta(days=4 * 365 + 1)
    assert len(store.bring("lab", REQUESTS, later).reasons) == 2
    assert store.bring("lab", REQUESTS, later).reasons == []


def test_renewal_on_demand_makes_new_keys_under_the_same_ca(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.bring("lab", REQUESTS, NOW)
    again = store.bring("lab", REQUESTS, NOW, renew=True)
    assert again.reasons == [
        "alpha1/node: a new one was asked for",
        "head/gateway: a new one was asked for",
    ]
    assert again.ca == first.ca
    assert not {e.pair.key for e in again.issued} & {e.pair.key for e in first.issued}
    assert [e.pair for e in store.bring("lab", REQUESTS, NOW).issued] == [
        e.pair for e in again.issued
    ]


def test_renewal_on_demand_begins_no_ca(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match=r"there is no CA in .*rolled out from"):
        Store(tmp_path / "pki").bring("lab", REQUESTS, NOW, renew=True)
    assert not (tmp_path / "pki").exists()


def test_check_writes_nothing_and_tells_the_same(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    told = Store(pki, check=True).bring("lab", REQUESTS, NOW)
    assert not pki.exists()
    assert told.ca.startswith(b"-----BEGIN CERTIFICATE")
    assert told.reasons == Store(pki).bring("lab", REQUESTS, NOW).reasons


@pytest.mark.parametrize("lost", ["ca.pem", "ca.key"])
def test_half_a_ca_is_never_replaced(tmp_path: Path, lost: str) -> None:
    store = Store(tmp_path)
    store.bring("lab", REQUESTS, NOW)
    (tmp_path / lost).unlink()
    with pytest.raises(AuthorityError, match="without its other half: restore it"):
        store.bring("lab", REQUESTS, NOW)
    assert not (tmp_path / lost).exists()

"""Which manager is meant, and what is said when it cannot be reached."""

from __future__ import annotations

import ssl

import aiohttp
import pytest

from kcms.config import ClusterAddress, GatewayConfig
from kcms.errors import ConfigError, NotFound
from kcms.gateway.managers import Clusters, _unavailable, reason

ALPHA = ClusterAddress(name="alpha", address="10.0.0.1")
BETA = ClusterAddress(name="beta", address="10.0.1.1", port=8661)


def config(*clusters: ClusterAddress, default: str = "") -> GatewayConfig:
    return GatewayConfig(
        host="alpha1",
        clusters=list(clusters),
        default_cluster=default,
        shared_directories=["/shared"],
        tls_ca="ca",
        tls_certificate="c",
        tls_key="k",
    )


def test_the_default_is_the_first_or_the_one_named() -> None:
    assert Clusters(config(ALPHA, BETA)).named(None) == ALPHA
    assert Clusters(config(ALPHA, BETA, default="beta")).named(None) == BETA
    assert Clusters(config(ALPHA, BETA)).named("beta") == BETA


def test_an_unknown_cluster_names_the_known() -> None:
    with pytest.raises(NotFound, match="no cluster 'gamma' here; known are alpha, beta"):
        Clusters(config(ALPHA, BETA)).named("gamma")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (config(), "names no clusters"),
        (config(ALPHA, ALPHA), "twice"),
        (config(ALPHA, default="beta"), "'beta' is none of alpha"),
    ],
)
def test_settings_that_cannot_be_used(bad: GatewayConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Clusters(bad)


def test_reasons_are_single_sentences() -> None:
    assert str(_unavailable(BETA, TimeoutError(), 3.0)) == (
        "the manager of beta at 10.0.1.1 port 8661 did not answer within 3 s; "
        "systemctl status kcms-manager@beta on that host says more"
    )
    refused = ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 8660)")
    assert str(_unavailable(ALPHA, refused, 3.0)) == (
        "the manager of alpha at 10.0.0.1 port 8660 cannot be reached: nothing listens there; "
        "systemctl status kcms-manager@alpha on that host says more"
    )
    assert reason(aiohttp.ServerDisconnectedError()) == "Server disconnected"
    assert reason(ssl.SSLCertVerificationError("not that of manager alpha")) == (
        "not that of manager alpha"
    )
    assert reason(OSError(5, "whatever")) == "Input/output error"
    assert reason(aiohttp.ServerTimeoutError()) == "that host does not answer"
    assert "\n" not in reason(aiohttp.ClientPayloadError("a\nb"))

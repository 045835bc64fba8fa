"""Which manager's word opens a stream of another gateway, and to what."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.config import ClusterAddress, GatewayConfig
from kcms.errors import Forbidden
from kcms.gateway.managers import Clusters
from kcms.gateway.peers import Peers

FILE = {"kind": "file", "user": "alice", "uid": 2001, "path": "/home/alice/x"}
ATTACH = {"kind": "attach", "user": "alice", "uid": 2001}
CERTIFICATE = {"subjectAltName": (("URI", "kcms://submit/beta1"),)}


async def admitted(claims: dict[str, Any], cluster: str | None) -> Any:
    """What a gateway of cluster alpha makes of a stream whose ticket a manager said to be for
    ``claims``."""
    config = GatewayConfig(
        host="alpha1",
        clusters=[ClusterAddress(name=name, address="::1") for name in ("alpha", "beta")],
        tls_ca="",
        tls_certificate="",
        tls_key="",
    )
    asked: list[str] = []

    async def call(address: ClusterAddress, *_: object, **_more: object) -> Any:
        asked.append(address.name)
        return SimpleNamespace(document=lambda: claims)

    managers: Any = SimpleNamespace(call=call)
    kinds: dict[str, Any] = {"file": "files", "attach": "terminals"}
    reader = asyncio.StreamReader()
    hello = {"kind": claims["kind"], "ticket": "t", "cluster": cluster}
    reader.feed_data(json.dumps(hello).encode() + b"\n")
    tls = SimpleNamespace(getpeercert=lambda: CERTIFICATE)
    writer = SimpleNamespace(get_extra_info=lambda _: tls)
    pair: Any = SimpleNamespace(reader=reader, writer=writer)
    serve, _ = await Peers(config, managers, Clusters(config), kinds)._admitted(pair)
    assert asked == [cluster or "alpha"]
    return serve


@pytest.mark.parametrize("cluster", [None, "alpha"])
async def test_the_manager_of_the_hosts_own_cluster_opens_all(cluster: str | None) -> None:
    assert await admitted(FILE, cluster) == "files"
    assert await admitted(ATTACH, cluster) == "terminals"


async def test_that_of_another_opens_staged_files_alone() -> None:
    assert await admitted({**FILE, "staged": True}, "beta") == "files"
    for claims in (FILE, {**FILE, "staged": 1}, ATTACH, {**ATTACH, "staged": True}):
        with pytest.raises(Forbidden, match="none of cluster beta"):
            await admitted(claims, "beta")

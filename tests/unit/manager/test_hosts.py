"""What a manager knows of its hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kcms.errors import Conflict
from kcms.manager.hosts import Hosts


def test_where_a_gateway_listens_and_that_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    there = {"roles": ["node"], "address": "192.0.2.1", "gateway_port": 8659}
    path.write_text(json.dumps({"hosts": {"n1": there, "n2": {"roles": ["node"]}}}))
    hosts = Hosts(str(path))
    assert hosts.gateway_of("n1") == ("192.0.2.1", 8659)
    for name in ("n2", "unknown"):
        with pytest.raises(Conflict, match=f"the gateway of {name} listens to no other: run"):
            hosts.gateway_of(name)

"""``kcms nodes`` and ``kcms clusters``."""

from __future__ import annotations

import json
import time
from typing import Any

from kcms.cli import tables
from kcms.cli.options import Parser, client, client_options


def nodes(words: list[str]) -> int:
    parser = Parser("nodes", "List the nodes of a cluster.")
    client_options(parser, None)
    options = parser.parse_args(words)
    found = client(options).nodes()
    if options.json:
        print(json.dumps({"nodes": found}, indent=2))
    else:
        print(node_table(found, time.time()))
    return 0


def node_table(found: list[dict[str, Any]], now: float) -> str:
    header = ("NODE", "STATE", "SLOTS", "USED", "LOAD", "HEARD", "RELEASE")
    rows = [
        (
            node["name"],
            node["state"],
            node["slots"],
            node["used"],
            _load(node["load"]),
            f"{tables.duration(now - node['heard'])} ago" if node["heard"] else "never",
            node["release"],
        )
        for node in found
    ]
    return tables.table(header, rows, right="SLOTS USED LOAD")


def _load(value: Any) -> str:
    """load_one, which may come alone or among the other load figures."""
    if isinstance(value, dict):
        value = value.get("load_one")
    return tables.ABSENT if value is None else f"{float(value):.2f}"


def clusters(words: list[str]) -> int:
    parser = Parser("clusters", "List the clusters whose managers this host can call.")
    client_options(parser, None)
    options = parser.parse_args(words)
    found = client(options).clusters()
    if options.json:
        print(json.dumps({"clusters": found}, indent=2))
    else:
        print(cluster_table(found))
    return 0


def cluster_table(found: list[dict[str, Any]]) -> str:
    header = ("CLUSTER", "STATE", "DEFAULT", "MANAGER", "RELEASE", "NOTE")
    rows = [
        (
            row["name"],
            row["state"],
            "yes" if row["default"] else "",
            f"{row['address']} port {row['port']}",
            row["release"],
            row["message"],
        )
        for row in found
    ]
    return tables.table(header, rows)

"""``kcms nodes``, ``kcms drain``, ``kcms resume`` and ``kcms clusters``."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from typing import Any

from kcms.cli import FAILURE_STATUS, leaving, tables
from kcms.cli.options import Parser, client, client_options, name
from kcms.client import Client


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
    header = ("NODE", "STATE", "SLOTS", "USED", "LOAD", "HEARD", "RELEASE", "NOTE")
    rows = [
        (
            node["name"],
            availability(node),
            node["slots"],
            node["used"],
            _load(node["load"]),
            f"{tables.duration(now - node['heard'])} ago" if node["heard"] else "never",
            node["release"],
            note(node),
        )
        for node in found
    ]
    return tables.table(header, rows, right="SLOTS USED LOAD")


def availability(node: dict[str, Any]) -> str:
    """In one word; an older manager says only UP or DOWN."""
    return str(node.get("availability") or node["state"])


def note(node: dict[str, Any]) -> str:
    """Why it is drained, which a node that is down may be, too."""
    if not node.get("drained"):
        return ""
    reason = node.get("drain_reason") or ""
    if str(node.get("availability", "")).startswith("drain"):
        return reason
    return f"drained: {reason}" if reason else "drained"


def drain(words: list[str]) -> int:
    parser = Parser(
        "drain",
        "Give a node no new jobs; those that run there go on, or with --migrate are moved to other "
        "nodes.  Only the grid's root may do it.",
    )
    parser.add_argument("node", metavar="NODE", type=name)
    parser.add_argument(
        "--reason", metavar="TEXT", required=True, help="what others are to know about it"
    )
    parser.add_argument(
        "--migrate",
        action="store_true",
        help="move what runs there to other nodes, as kcms migrate does, as they have room",
    )
    parser.add_argument(
        "--wait",
        action="store_true",
        help="with --migrate: until nothing of it can leave any more; status 1 when some stays",
    )
    return _set_state(parser, words, "drain")


def resume(words: list[str]) -> int:
    if any(each.isascii() and each.isdigit() for each in words):  # no node is named so
        from kcms.cli import jobs

        return jobs.resume(words)
    parser = Parser(
        "resume",
        "Give a node new jobs again, which only the grid's root may do; or let suspended jobs go "
        "on: kcms resume JOB ...",
    )
    parser.add_argument("node", metavar="NODE", type=name)
    return _set_state(parser, words, "resume")


def _set_state(parser: Parser, words: list[str], state: str) -> int:
    client_options(parser, None)
    options = parser.parse_args(words)
    reason = options.reason if state == "drain" else ""
    if state == "drain" and not reason.strip():
        parser.error("--reason must say something that others are to know")
    caller = client(options)
    if state == "drain" and options.migrate:
        return _migrate(caller, options, reason)
    if state == "drain" and options.wait:
        parser.error("--wait goes with --migrate")
    node = caller.set_node_state(options.node, state, reason)
    print(json.dumps(node, indent=2) if options.json else _in_words(node))
    return 0


def _in_words(node: dict[str, Any]) -> str:
    used = f", {node['used']} of {node['slots']} slots used" if node["used"] else ""
    return f"{node['name']} is {availability(node)}{used}"


def _migrate(caller: Client, options: Namespace, reason: str) -> int:
    """Have a node emptied; say what leaves it and what does not."""
    node = caller.set_node_state(options.node, "drain", reason, migrate=True)
    if not options.json:
        print(_in_words(node), flush=True)
    if options.wait:
        rows = leaving.wait(caller, options.node, options.json)
    else:
        rows = caller.leaving(options.node)["tasks"]
    if options.json:
        print(json.dumps({**node, "tasks": rows}, indent=2))
    elif rows and not options.wait:
        print(leaving.table(rows))
    if not options.wait or not rows:
        return 0
    leaving.complain_of(options.node, rows)
    return FAILURE_STATUS


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

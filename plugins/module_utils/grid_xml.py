"""The grid's XML read for one question: who is heard.  Standard library only; runs on hosts."""

from __future__ import annotations

import socket
import xml.etree.ElementTree as ElementTree
from typing import Any

MAX_BYTES = 256 * 2**20
LATE = 4  # a host is up while TN is below this many TMAX, as Ganglia counts


class GridError(Exception):
    """One line for the operator."""


def fetch(host: str, port: int, seconds: float) -> bytes:
    """All that the XML port sends until it closes."""
    try:
        with socket.create_connection((host, port), seconds) as connection:
            connection.settimeout(seconds)
            received = bytearray()
            while chunk := connection.recv(65536):
                received += chunk
                if len(received) > MAX_BYTES:
                    raise GridError(f"more than {MAX_BYTES} bytes came from {host} port {port}")
            return bytes(received)
    except OSError as error:
        raise GridError(
            f"no XML from {host} port {port} ({error}); is kcms-aggregator running there?"
        ) from error


def clusters(document: bytes) -> dict[str, dict[str, dict[str, Any]]]:
    """Cluster to host to {"up", "tn", "tmax", "address"}.

    :raises GridError: no Ganglia XML
    """
    if b"<!ENTITY" in document:
        raise GridError("the XML declares entities, which Ganglia's never does")
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - entities are refused above
        return {
            each.attrib["NAME"]: {host.attrib["NAME"]: _host(host) for host in each.iter("HOST")}
            for each in root.iter("CLUSTER")
        }
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise GridError(f"what came is no Ganglia XML: {error}") from error


def _host(element: ElementTree.Element) -> dict[str, Any]:
    silent, limit = int(element.attrib["TN"]), int(element.attrib["TMAX"])
    up = silent < limit * LATE
    return {"up": up, "tn": silent, "tmax": limit, "address": element.attrib.get("IP", "")}


def not_heard(
    expected: dict[str, list[str]], found: dict[str, dict[str, dict[str, Any]]]
) -> list[str]:
    """Hosts of ``expected`` (cluster to hosts) that are missing or down, as CLUSTER/HOST."""
    return [
        f"{cluster}/{host}"
        for cluster, hosts in expected.items()
        for host in hosts
        if not found.get(cluster, {}).get(host, {}).get("up", False)
    ]

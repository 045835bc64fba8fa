"""What hosts a lab has, from one line of text, and the names that derive from it.  Pure.

The line is ``head alpha=3 beta=2``: a word alone is a host of the head group, ``NAME=N`` is a
cluster of N hosts NAME1 … NAMEN.  Any number of either, separated by blanks or commas.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from lab.errors import LabError

DEFAULT_HOSTS = "head alpha=3 beta=2"
DEFAULT_LAB = "kcms"
MAX_HOSTS = 200
FIRST_HOST_NUMBER = 11

_NAME = re.compile(r"[a-z](-?[a-z0-9])*")
_SUBNETS = 64 * 256  # 10.64.0.0/24 … 10.127.255.0/24


@dataclass(frozen=True)
class HostSpec:
    """A wanted host; ``cluster`` is None for a host of the head group."""

    name: str
    cluster: str | None


def parse_hosts(text: str) -> list[HostSpec]:
    """Read a line such as ``head alpha=3 beta=2``.

    Raises LabError naming the word that is wrong, or the host that is there twice.
    """
    hosts: list[HostSpec] = []
    for word in text.replace(",", " ").split():
        hosts += _parse_word(word)
    if not hosts:
        raise LabError(f"no hosts in {text!r}: say for example {DEFAULT_HOSTS!r}")
    if len(hosts) > MAX_HOSTS:
        raise LabError(f"{len(hosts)} hosts in {text!r}: a lab has at most {MAX_HOSTS}")
    names = [host.name for host in hosts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LabError(f"{text!r} names {', '.join(twice)} more than once")
    return hosts


def _parse_word(word: str) -> list[HostSpec]:
    name, equals, number = word.partition("=")
    check_name("host or cluster", name)
    if not equals:
        return [HostSpec(name, None)]
    if not number.isascii() or not number.isdigit() or not 0 < int(number) <= MAX_HOSTS:
        raise LabError(f"{word!r}: after = stands the number of hosts, 1 to {MAX_HOSTS}")
    return [HostSpec(f"{name}{n}", name) for n in range(1, int(number) + 1)]


def check_name(what: str, name: str) -> str:
    """Return ``name`` when it can be a host name, else raise LabError."""
    if len(name) > 30 or not _NAME.fullmatch(name):
        raise LabError(
            f"{name!r} is no {what} name: lower-case letters, digits and single hyphens, "
            "a letter first, at most 30"
        )
    return name


def cluster_of(name: str) -> str | None:
    """The cluster a host name speaks of (``alpha4`` → ``alpha``), None when it ends in no digit."""
    stem = name.rstrip("0123456789")
    return stem.rstrip("-") if stem != name else None


def subnets(lab: str) -> Iterator[ipaddress.IPv4Network]:
    """All subnets a lab may have, the one that derives from its name first."""
    first = int.from_bytes(_digest(lab)[:4], "big")
    for step in range(_SUBNETS):
        number = (first + step) % _SUBNETS
        yield ipaddress.IPv4Network((f"10.{64 + number // 256}.{number % 256}.0", 24))


def pick_subnet(lab: str, taken: Collection[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first subnet for a lab that overlaps none of ``taken``."""
    for subnet in subnets(lab):
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise LabError("no /24 of 10.64.0.0 to 10.127.255.0 is free on this machine")


def pick_tag(lab: str, taken: Collection[str]) -> str:
    """A mark of at most 4 characters for links, units and machines that no other lab has."""
    if len(lab) <= 4 and lab not in taken:
        return lab
    for step in range(10_000):
        tag = lab[:2].rstrip("-") + _digest(f"{lab} {step}").hex()[:2]
        if tag not in taken:
            return tag
    raise LabError(f"no short name is left for the lab {lab!r}: take another LAB=")


def machine_name(tag: str, host: str) -> str:
    """The name of a host on this machine: its link is ``vb-`` and this, 15 characters at most."""
    if len(host) > 7:
        host = host[:2] + _digest(host).hex()[:5]
    return f"{tag}-{host}"


def machine_id(lab: str, host: str) -> str:
    """The host's machine-id: 32 hex digits in the form of a random UUID, always the same."""
    digits = list(_digest(f"{lab}/{host}").hex()[:32])
    digits[12] = "4"
    digits[16] = "89ab"[int(digits[16], 16) % 4]
    return "".join(digits)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

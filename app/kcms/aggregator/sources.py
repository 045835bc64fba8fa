"""Which address of a cluster to ask, and when.  Pure: decisions, no sockets and no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kcms.config import GANGLIA_PORT
from kcms.errors import ConfigError

DEFAULT_INTERVAL = 15.0
MAX_INTERVAL = 86400
# Times the interval between two tries of a dead source: below the 8 after which a round-robin file
# takes a gap for unknown, so that a cluster which comes back has no longer gap for the waiting.
MAX_BACK_OFF = 4.0

_LINE = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]+))(?P<rest>(?:\s.*)?)')
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>\d+))?"
)
_EXAMPLE = '"name" [seconds] host[:port] ..., as "alpha" 15 alpha1:8649 alpha2'


@dataclass(frozen=True)
class Address:
    """Where a monitor or another aggregator serves its XML."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class DataSource:
    """One cluster: any of ``addresses`` can answer for it, asked every ``interval`` seconds."""

    name: str
    interval: float
    addresses: tuple[Address, ...]


def parse_line(line: str) -> DataSource:
    """The data source of one line.  :raises ConfigError: it is not understood"""
    found = _LINE.fullmatch(line)
    if found is None:
        raise _error(line, "begins with no name")
    name = found["quoted"] if found["quoted"] is not None else found["plain"]
    if not name.strip():
        raise _error(line, "has an empty name")
    words = found["rest"].split()
    interval = DEFAULT_INTERVAL
    if words and re.fullmatch(r"-?[0-9.]+", words[0]) and words[0].count(".") < 2:
        interval = _interval(line, words.pop(0))
    if not words:
        raise _error(line, "names no host")
    return DataSource(name, interval, tuple(_address(line, word) for word in words))


def parse_lines(lines: Iterable[str]) -> list[DataSource]:
    """All of them.  :raises ConfigError: one is not understood, or two have the same name"""
    sources: dict[str, DataSource] = {}
    for line in lines:
        source = parse_line(line)
        if source.name in sources:
            raise _error(line, f"is the second of the name {source.name!r}")
        sources[source.name] = source
    return list(sources.values())


def _interval(line: str, word: str) -> float:
    seconds = float(word) if word.strip("-.") else 0.0
    if not 1 <= seconds <= MAX_INTERVAL:
        raise _error(line, f"has the interval {word}, which must be 1 to {MAX_INTERVAL} seconds")
    return seconds


def _address(line: str, word: str) -> Address:
    found = _ADDRESS.fullmatch(word)
    if found is None:
        hint = ": an IPv6 address stands in brackets" if word.count(":") > 1 else ""
        raise _error(line, f"has {word!r}, which is no host[:port]{hint}")
    port = int(found["port"] or GANGLIA_PORT)
    if not 0 < port < 65536:
        raise _error(line, f"has the port {port}, which must be 1 to 65535")
    return Address(found["six"] or found["host"], port)


def _error(line: str, what: str) -> ConfigError:
    return ConfigError(f"data_source {line!r} {what}; it must be {_EXAMPLE}")


@dataclass
class SourceState:
    """How it goes with one source.

    The address that answered last is asked first, then the others in the order of the line, round
    and round.  ``failures`` counts the times in a row that none gave a good answer.
    """

    source: DataSource
    preferred: int = 0
    failures: int = 0

    def order(self) -> list[Address]:
        """The addresses to try now."""
        addresses = list(self.source.addresses)
        return addresses[self.preferred :] + addresses[: self.preferred]

    def succeeded(self, address: Address) -> bool:
        """``address`` answered well.  True when another one did before, or none."""
        moved = self.source.addresses[self.preferred] != address or self.failures > 0
        self.preferred = self.source.addresses.index(address)
        self.failures = 0
        return moved

    def failed(self) -> None:
        """None gave a good answer; next time another one is asked first."""
        self.failures += 1
        self.preferred = (self.preferred + 1) % len(self.source.addresses)

    def delay(self, took: float) -> float:
        """Seconds to wait before the next try, after one that took ``took`` seconds."""
        factor = min(2.0 ** max(self.failures - 1, 0), MAX_BACK_OFF)
        return max(self.source.interval * factor - took, min(1.0, self.source.interval))

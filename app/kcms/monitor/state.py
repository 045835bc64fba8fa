"""What one monitor knows of its cluster.  Pure: packets and times in, XML out.

A host is its address, and only that address may speak for it: a *spoofed* packet (one that names
another host) is taken only if the address it names is its own.  Names printed are those of the
inventory.  A host that the inventory did not have yet (it joined later) is shown by the name it
tells, if that is well-formed and nobody else's, and by its address otherwise.

``now`` is monotonic seconds; only the XML tells times of the wall clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from kcms.wire import packets, xml_write
from kcms.wire.ganglia_xml import NUMERIC_TYPES, Cluster, Host
from kcms.wire.packets import Kind, Metadata, Packet, Request, Value

HOST_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_SHARED: Final = 16384  # different descriptions kept to be shared; more stand alone
ASK_GAP: Final = 10.0  # seconds between two questions for the description of one metric


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is remembered, and the times (seconds) printed for every host."""

    max_hosts: int = 4096
    max_metrics: int = 1024
    host_tmax: int = 20
    host_dmax: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a packet asks of the daemon.

    ``newcomer``: its sender was not known, or was started anew, and knows nothing yet.
    ``unknown``: a metric whose description must be asked for.
    ``asked``: a metric whose description somebody wants.
    """

    newcomer: bool = False
    unknown: Request | None = None
    asked: Request | None = None


QUIET: Final = Outcome()


@dataclass(slots=True)
class Counters:
    """Packets, by what became of them."""

    accepted: int = 0
    malformed: int = 0
    spoofed: int = 0
    too_many: int = 0


@dataclass(frozen=True, slots=True)
class _Description:
    """What a metric is: one object for all the hosts that describe it alike."""

    dmax: int
    parts: tuple[str, str, str]


class _Metric:
    """A metric of a host; ``heard`` is when its value was, or its description without a value."""

    __slots__ = ("asked", "described", "heard", "value")

    def __init__(self, now: float) -> None:
        self.value: str | None = None
        self.heard = now
        self.described: _Description | None = None
        self.asked = -ASK_GAP + now


@dataclass(slots=True)
class _Host:
    address: str
    heard: float
    started: int = 0
    location: str = "unspecified"
    told: str = ""  # the name in its first packet, if it may be printed
    metrics: dict[str, _Metric] = field(default_factory=dict)


class ClusterState:
    """Hosts and metrics; ``names`` maps addresses to the names that are printed."""

    def __init__(self, names: Mapping[str, str], limits: Limits) -> None:
        self._names = names
        self._known_names = frozenset(names.values())
        self._limits = limits
        self._hosts: dict[str, _Host] = {}
        self._words: dict[str, str] = {}
        self._descriptions: dict[tuple[object, ...], _Description] = {}
        self.counters = Counters()

    @property
    def hosts(self) -> int:
        """How many hosts are known."""
        return len(self._hosts)

    def name(self, address: str) -> str:
        """The name printed for a host."""
        host = self._hosts.get(address)
        return self._names.get(address) or (host.told if host else "") or address

    def _may_tell(self, name: str, address: str) -> bool:
        """Whether a host that the inventory does not know may be printed as ``name``."""
        taken = name in self._known_names or name in self._hosts or name in self._names
        return (
            address not in self._names
            and not taken
            and HOST_NAME.fullmatch(name) is not None
            and all(each.told != name for each in self._hosts.values())
        )

    def is_other(self, shown: str, own: str) -> bool:
        """Whether ``shown`` names a host that is surely another one than ``own`` (an address)."""
        if shown in (own, self.name(own)):
            return False
        return shown in self._hosts or shown in self._names or shown in self._known_names

    def apply(self, packet: Packet, address: str, now: float) -> Outcome:
        """Take a packet from ``address`` in."""
        if packet.spoof and packet.host.partition(":")[0] != address:
            self.counters.spoofed += 1
            return QUIET
        host = self._hosts.get(address)
        newcomer = host is None
        if host is None:
            if len(self._hosts) >= self._limits.max_hosts:
                self.counters.too_many += 1
                return QUIET
            host = self._hosts[address] = _Host(address, now)
            if not packet.spoof and self._may_tell(packet.host, address):
                host.told = packet.host
        host.heard = now
        self.counters.accepted += 1
        return self._take(packet, host, newcomer, now)

    def _take(self, packet: Packet, host: _Host, newcomer: bool, now: float) -> Outcome:
        if isinstance(packet, Request):
            return Outcome(newcomer, asked=packet)
        name = packet.name.replace(":", "_")
        kind = name.lower()
        if kind in ("heartbeat", "location"):
            if isinstance(packet, Value):
                newcomer |= _note(host, kind, packet)
        else:
            metric = self._metric(host, name, now)
            if metric is not None and isinstance(packet, Metadata):
                metric.described = self._description(name, packet)
            elif metric is not None and isinstance(packet, Value):
                return self._value(packet, host, metric, newcomer, now)
        return Outcome(newcomer=True) if newcomer else QUIET

    def _value(
        self, packet: Value, host: _Host, metric: _Metric, newcomer: bool, now: float
    ) -> Outcome:
        metric.value, metric.heard = packets.printed(packet), now
        if metric.described is None and now - metric.asked >= ASK_GAP:
            metric.asked = now
            return Outcome(newcomer, unknown=Request(self.name(host.address), packet.name))
        return Outcome(newcomer=True) if newcomer else QUIET

    def _metric(self, host: _Host, name: str, now: float) -> _Metric | None:
        metric = host.metrics.get(name)
        if metric is None:
            if len(host.metrics) >= self._limits.max_metrics:
                self.counters.too_many += 1
                return None
            metric = host.metrics[self._words.setdefault(name, name)] = _Metric(now)
        return metric

    def _description(self, name: str, told: Metadata) -> _Description:
        key = (name, told.type, told.units, told.slope, told.tmax, told.dmax, told.extra)
        known = self._descriptions.get(key)
        if known is None:
            kind = told.type if told.type in NUMERIC_TYPES else "string"
            extra = told.extra[::-1]  # gmond tells them the other way round
            parts = xml_write.metric_parts.__wrapped__(
                name, kind, told.units, told.slope, told.tmax, told.dmax, extra, ""
            )
            known = _Description(told.dmax, parts)
            if len(self._descriptions) < MAX_SHARED:
                self._descriptions[key] = known
        return known

    def expire(self, now: float) -> None:
        """Forget hosts and metrics that were silent for longer than their DMAX."""
        dmax = self._limits.host_dmax
        for address, host in list(self._hosts.items()):
            if 0 < dmax < now - host.heard:
                del self._hosts[address]
                continue
            for name, metric in list(host.metrics.items()):
                if metric.described is not None and 0 < metric.described.dmax < now - metric.heard:
                    del host.metrics[name]
        self._forget_unused()

    def _forget_unused(self) -> None:
        """Descriptions and names that no host has any more."""
        used = {id(m.described) for host in self._hosts.values() for m in host.metrics.values()}
        self._descriptions = {
            key: each for key, each in self._descriptions.items() if id(each) in used
        }
        names = {name for host in self._hosts.values() for name in host.metrics}
        self._words = {name: name for name in names}

    def pieces(self, cluster: Cluster, now: float, wall: float) -> Iterator[str]:
        """The XML as a gmond tells it, host by host; ``wall`` is ``now`` in epoch seconds.

        Every host is rendered at once, and its times are those of ``now`` however slowly the
        pieces are taken.
        """
        shown = replace(cluster, localtime=int(wall))
        yield xml_write.opening("gmond") + xml_write.cluster_start(shown)
        for host in list(self._hosts.values()):
            yield self._render(host, now, wall)
        yield xml_write.CLUSTER_END + xml_write.CLOSING

    def _render(self, host: _Host, now: float, wall: float) -> str:
        silence = max(now - host.heard, 0)
        told = Host(
            self.name(host.address),
            host.address,
            int(wall - silence),
            silence,
            self._limits.host_tmax,
            self._limits.host_dmax,
            host.location,
            host.started,
        )
        lines = [xml_write.host_start(told, "gmond")]
        for metric in host.metrics.values():
            if metric.described is not None and metric.value is not None:
                head, middle, tail = metric.described.parts
                age = max(int(now - metric.heard), 0)
                lines.append(f"{head}{xml_write.escape(metric.value)}{middle}{age}{tail}")
        lines.append(xml_write.HOST_END)
        return "".join(lines)


def _note(host: _Host, kind: str, packet: Value) -> bool:
    """Take in a heartbeat or location; True when the host was started anew since."""
    if kind == "location":
        host.location = packets.printed(packet)
        return False
    if packet.kind in (Kind.STRING, Kind.FLOAT, Kind.DOUBLE):
        return False  # gmetric's heartbeat is text that tells no start
    before, host.started = host.started, int(packet.value)
    return before not in (0, host.started)

"""When a metric is read and when it is sent.  Pure: the time and the readings are passed in.

A group is read every ``collect_every`` seconds.  It is sent, as a whole, when a value differs from
the one last *sent* by its threshold or more (so that a slow drift is told too), when it was not
sent for ``time_threshold`` seconds, or when somebody asks what a metric is.  Before its first value
and whenever it is asked for, a metric's description goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from kcms.metrics.catalog import Group, Metric, Reading
from kcms.wire.packets import KIND_OF_TYPE, Kind, Metadata, Packet, Value

ANSWER_GAP: Final = 10.0  # seconds between two answers to the question what a metric is
ANNOUNCE_GAP: Final = 30.0  # seconds between two tellings of everything because of newcomers
_SLACK: Final = 0.01  # a timer that fires this little too early is on time

Read = Callable[[Metric], Reading]


@dataclass(slots=True)
class _Told:
    """What of a metric was sent, and when its description was."""

    value: Reading = None
    described: float | None = None
    asked: bool = False


@dataclass(slots=True)
class _Turn:
    """The next times of a group, and the last reading of each of its metrics."""

    group: Group
    collect: float
    send: float
    read: dict[str, Reading] = field(default_factory=dict)
    told: dict[str, _Told] = field(default_factory=dict)


class Collector:
    """The schedule of one monitor, which calls itself ``host``.  Times are monotonic seconds."""

    def __init__(
        self, groups: Iterable[Group], host: str, now: float, metadata_interval: float = 0
    ) -> None:
        self._host = host
        self._interval = metadata_interval
        self._turns = [_Turn(group, now, now) for group in groups]
        self._turn_of: dict[str, _Turn] = {}
        for turn in self._turns:
            for metric in turn.group.metrics:
                turn.told[metric.name] = _Told()
                self._turn_of[metric.name] = turn
        self._announced = now - ANNOUNCE_GAP
        self._announce: float | None = None

    def due(self) -> float:
        """When :meth:`collect` has something to do next."""
        times = [min(turn.collect, turn.send) for turn in self._turns]
        if self._announce is not None:
            times.append(self._announce)
        return min(times)

    def request(self, name: str, now: float) -> bool:
        """Somebody asked what ``name`` is; it is told at the next :meth:`collect`, which is due.

        False when there is no such metric, or it was told only a moment ago.
        """
        turn = self._turn_of.get(name)
        if turn is None:
            return False
        told = turn.told[name]
        if told.asked or (told.described is not None and now - told.described < ANSWER_GAP):
            return False
        told.asked = True
        turn.send = min(turn.send, now)
        return True

    def announce(self, now: float, delay: float) -> None:
        """Tell everything in ``delay`` seconds: a newcomer knows nothing of this host yet.

        Many newcomers at once are answered once, and then again after ANNOUNCE_GAP at the soonest.
        """
        if self._announce is None:
            self._announce = max(now + delay, self._announced + ANNOUNCE_GAP)

    def collect(self, now: float, read: Read) -> list[Packet]:
        """The packets to send at ``now``."""
        if self._announce is not None and now >= self._announce - _SLACK:
            self._announce, self._announced = None, now
            for turn in self._turns:
                turn.send = now
                for told in turn.told.values():
                    told.asked = True
        packets: list[Packet] = []
        for turn in self._turns:
            if now >= turn.collect - _SLACK:
                self._look(turn, now, read)
            if now >= turn.send - _SLACK:
                packets.extend(self._tell(turn, now))
        return packets

    def _look(self, turn: _Turn, now: float, read: Read) -> None:
        turn.collect = now + turn.group.collect_every
        for metric in turn.group.metrics:
            turn.read[metric.name] = read(metric)
        if any(_changed(metric, turn) for metric in turn.group.metrics):
            turn.send = now

    def _tell(self, turn: _Turn, now: float) -> Iterator[Packet]:
        turn.send = now + turn.group.time_threshold
        for metric in turn.group.metrics:
            value, told = turn.read.get(metric.name), turn.told[metric.name]
            if value is None:
                continue
            if self._must_describe(told, now):
                told.described, told.asked = now, False
                yield describe(metric, self._host)
            told.value = value
            yield tell(metric, self._host, value)

    def _must_describe(self, told: _Told, now: float) -> bool:
        if told.asked or told.described is None:
            return True
        return 0 < self._interval <= now - told.described + _SLACK


def describe(metric: Metric, host: str) -> Metadata:
    """The description of ``metric`` as it is sent."""
    return Metadata(
        host, metric.name, metric.type, metric.units, metric.slope, metric.tmax, 0, metric.extra
    )


def tell(metric: Metric, host: str, value: float | str) -> Value:
    """A reading as it is sent."""
    kind = KIND_OF_TYPE[metric.type]
    if kind is Kind.STRING:
        return Value(host, metric.name, kind, str(value), metric.form)
    told = value if kind in (Kind.FLOAT, Kind.DOUBLE) else int(value)
    return Value(host, metric.name, kind, told, metric.form)


def _changed(metric: Metric, turn: _Turn) -> bool:
    value, last = turn.read[metric.name], turn.told[metric.name].value
    if value is None or metric.threshold is None:
        return False
    if last is None or isinstance(value, str) or isinstance(last, str) or not metric.threshold:
        return value != last
    return abs(value - last) >= metric.threshold

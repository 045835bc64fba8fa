"""The daemon of the monitor: read and send, receive and remember, serve the XML.

What this host sends is taken in at once, so it knows itself without a network; the copies of its
own datagrams that the channel brings back are told by their source and only prove that it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator

import psutil

from kcms import service
from kcms.config import MonitorConfig
from kcms.errors import ProtocolError
from kcms.metrics import catalog
from kcms.metrics.catalog import Metric, Reading
from kcms.metrics.collect import Collector
from kcms.metrics.sampler import Sampler
from kcms.monitor.channel import Channel, ChannelAddress
from kcms.monitor.state import ClusterState, Limits, Outcome
from kcms.wire import packets
from kcms.wire.ganglia_xml import Cluster
from kcms.wire.packets import MAX_DATAGRAM, Packet
from kcms.wire.serve import Trusted, XmlServer, listen
from kcms.wire.trouble import Trouble

log = logging.getLogger("kcms.monitor")

WARM_UP = 1.0  # seconds of counting before the first rates are told
REOPEN = 5.0  # seconds between two tries to open the channel
SILENCE = 60.0  # seconds without any datagram, our own included, after which it is opened anew
EXPIRE = 60.0  # seconds between two looks for what is to be forgotten
BATCH = 256  # datagrams taken before others have their turn
ANNOUNCE_DELAY = (1.0, 5.0)  # seconds: hosts must not all answer a newcomer at the same moment
QUESTIONS = 50  # asked at the most between two times this host sends
GATHER = 1.0  # seconds in which questions are gathered to be answered together


def main(config: MonitorConfig) -> int:
    """Run until SIGTERM or SIGINT.  :raises ConfigError: a setting cannot be used"""
    monitor = Monitor(config)
    return service.serve(monitor.run)


class Monitor:
    """One monitor."""

    def __init__(self, config: MonitorConfig) -> None:
        """:raises ConfigError: a setting cannot be used"""
        self._config = config
        self._where = ChannelAddress(config.channel, config.port, config.address, config.ttl)
        self._where.check()
        trusted = Trusted([*config.trusted_hosts, config.address])
        self._server = XmlServer(self._pieces, trusted, config.xml_timeout)
        limits = Limits(config.max_hosts, config.max_metrics, config.host_tmax, config.host_dmax)
        self.state = ClusterState(config.names, limits)
        self._header = Cluster(config.cluster, owner=config.owner)
        self._channel: Channel | None = None
        self._collector: Collector | None = None
        self._heard = 0.0
        self._trouble = Trouble(log)
        self._questions = QUESTIONS
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Everything, until ``stop``."""
        listener = listen(self._config.xml_bind, self._config.xml_port)
        server = await self._server.start(listener)
        log.info("serving the XML on port %d", listener.getsockname()[1])
        ready()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each()) for each in (self._tell, self._keep_channel)]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            server.close()
            self._close_channel()

    def _pieces(self) -> Iterator[str]:
        return self.state.pieces(self._header, time.monotonic(), time.time())

    async def _tell(self) -> None:
        """Read the metrics and send them, as the collector's schedule says."""
        sampler = Sampler(psutil, time.monotonic)
        await asyncio.sleep(WARM_UP)
        self._collector = collector = Collector(
            catalog.groups(int(time.time())),
            self._config.host,
            time.monotonic(),
            self._config.send_metadata_interval,
        )
        expire = time.monotonic() + EXPIRE
        while True:
            now = time.monotonic()
            sampler.look()
            for packet in collector.collect(now, lambda metric: self._read(metric, sampler)):
                self._send(packet)
                self.state.apply(packet, self._config.address, now)
            if now >= expire:
                self.state.expire(now)
                expire = now + EXPIRE
            self._questions = QUESTIONS
            await self._sleep(collector.due() - time.monotonic())

    def _read(self, metric: Metric, sampler: Sampler) -> Reading:
        """One reading; what this host cannot tell is left out, and said once."""
        what = f"reading {metric.name}"
        try:
            value = metric.read(sampler)
        except (psutil.Error, OSError, ArithmeticError, ValueError, LookupError) as error:
            self._trouble.tell(what, f"cannot read {metric.name}: {error}")
            return None
        self._trouble.over(what)
        return value

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not for long once there is a question to answer."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._wake.wait()
                await asyncio.sleep(GATHER)

    def _send(self, packet: Packet) -> None:
        if self._channel is None:
            return
        try:
            self._channel.send(packets.encode(packet))
            self._trouble.over("sending")
        except ProtocolError as error:
            log.error("not sent: %s", error)
        except OSError as error:
            self._trouble.tell("sending", f"cannot send to the channel: {error.strerror}")

    async def _keep_channel(self) -> None:
        """Open the channel when the network is there, and anew when it has gone silent."""
        while True:
            silent = time.monotonic() - self._heard
            if self._channel is not None and silent >= SILENCE:
                self._trouble.tell("silence", f"nothing heard for {SILENCE:g} s: joining again")
                self._close_channel()
            if self._channel is None:
                self._open_channel()
            await asyncio.sleep(REOPEN)

    def _open_channel(self) -> None:
        shown = f"{self._where.group}:{self._where.port} at {self._where.address}"
        try:
            self._channel = Channel(self._where)
        except OSError as error:
            self._trouble.tell("channel", f"cannot join {shown} yet: {error.strerror or error}")
            return
        self._trouble.over("channel")
        self._heard = time.monotonic()
        log.info("joined %s", shown)
        asyncio.get_running_loop().add_reader(self._channel.receiver, self._receive)
        self._announce()

    def _close_channel(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.receiver)
            self._channel.close()
            self._channel = None

    def _receive(self) -> None:
        """Take in what has arrived."""
        now = self._heard = time.monotonic()
        for _ in range(BATCH):
            if self._channel is None:
                return
            try:
                received = self._channel.receive()
            except OSError as error:
                log.warning("the channel is broken (%s): joining again", error.strerror)
                self._close_channel()
                return
            if received is None:
                return
            data, source = received
            if source != self._channel.own:
                self._take(data, source[0], now)

    def _take(self, data: bytes, address: str, now: float) -> None:
        self._trouble.over("silence")
        if len(data) > MAX_DATAGRAM:
            self.state.counters.malformed += 1
            return
        try:
            packet = packets.decode(data)
        except ProtocolError:
            self.state.counters.malformed += 1
            return
        self._act(self.state.apply(packet, address, now), now)

    def _act(self, outcome: Outcome, now: float) -> None:
        """Do what a packet asked for."""
        if outcome.newcomer:
            self._announce()
        if outcome.unknown is not None and self._questions > 0:
            self._questions -= 1
            self._send(outcome.unknown)
        if outcome.asked is not None and self._collector is not None:
            other = self.state.is_other(outcome.asked.host, self._config.address)
            if not other and self._collector.request(outcome.asked.name, now):
                self._wake.set()

    def _announce(self) -> None:
        """Tell everything soon: somebody, or this host itself, has just joined."""
        if self._collector is not None:
            delay = random.uniform(*ANNOUNCE_DELAY)  # noqa: S311 (spreads load, guards nothing)
            self._collector.announce(time.monotonic(), delay)
            self._wake.set()

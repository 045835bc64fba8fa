"""The daemon of the aggregator: poll every cluster, sum up, store, serve the grid's XML.

Each source has a loop of its own, so that a slow one holds up no other.  Its last good tree is kept
whatever happens; the silences in it grow on, so its hosts go down by themselves.  Files are written
by one thread; while it is busy with a source's last round, polling goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kcms import service
from kcms.aggregator import store, summary
from kcms.aggregator.rrd import Batch, RrdStore, Written
from kcms.aggregator.sources import DEFAULT_INTERVAL, Address, SourceState, parse_lines
from kcms.aggregator.summary import Summary
from kcms.config import AggregatorConfig
from kcms.errors import ProtocolError, Unavailable
from kcms.wire import xml_write
from kcms.wire.fetch import read_tree
from kcms.wire.ganglia_xml import Cluster, GangliaTree, Grid
from kcms.wire.serve import Trusted, XmlServer, listen
from kcms.wire.trouble import Trouble

log = logging.getLogger("kcms.aggregator")

UNNAMED = "unspecified"
Named = TypeVar("Named", Cluster, Grid)


def main(config: AggregatorConfig) -> int:
    """Run until SIGTERM or SIGINT.  :raises ConfigError: a setting cannot be used"""
    aggregator = Aggregator(config)
    return service.serve(aggregator.run)


@dataclass
class _Source:
    """A data source and what it told last, at ``heard`` (monotonic seconds)."""

    state: SourceState
    clusters: tuple[Cluster, ...] = ()
    grids: tuple[Grid, ...] = ()
    heard: float = 0.0
    summary: Summary | None = None  # None while its last answer is no good
    storing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.state.source.name

    def names(self) -> set[str]:
        """The names of what it told of."""
        return {each.name for each in self.clusters} | {each.name for each in self.grids}


class Aggregator:
    """One aggregator."""

    def __init__(self, config: AggregatorConfig) -> None:
        """:raises ConfigError: a setting cannot be used"""
        self._config = config
        self._sources = [_Source(SourceState(each)) for each in parse_lines(config.data_source)]
        self._server = XmlServer(self._pieces, Trusted(config.trusted_hosts), config.xml_timeout)
        self._store = RrdStore(Path(config.rrd_directory))
        self._disk = ThreadPoolExecutor(1, "rrd")
        self._trouble = Trouble(log)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Everything, until ``stop``."""
        listener = listen(self._config.xml_bind, self._config.xml_port)
        server = await self._server.start(listener)
        log.info("serving the XML on port %d", listener.getsockname()[1])
        if not self._sources:
            log.warning("there is no data_source: nothing to poll")
        ready()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._poll_forever(each)) for each in self._sources]
                tasks.append(group.create_task(self._sum_forever()))
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            server.close()
            self._disk.shutdown(wait=False, cancel_futures=True)

    async def _poll_forever(self, source: _Source) -> None:
        while True:
            began = time.monotonic()
            tree = await self._poll(source)
            if tree is None:
                source.summary = None
            else:
                self._accept(source, tree)
                self._start_storing(source)
            await asyncio.sleep(source.state.delay(time.monotonic() - began))

    async def _poll(self, source: _Source) -> GangliaTree | None:
        """A good answer of one of the addresses; None when there is none."""
        reasons = []
        for address in source.state.order():
            try:
                tree = await self._ask(address)
            except Unavailable as error:
                reasons.append(str(error))
                continue
            except ProtocolError as error:
                reasons.append(f"{address}: {error}")
                continue
            if source.state.succeeded(address):
                log.info("data_source %s: answered by %s", source.name, address)
            self._trouble.over(f"data_source {source.name}")
            return tree
        source.state.failed()
        told = "; ".join(reasons)
        self._trouble.tell(
            f"data_source {source.name}", f"data_source {source.name}: no good answer: {told}"
        )
        return None

    async def _ask(self, address: Address) -> GangliaTree:
        config = self._config
        tree = await read_tree(
            address.host,
            address.port,
            config.connect_timeout,
            config.read_timeout,
            config.max_xml_bytes,
        )
        if not tree.clusters and not tree.grids:
            raise ProtocolError("it tells of no cluster")
        return tree

    def _accept(self, source: _Source, tree: GangliaTree) -> None:
        """Keep what ``source`` told; a name that another source has is left out."""
        others = [each for each in self._sources if each is not source]
        taken = {name for each in others for name in each.names()}
        source.clusters = tuple(_named(each, source.name) for each in tree.clusters)
        source.grids = tuple(_named(each, source.name) for each in tree.grids)
        twice = taken & source.names()
        source.clusters = tuple(each for each in source.clusters if each.name not in taken)
        source.grids = tuple(each for each in source.grids if each.name not in taken)
        source.heard = time.monotonic()
        if twice:
            self._trouble.tell(
                f"names of data_source {source.name}",
                f"data_source {source.name} tells of {', '.join(sorted(twice))}, "
                "as another data_source does: left out",
            )

    def _start_storing(self, source: _Source) -> None:
        """Store what ``source`` told, unless its last round is still being stored."""
        if source.storing is not None:
            if not source.storing.done():
                self._trouble.tell("storing in time", "the disk is too slow for every poll")
                return
            source.storing.result()
            self._trouble.over("storing in time")
        source.storing = asyncio.create_task(self._store_source(source))

    async def _store_source(self, source: _Source) -> None:
        step = source.state.source.interval
        batches, source.summary = await self._on_disk(_sum_up, source.clusters, source.grids)
        await self._write(batches, max(int(step), 1))

    async def _sum_forever(self) -> None:
        """Store the sums over the whole grid, of the sources whose last answer was good."""
        while True:
            await asyncio.sleep(DEFAULT_INTERVAL)
            whole = Summary()
            for source in self._sources:
                if source.summary is not None:
                    whole.add(source.summary)
            await self._write([store.summary_batch(None, whole)], int(DEFAULT_INTERVAL))

    async def _write(self, batches: list[Batch], step: int) -> None:
        at = int(time.time())
        written = await self._on_disk(self._store.write, batches, at, step, step / 3)
        self._report(written)

    def _report(self, written: Written) -> None:
        if written.created:
            log.info(
                "%d round-robin files made, %d still to come", written.created, written.postponed
            )
        if written.error:
            self._trouble.tell(
                "storing", f"{written.failed} values cannot be stored: {written.error}"
            )
        elif written.updated:
            self._trouble.over("storing")

    async def _on_disk(self, work: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)

    def _pieces(self) -> Iterator[str]:
        now = time.monotonic()
        clusters = [
            (cluster, now - source.heard) for source in self._sources for cluster in source.clusters
        ]
        grids = tuple(_summarised(grid) for source in self._sources for grid in source.grids)
        top = Grid(self._config.gridname, self._config.authority, int(time.time()), grids=grids)
        return xml_write.grid(top, clusters)


def _sum_up(clusters: tuple[Cluster, ...], grids: tuple[Grid, ...]) -> tuple[list[Batch], Summary]:
    """The batches of one source, sums first as the first page needs them, and its whole sum."""
    whole = Summary()
    sums: list[Batch] = []
    hosts: list[Batch] = []
    for cluster in clusters:
        found = summary.of_cluster(cluster)
        whole.add(found)
        sums.append(store.summary_batch(cluster.name, found))
        hosts.extend(store.host_batches(cluster))
    for grid in grids:
        found = summary.of_grid(grid)
        whole.add(found)
        sums.append(store.summary_batch(grid.name, found))
    return [*sums, *hosts], whole


def _named(shown: Named, name: str) -> Named:
    """A cluster or grid that has no name of its own gets the one of its source."""
    return replace(shown, name=name) if shown.name == UNNAMED else shown


def _summarised(grid: Grid) -> Grid:
    """Another grid by its counts and sums alone."""
    found = summary.of_grid(grid)
    return replace(
        grid,
        clusters=(),
        grids=(),
        hosts_up=found.up,
        hosts_down=found.down,
        metrics=tuple(found.metrics.values()),
    )

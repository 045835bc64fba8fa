"""The daemon of the page: waitress serving :func:`kcms.web.app.create_app`, in clear and TLS."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from kcms import service
from kcms.config import WebConfig
from kcms.errors import ConfigError
from kcms.web import ranges, servers
from kcms.web.app import create_app
from kcms.web.files import RrdFiles
from kcms.web.gateway import Gateway
from kcms.web.graphs import Graphs, run_rrdtool
from kcms.web.nodestates import NodeStates
from kcms.web.services import Services
from kcms.web.tree import TreeSource
from kcms.wire.fetch import fetch_grid
from kcms.wire.ganglia_xml import Grid

FETCH_TIMEOUT = 10.0


def main(config: WebConfig) -> int:
    """Serve the page until SIGTERM or SIGINT.  :raises ConfigError: a setting cannot be used"""
    service.configure_logging()
    check(config)
    services = build_services(config)
    app = create_app(config, services)
    server = servers.plain(app, config)
    try:
        with contextlib.suppress(SystemExit), servers.secure(app, config):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, servers.stop)
            service.notify("READY=1")
            server.run()  # ends, with its threads, on the SystemExit of the signal's handler
            service.notify("STOPPING=1")
    finally:
        server.close()
        services.nodes.close()
        services.gateway.close()
    return 0


def check(config: WebConfig) -> None:
    """:raises ConfigError: settings that cannot be, or not together"""
    if config.default_range not in ranges.RANGES:
        known = ", ".join(ranges.RANGES)
        raise ConfigError(f"default_range is {config.default_range!r}; it must be one of {known}")
    if config.plain_login and not config.bind:
        raise ConfigError(
            "plain_login takes passwords without TLS, so bind must be the one address that the "
            "proxy with TLS uses, such as 127.0.0.1"
        )


def build_services(config: WebConfig) -> Services:
    """The real outside world: the aggregator's XML port, rrdtool, the gateway, the clock."""

    def fetch() -> Grid:
        return fetch_grid(config.aggregator_address, config.aggregator_port, FETCH_TIMEOUT)

    workers = max(1, min(os.cpu_count() or 1, config.threads - 1))
    files = RrdFiles(Path(config.rrd_directory))
    graphs = Graphs(files, run_rrdtool, workers, time.time)
    gateway = Gateway(config.gateway_socket)
    nodes = NodeStates(gateway.nodes, time.monotonic)
    return Services(TreeSource(fetch, time.monotonic), graphs, gateway, nodes)

"""The daemon of the page: waitress serving :func:`kcms.web.app.create_app`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import waitress

from kcms import service
from kcms.config import WebConfig
from kcms.errors import ConfigError
from kcms.web import ranges
from kcms.web.app import create_app
from kcms.web.files import RrdFiles
from kcms.web.graphs import Graphs, run_rrdtool
from kcms.web.services import Services
from kcms.web.tree import TreeSource
from kcms.wire.fetch import fetch_grid
from kcms.wire.ganglia_xml import Grid

log = logging.getLogger("kcms.web")

FETCH_TIMEOUT = 10.0
BODY_LIMIT = 64 * 1024
CONNECTIONS = 256


def main(config: WebConfig) -> int:
    """Serve the page until SIGTERM or SIGINT.  :raises ConfigError: a setting cannot be used"""
    service.configure_logging()
    if config.default_range not in ranges.RANGES:
        known = ", ".join(ranges.RANGES)
        raise ConfigError(f"default_range is {config.default_range!r}; it must be one of {known}")
    listener = listen(config.bind, config.port)
    server = waitress.create_server(
        create_app(config, build_services(config)), sockets=[listener], **_limits(config)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    log.info("serving the page on port %d", listener.getsockname()[1])
    with contextlib.suppress(SystemExit):
        service.notify("READY=1")
        server.run()  # ends, with its threads, on the SystemExit of _stop
    service.notify("STOPPING=1")
    server.close()
    return 0


def build_services(config: WebConfig) -> Services:
    """The real outside world: the aggregator's XML port, rrdtool, the clock."""

    def fetch() -> Grid:
        return fetch_grid(config.aggregator_address, config.aggregator_port, FETCH_TIMEOUT)

    workers = max(1, min(os.cpu_count() or 1, config.threads - 1))
    files = RrdFiles(Path(config.rrd_directory))
    graphs = Graphs(files, run_rrdtool, workers, time.time)
    return Services(TreeSource(fetch, time.monotonic), graphs)


def listen(address: str, port: int) -> socket.socket:
    """A bound socket; with no ``address`` on every one of IPv4 and, where there is, IPv6.

    :raises ConfigError: the address is not this host's, or the port is taken
    """
    try:
        if not address and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=CONNECTIONS
            )
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError) as error:
        where = f"{address or 'every address'}, port {port}"
        raise ConfigError(f"cannot serve the page on {where}: {error}") from error


def _limits(config: WebConfig) -> dict[str, Any]:
    return {
        "threads": config.threads,
        "ident": None,
        "connection_limit": CONNECTIONS,
        "channel_timeout": 60,
        "max_request_header_size": 16 * 1024,
        "max_request_body_size": BODY_LIMIT,
        "expose_tracebacks": False,
        "clear_untrusted_proxy_headers": True,
    }


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Leave waitress's loop: it ends its threads on SystemExit, and offers no other way."""
    sys.exit(0)

"""The two servers of the page: one in clear to look at, one behind TLS to log in at.

Each has threads of its own, so that calls to managers, which may take long, never keep those
waiting who only look.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import waitress
from flask import Flask
from waitress import wasyncore

from kcms.config import WebConfig
from kcms.errors import ConfigError
from kcms.web import tls

log = logging.getLogger("kcms.web")

BODY_LIMIT = 256 * 1024
CONNECTIONS = 256
OF_ONE_ADDRESS = 96


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


def plain(app: Flask, config: WebConfig) -> Any:
    """The server in clear; its ``run`` serves until :func:`stop` is called as a signal's handler.

    :raises ConfigError: its port is taken
    """
    listener = listen(config.bind, config.port)
    log.info("serving the page on port %d", listener.getsockname()[1])
    server = waitress.create_server(app, sockets=[listener], **_limits(config))
    if not config.plain_login:  # there a proxy has one address for everybody
        _bound_addresses(server)
    return server


def _bound_addresses(server: Any) -> None:
    """Let one address hold :data:`OF_ONE_ADDRESS` connections; more are closed at once.

    waitress bounds how many there are in all, so that one client could hold every one of them.
    """
    accept = server.accept

    def bounded() -> Any:
        found = accept()
        if found is None:
            return None
        open_ones = [each for each in server.active_channels.values() if each.addr]
        if sum(each.addr[0] == found[1][0] for each in open_ones) < OF_ONE_ADDRESS:
            return found
        found[0].close()
        return None

    server.accept = bounded


@contextlib.contextmanager
def secure(app: Flask, config: WebConfig) -> Iterator[None]:
    """While this is open the page is served over TLS, too; nothing happens when that is off.

    :raises ConfigError: the port or the certificate cannot be used
    """
    if not config.tls_port:
        yield
        return
    _check(config)
    context = tls.context(config.tls_certificate, config.tls_key)
    listener = listen(config.bind, config.tls_port)
    with tempfile.TemporaryDirectory(prefix="kcms-web-") as folder:
        inside = str(Path(folder) / "page.sock")
        with _inner(app, config, inside):
            door = tls.Door(listener, context, inside)
            door.start()
            log.info("serving the page over TLS on port %d", listener.getsockname()[1])
            try:
                yield
            finally:
                door.close()


@contextlib.contextmanager
def _inner(app: Flask, config: WebConfig, path: str) -> Iterator[None]:
    """Serve the page at a Unix socket, in a thread, as what came over TLS."""
    channels: dict[int, Any] = {}
    server = waitress.create_server(
        app,
        map=channels,
        unix_socket=path,
        unix_socket_perms="600",
        url_scheme="https",
        **_limits(config),
    )
    server.fix_addr = lambda name: (tls.address_of(name), None)
    thread = threading.Thread(target=server.run, name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.task_dispatcher.shutdown(timeout=3)
        # An empty map ends the loop; it is emptied in the loop's own thread.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(channels))
        thread.join(5)


def _check(config: WebConfig) -> None:
    for name in ("tls_certificate", "tls_key"):
        if not getattr(config, name):
            raise ConfigError(f"tls_port is {config.tls_port}, so {name} must name a PEM file")
    if config.tls_port == config.port:
        raise ConfigError(f"port and tls_port are both {config.port}; they must differ")


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


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Leave waitress's loop: it ends its threads on SystemExit, and offers no other way."""
    sys.exit(0)

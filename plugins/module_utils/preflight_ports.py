"""Which ports of this host are taken, by whom, and which ports of others answer.

Runs on hosts: standard library only, and no syntax newer than Python 3.8, so that an unsupported
host is told so rather than shown a syntax error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Any, Iterable, Iterator  # noqa: UP035 - Python 3.8

TABLES = (("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6"))
LISTENING = {"tcp": "0A", "udp": "07"}
CONNECT_SECONDS = 3.0
RESOLVE_SECONDS = 6.0
LOOKS_AGAIN, LOOK_AGAIN = 2, 0.3
BATCH = 256  # connections at once; a module may open 1024 files
_ERRNO_WORDS = {
    0: "open",
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "prohibited",
    errno.EPERM: "prohibited",
    errno.ETIMEDOUT: "silent",
}


def bound_sockets(table: str, proto: str) -> dict[str, int]:
    """Socket inode to port of what is bound, from the text of a /proc/net table."""
    found = {}
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] == LISTENING[proto]:
            found[words[9]] = int(words[1].rsplit(":", 1)[1], 16)
    return found


def taken(wanted: Iterable[tuple[str, int]], proc: Path = Path("/proc")) -> list[dict[str, Any]]:
    """Who has bound the (protocol, port) pairs ``wanted``; program and unit empty if unknown."""
    pairs = set(wanted)
    rows = _taken(pairs, proc)
    for _ in range(LOOKS_AGAIN):
        if all(row["pid"] for row in rows):
            break
        time.sleep(LOOK_AGAIN)  # a daemon was begun anew while its files were looked through
        rows = _taken(pairs, proc)
    return rows


def _taken(pairs: set[tuple[str, int]], proc: Path) -> list[dict[str, Any]]:
    inodes: dict[str, tuple[str, int]] = {}
    for proto, name in TABLES:
        path = proc / "net" / name
        if path.exists():
            for inode, port in bound_sockets(path.read_text(), proto).items():
                if (proto, port) in pairs:
                    inodes[inode] = (proto, port)
    owners = _owners(set(inodes), proc) if inodes else {}
    rows = {
        (proto, port, *owners.get(inode, ("", "", 0))) for inode, (proto, port) in inodes.items()
    }
    keys = ("proto", "port", "program", "unit", "pid")
    return [dict(zip(keys, row)) for row in sorted(rows)]  # noqa: B905 - Python 3.8


def _owners(inodes: Iterable[str], proc: Path) -> dict[str, tuple[str, str, int]]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, tuple[str, str, int]] = {}
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            held = [wanted[link] for link in _links(process / "fd") if link in wanted]
            if held:
                owner = (_text(process / "comm").strip(), _unit(process), int(process.name))
                found.update((inode, owner) for inode in held)
        except OSError:  # the process ended, or is another user's
            continue
    return found


def _links(descriptors: Path) -> Iterator[str]:
    """Where they lead; a busy process closes some while they are read."""
    for each in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(each)  # noqa: PTH115


def _unit(process: Path) -> str:
    match = re.search(r"([^/\s]+\.service)", _text(process / "cgroup"))
    return match.group(1) if match else ""


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


def reach(targets: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Connect to each (address, port) at once: open, refused, silent, unreachable, prohibited.

    *Refused* says that the packet arrived and nobody listens yet; *silent* that nothing came back.
    """
    everyone = sorted(set(targets))
    found: dict[str, str] = {}
    for start in range(0, len(everyone), BATCH):
        found.update(_reach_batch(everyone[start : start + BATCH]))
    return found


def _reach_batch(targets: list[tuple[str, int]]) -> dict[str, str]:
    found: dict[str, str] = {}
    with selectors.DefaultSelector() as selector:
        for address, port in targets:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_STREAM)
            connection.setblocking(False)
            status = connection.connect_ex((address, port))
            if status == errno.EINPROGRESS:
                selector.register(connection, selectors.EVENT_WRITE, f"{address} {port}")
            else:
                found[f"{address} {port}"] = _ERRNO_WORDS.get(status, os.strerror(status))
                connection.close()
        _await(selector, found)
    return found


def _await(selector: selectors.BaseSelector, found: dict[str, str]) -> None:
    end = time.monotonic() + CONNECT_SECONDS
    while selector.get_map() and time.monotonic() < end:
        for key, _events in selector.select(max(0.0, end - time.monotonic())):
            connection: Any = key.fileobj
            status = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            found[key.data] = _ERRNO_WORDS.get(status, os.strerror(status))
            selector.unregister(connection)
            connection.close()
    for key in list(selector.get_map().values()):
        left: Any = key.fileobj
        found[key.data] = "silent"
        left.close()


def reach_name(host: str, port: int) -> str:
    """Like :func:`reach`, for a name: *unresolved* when no address is known in time."""
    answer: list[str] = []

    def resolve() -> None:
        try:
            answer.append(str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]))
        except (OSError, UnicodeError):
            answer.append("")

    # The resolver has no time limit of its own; a thread that hangs ends with this process.
    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    if not answer or not answer[0]:
        return "unresolved"
    return reach([(answer[0], port)])[f"{answer[0]} {port}"]

"""Parsing of words that commands share: one-line complaints, and the options every call has."""

from __future__ import annotations

import argparse
import os
import sys

from kcms.cli import USAGE_STATUS, complain
from kcms.client import DEFAULT_SOCKET, Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn  # 6 ms, so not when it runs


class Help(argparse.HelpFormatter):
    """As wide as the terminal, which argparse would ask of shutil, at 2 ms for every command."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


def columns() -> int:
    """How wide help may be: COLUMNS, or the terminal, or 80."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and 0 < int(told) < 10_000:
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line, and no option may be shortened.

    (A shortened option would change its meaning when a longer one is added.)
    """

    def __init__(self, command: str, text: str, **more: Any) -> None:
        super().__init__(
            prog=f"kcms {command}",
            description=text,
            allow_abbrev=False,
            formatter_class=Help,
            **more,
        )

    def error(self, message: str) -> NoReturn:
        complain(f"{message} ({self.prog} --help says what is right)")
        sys.exit(USAGE_STATUS)


def client_options(parser: argparse.ArgumentParser, user: str | None) -> None:
    """The options of a command that calls the gateway; ``user`` is what --user means, if any."""
    own = "the cluster meant; this host's own by default"
    parser.add_argument("-M", "--cluster", metavar="NAME", type=name, help=own)
    if user is not None:
        parser.add_argument("--user", metavar="NAME", type=name, help=user)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=os.environ.get("KCMS_SOCKET") or DEFAULT_SOCKET,
        help="socket of the gateway, KCMS_SOCKET or %(default)s by default",
    )


def client(options: argparse.Namespace, as_user: str | None = None) -> Client:
    return Client(options.socket, options.cluster, as_user)


def name(text: str) -> str:
    """A cluster's, node's or user's; an empty one is a variable that was never set."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be a name, not {text!r}")
    return text


def whole_number(text: str) -> int:
    """A job's id, or a spec's integer."""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)

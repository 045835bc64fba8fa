"""Parsing of words that commands share: one-line complaints, and the options every call has."""

from __future__ import annotations

import argparse
import os
import sys

from kcms.cli import USAGE_STATUS, complain
from kcms.client import DEFAULT_SOCKET, Client
from kcms.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn  # 6 ms, so not when it runs

    from kcms.via.channels import Line
    from kcms.via.session import Session
    from kcms.via.target import Target


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


def client_options(parser: argparse.ArgumentParser, user: str | None, json: bool = True) -> None:
    """The options of a command that calls the gateway; ``user`` is what --user means, if any."""
    own = "the cluster meant; this host's own by default"
    parser.add_argument("-M", "--cluster", metavar="NAME", type=name, help=own)
    if user is not None:
        parser.add_argument("--user", metavar="NAME", type=name, help=user)
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    via_options(parser)
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=os.environ.get("KCMS_SOCKET") or DEFAULT_SOCKET,
        help="socket of the gateway, KCMS_SOCKET or %(default)s by default",
    )


def via_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that can also be given from a host that is none of the grid."""
    parser.add_argument(
        "--via",
        metavar="[USER@]HEAD[:PORT]",
        type=_target,
        default=os.environ.get("KCMS_VIA") or None,
        help="do it by an SSH login at HEAD, from a machine outside the grid; KCMS_VIA by default",
    )
    parser.add_argument(
        "--known-hosts",
        metavar="FILE",
        help="the host keys that --via believes, those that ssh does by default",
    )


def _target(text: str) -> Target:
    from kcms.via.target import parse

    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def client(options: argparse.Namespace, as_user: str | None = None) -> Client:
    if options.via is None:
        if options.known_hosts is not None:
            raise InvalidRequest("--known-hosts goes with --via")
        return Client(options.socket, options.cluster, as_user)

    def connect(timeout: float) -> Line:
        return session(options).gateway(options.socket)(timeout)  # not before it is needed

    return Client(options.socket, options.cluster, as_user, connect=connect)


def session(options: argparse.Namespace) -> Session:
    """The login that ``--via`` asks for, one for the whole command."""
    if getattr(options, "login", None) is None:
        import atexit

        from kcms.via.session import Session

        options.login = Session.open(options.via, options.known_hosts)
        atexit.register(options.login.close)
    found: Session = options.login
    return found


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

"""``kcms web-password``: whoever the kernel says a user is may set that user's password."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from kcms.cli import FAILURE_STATUS, complain
from kcms.cli.options import Parser, client, client_options
from kcms.client import Client, ClientError
from kcms.errors import InvalidRequest

LONGEST_LINE = 8192


def web_password(words: list[str]) -> int:
    options = parser().parse_args(words)
    caller = client(options, options.user)
    names = [options.cluster] if options.cluster else [each["name"] for each in caller.clusters()]
    password = None if options.remove else asked(options.stdin)
    rows = [told(caller, each, password) for each in names]
    if options.json:
        print(json.dumps({"clusters": rows}, indent=2))
    done = "password removed" if options.remove else "password set"
    for row in rows:
        if not row["done"]:
            complain(f"{row['name']}: {row['message']}")
        elif not options.json:
            print(f"{row['name']}: {done}")
    return 0 if all(row["done"] for row in rows) else FAILURE_STATUS


def parser() -> argparse.ArgumentParser:
    made = Parser(
        "web-password",
        "Set your password for the page, at every cluster that can be reached from here.  "
        "Logins that are open end.",
    )
    way = made.add_mutually_exclusive_group()
    way.add_argument("--stdin", action="store_true", help="read it as one line of standard input")
    way.add_argument(
        "--remove", action="store_true", help="have no password, and no login, any more"
    )
    client_options(made, "whose password; only root may say")
    return made


def told(caller: Client, cluster: str, password: str | None) -> dict[str, Any]:
    """Set the password at one cluster; how it went."""
    caller.cluster = cluster
    try:
        caller.set_password(password)
    except ClientError as error:
        return {"name": cluster, "done": False, "message": error.message}
    return {"name": cluster, "done": True, "message": ""}


def asked(from_input: bool) -> str:
    """The new password.  :raises InvalidRequest: none was given, or two that differ"""
    if from_input:
        return line_of_input()
    if not sys.stdin.isatty():
        raise InvalidRequest(
            "standard input is no terminal to ask at: say --stdin to read it there"
        )
    import getpass

    try:
        first = getpass.getpass("New password for the page: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise InvalidRequest("no password was given, and nothing was changed") from None
    if first != again:
        raise InvalidRequest("the two passwords differ, and nothing was changed")
    return checked(first)


def line_of_input() -> str:
    """The first line, without its end."""
    raw = sys.stdin.buffer.readline(LONGEST_LINE + 1)
    try:
        return checked(raw.decode("utf-8").removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError:
        raise InvalidRequest("the password must be UTF-8 text") from None


def checked(password: str) -> str:
    """What else a password must be, its manager says."""
    if not password:
        raise InvalidRequest("no password was given, and nothing was changed")
    if len(password) > LONGEST_LINE:
        raise InvalidRequest(f"a password has at most {LONGEST_LINE} characters")
    return password

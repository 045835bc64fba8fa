"""Doing something to each that a command names."""

from __future__ import annotations

import json

from kcms.cli import complain
from kcms.cli.options import client
from kcms.client import Client, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")


def do_each(
    options: argparse.Namespace,
    named: Sequence[T],
    act: Callable[[Client, T], dict[str, Any]],
    told: Callable[[T, dict[str, Any]], str],
) -> int:
    """Do it, and say in a line what became of each job; those that it fails for are passed over."""
    caller = client(options, options.user)
    done: list[dict[str, Any]] = []
    for each in named:
        try:
            done.append(act(caller, each))
        except ClientError as error:
            complain(error.message)
            continue
        if not options.json:
            print(told(each, done[-1]))
    if options.json:
        print(json.dumps({"jobs": done}, indent=2))
    return 0 if len(done) == len(named) else 1

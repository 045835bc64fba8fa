"""``kcms store``: a manager's job store as root sees it, for backup and restore."""

from __future__ import annotations

import json
import os
from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from kcms.cli.options import Parser, whole_number
from kcms.errors import ConfigError
from kcms.manager import backup

STATE = "/var/lib/kcms/manager-{}"


def store(words: list[str]) -> int:
    actions = {"backup": _backup, "settle": _settle}
    action = words[0] if words else ""
    if action not in actions:
        parser = Parser("store", "Copy a manager's job store, or make a copy ready for use.")
        parser.add_argument("action", metavar="backup|settle", choices=list(actions))
        parser.parse_args(words[:1])
    return actions[action](words[1:])


def _parser(action: str, text: str) -> Parser:
    parser = Parser(f"store {action}", text)
    parser.add_argument("cluster", metavar="CLUSTER", help="the manager's cluster")
    return parser


def _backup(words: list[str]) -> int:
    parser = _parser("backup", "Copy the job store and passwords while the manager works.")
    parser.add_argument("directory", metavar="DIRECTORY", help="where to; it is made")
    parser.add_argument("--from", dest="state", metavar="DIRECTORY", help=STATE.format("CLUSTER"))
    options = parser.parse_args(words)
    state = options.state or STATE.format(options.cluster)
    owner = backup.owner_of(state)
    target = Path(options.directory)
    try:
        target.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot make {target}: {error.strerror}") from error
    try:
        _copy(state, target, owner)
    except BaseException:
        _remove(target)
        raise
    print(f"the job store of {options.cluster} is copied to {target}")
    return 0


def _copy(state: str, target: Path, owner: tuple[int, int]) -> None:
    places = [target / backup.STORE, target / backup.PASSWORDS]
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    opened = [os.open(place, flags, 0o600) for place in places]
    try:
        backup.as_owner(owner, lambda: backup.copy(state, *opened))
    finally:
        for each in opened:
            os.close(each)
    if places[1].stat().st_size == 0:
        places[1].unlink()


def _remove(target: Path) -> None:
    with suppress(OSError):
        for each in target.iterdir():
            each.unlink()
        target.rmdir()


def _when(text: str) -> float:
    """Seconds since the epoch, of a year that a calendar has."""
    try:
        seconds = float(text)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        told = f"must be seconds since the epoch, such as 1767225600, not {text!r:.40}"
        raise ArgumentTypeError(told) from None
    return seconds


def _settle(words: list[str]) -> int:
    parser = _parser("settle", "Make a copy of a job store ready to be put in its place.")
    parser.add_argument("directory", metavar="DIRECTORY", help="where the copy is")
    taken = "when it was made, in seconds since the epoch"
    parser.add_argument("--taken", metavar="SECONDS", type=_when, required=True, help=taken)
    keep = "what has not begun stays PENDING; only right when the manager was stopped for good"
    parser.add_argument("--keep", action="store_true", help=keep)
    gap = "numbers to leave out, %(default)s by default"
    parser.add_argument("--gap", metavar="N", type=whole_number, default=backup.GAP, help=gap)
    options = parser.parse_args(words)
    owner = backup.owner_of(options.directory)

    def work() -> None:
        done = backup.settle(
            options.directory, options.cluster, options.taken, options.keep, options.gap
        )
        print(json.dumps(done._asdict()), flush=True)

    backup.as_owner(owner, work)
    return 0

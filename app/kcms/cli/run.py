"""``kcms run``: an interactive job, from its submission to its exit status."""

from __future__ import annotations

import argparse
import os
import sys
import time

from kcms.cli import complain
from kcms.cli.attached import PROTOCOL, Attached, Ended, on_signals
from kcms.cli.options import Parser, client, client_options
from kcms.cli.submit import absolute, option_of, specification
from kcms.client import FINAL_STATES, Client, ClientError
from kcms.errors import KcmsError
from kcms.jobs.spec import FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any  # 6 ms, so not when it runs

FAILED = 125
"""Exit status when it is kcms run that failed, as those of nohup, timeout or docker run."""

WAIT_SECONDS = 10.0
START_SECONDS = 30.0
FIRST_SECONDS, LOOK_SECONDS = 1.0, 5.0
"""How long the gateway waits for a place: at first, as one is to be told of a wait, and then."""

FOREVER = float("inf")
GIVEN = ("name", "base_directory", "cpus_per_task", "time_limit", "memory", "rss_limit",
         "dependency", "begin_time", "priority", "partition", "load_metric", "on_end", "comment",
         "environment")  # fmt: skip
"""The fields of a job that make sense here."""

CALL_SECONDS = 30.0


def run(words: list[str]) -> int:
    made = parser()
    options = made.parse_args(words)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        made.error("a command is missing")
    _occupy_standard_streams()
    caller = client(options, options.user)
    caller.timeout = CALL_SECONDS
    with on_signals():
        try:
            spec = _specification(options, command)
            return _run(caller, spec, options.wait, options.base_directory is not None)
        except (ClientError, KcmsError) as error:
            complain(error.message)
            return FAILED
        except Ended as ended:
            return ended.status


def _occupy_standard_streams() -> None:
    """Let nothing else get the numbers of streams that whoever called has closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def parser() -> Parser:
    made = Parser(
        "run",
        "Run a program on the best node and be attached to it: its input, output, terminal and "
        "signals are those of this command, and so is its exit status (128 and the number of the "
        f"signal when one ended it, {FAILED} when it could not be run or the connection was lost "
        "for good).  It ends when this command does.",
        usage="kcms run [options] [--] COMMAND [ARGUMENT ...]",
    )
    for row in FIELDS:
        if row.name in GIVEN:
            made.add_argument(f"--{row.name.replace('_', '-')}", dest=row.name, **option_of(row))
        else:
            made.set_defaults(**{row.name: None})
    made.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_wait,
        default=WAIT_SECONDS,
        help="how long it may wait for a place, or forever; then it is cancelled, and you are told "
        f"what it waited for; {WAIT_SECONDS:g} by default",
    )
    both = made.add_mutually_exclusive_group()
    both.add_argument(
        "-t",
        "--terminal",
        action="store_true",
        help="give it a terminal, even where this command has none; it has one by default when "
        "input and output are a terminal here",
    )
    both.add_argument("-T", "--no-terminal", action="store_true", help="give it pipes")
    client_options(made, "whose job it is; only root may say", json=False)
    made.add_argument(
        "command",
        metavar="COMMAND",
        nargs=argparse.REMAINDER,
        help="program and its arguments; a name without / is looked for in PATH here",
    )
    return made


def _wait(text: str) -> float:
    if text == "forever":
        return FOREVER
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"must be a number of seconds, or forever, not {text!r}")
    return float(text)


def _terminal(options: argparse.Namespace) -> bool:
    if options.terminal or options.no_terminal:
        return bool(options.terminal)
    return os.isatty(0) and os.isatty(1)


def _specification(options: argparse.Namespace, command: list[str]) -> dict[str, Any]:
    """The fields that were given, and those that come from where this command was called."""
    options.executable, options.arguments, options.key = _program(command[0]), command[1:], None
    here = absolute(".").removesuffix("/.") or "/"
    spec = {"base_directory": here, **specification(options)}
    terminal = _terminal(options)
    spec["interactive"] = "terminal" if terminal else "pipes"
    spec["environment"] = {**_told_environment(terminal), **spec.get("environment", {})}
    return spec


def _program(name: str) -> str:
    """:raises ClientError: there is none of that name here"""
    if "/" in name:
        return absolute(name)
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = f"{absolute(directory or '.').rstrip('/')}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112 - pathlib costs 5 ms
            return path
    raise ClientError(
        "invalid_request", f"there is no program {name!r} in PATH here: name its path"
    )


def _told_environment(terminal: bool) -> dict[str, str]:
    """What of this environment is told to it: the kind of the terminal, and the language."""
    names = [each for each in os.environ if each == "LANG" or each.startswith("LC_")]
    names += ["TERM"] if terminal and "TERM" in os.environ else []
    return {each: os.environ[each] for each in names}


def _run(caller: Client, spec: dict[str, Any], wait: float, given: bool) -> int:
    job = _submitted(caller, spec, given)
    number = int(job["id"])
    try:
        connection = _begun(caller, number, wait)
    except (ClientError, KeyboardInterrupt, Ended):
        _kill(caller, number)
        raise
    attached = Attached(caller, number, spec["interactive"] == "terminal")
    try:
        how = attached.run(connection)
    except (KeyboardInterrupt, Ended):
        if attached.sock is None:  # which else tells the other end by being closed
            _kill(caller, number)
        raise
    return _status(number, how if how is not None else _ended_meanwhile(caller, number))


def _submitted(caller: Client, spec: dict[str, Any], given: bool) -> dict[str, Any]:
    """The job; it begins at home when it cannot begin here, and here was not asked for."""
    try:
        return caller.submit(spec)[0]
    except ClientError as error:
        if error.message.startswith("unknown field 'interactive'"):
            raise ClientError(
                "unsupported", "the cluster's manager has a release without interactive jobs"
            ) from error
        if given or not error.message.startswith("base_directory "):
            raise
        complain(f"it begins in your home directory: {error.message.partition(', and ')[0]}")
    return caller.submit({each: spec[each] for each in spec if each != "base_directory"})[0]


def _begun(caller: Client, number: int, wait: float) -> socket.socket:
    """A connection to the job, which has a place.  :raises ClientError: it has none in time"""
    began = time.monotonic()
    told = ""
    while True:
        waited = time.monotonic() - began
        try:
            seconds = min(LOOK_SECONDS if told else FIRST_SECONDS, max(wait - waited, 0))
            return caller.open(f"/v1/jobs/{number}/attach", PROTOCOL, wait=f"{seconds:.3f}")
        except ClientError as error:
            if error.code not in ("waiting", "starting", "unavailable"):
                raise
            why, code = error.message, error.code
        waited = time.monotonic() - began
        if waited >= (wait + START_SECONDS if code == "starting" else wait):
            raise ClientError(
                "timeout", f"job {number} did not begin within {wait:g} s, and is cancelled: {why}"
            )
        if code != "starting" and why != told:
            told = why
            complain(f"job {number} waits: {why}")
        time.sleep(0.5 if code == "unavailable" else 0.0)


def _kill(caller: Client, number: int) -> None:
    try:
        caller.kill(number)
    except ClientError as error:
        if error.code != "conflict":
            complain(f"job {number} may still be there: {error.message}")


def _ended_meanwhile(caller: Client, number: int) -> dict[str, Any]:
    """How a job ended that ended while nobody was attached."""
    job = caller.job(number)
    if job["state"] not in FINAL_STATES:
        raise ClientError("unavailable", f"job {number} cannot be reached; it ends by itself")
    complain(f"job {number} ended while the connection was lost: its last output may be missing")
    ends = [task["exit"] for task in job["tasks"] if task["exit"]]
    how = ends[-1] if ends else {"code": None, "signal": None}
    return {**how, "why": job["reason"], "refused": not ends}


def _status(number: int, how: dict[str, Any]) -> int:
    """The exit status that tells how the program ended; a reason that it does not know is said."""
    if how.get("why"):
        sys.stdout.flush()
        complain(f"job {number}: {how['why']}")
    if how.get("refused"):
        return FAILED
    if how.get("signal") is not None:
        return 128 + int(how["signal"])
    code = how.get("code")
    return FAILED if code is None else int(code)

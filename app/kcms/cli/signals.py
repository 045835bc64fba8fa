"""``kcms signal`` and ``kcms kill``: of whole jobs, of tasks, of single processes."""

from __future__ import annotations

import argparse

from kcms.cli.each import do_each
from kcms.cli.options import Parser, client_options
from kcms.client import FINAL_STATES, Client
from kcms.jobs.target import Target, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs


def signal(words: list[str]) -> int:
    parser = Parser(
        "signal",
        "Send a signal to every process of jobs that run (12) or of tasks of them (12.3), or to "
        "single processes (12.0.4711@alpha2, as kcms ps names them).  What is suspended gets it "
        "when it is resumed, but for KILL.",
    )
    parser.add_argument("signal", metavar="SIGNAL", type=_name, help="USR1, TERM, STOP and so on")
    parser.add_argument("targets", metavar="TARGET", type=_target, nargs="+")
    client_options(parser, "in whose name to do it; only root may say")
    options = parser.parse_args(words)

    def send(caller: Client, target: Target) -> dict[str, Any]:
        return caller.signal(target.job, options.signal, target.task, _process(target))

    return do_each(
        options, options.targets, send, lambda each, _: f"{options.signal} is on its way to {each}"
    )


def kill(words: list[str]) -> int:
    parser = Parser(
        "kill",
        "Kill jobs (12), tasks of batch jobs (12.3), or single processes (12.0.4711@alpha2, as "
        "kcms ps names them): SIGTERM, then whatever is left of them is killed; suspended jobs at "
        "once.",
    )
    parser.add_argument("targets", metavar="TARGET", type=_target, nargs="+")
    client_options(parser, "in whose name to do it; only root may say")
    options = parser.parse_args(words)
    return do_each(options, options.targets, _kill, _kill_word)


def _kill(caller: Client, target: Target) -> dict[str, Any]:
    process = _process(target)
    if process is None:
        return caller.kill(target.job, target.task)
    return caller.signal(target.job, "TERM", target.task, process, kill=True)


def _kill_word(target: Target, job: dict[str, Any]) -> str:
    """A waiting job is over at once, a running one when its node has said so."""
    over = target.pid is None and job["state"] in FINAL_STATES
    return f"{target} is {str(job['state']).lower() if over else 'being killed'}"


def _process(target: Target) -> tuple[str, int] | None:
    return None if target.pid is None or target.node is None else (target.node, target.pid)


def _name(text: str) -> str:
    from kcms.jobs.signals import NAMES, signal_name  # here, as importing it costs kill 10 ms

    found = signal_name(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r:.100} is none; there are {', '.join(NAMES)}")
    return found


def _target(text: str) -> Target:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

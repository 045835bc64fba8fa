"""The command ``kcms``: finds the command that is meant, and prints every failure as one line.

Each command is a module that is imported only when it is the one, as most of the time of a short
command is imports.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

from kcms import __version__
from kcms.client import ClientError
from kcms.errors import ConfigError, KcmsError
from kcms.terminal import plain

USAGE_STATUS = 2
FAILURE_STATUS = 1
CONFIG_STATUS = 78  # EX_CONFIG of sysexits.h
INTERRUPT_STATUS = 130
PIPE_STATUS = 141
LEADING = ("--via", "--known-hosts")


class Command:
    """Where a command's ``function(words) -> exit status`` is, and what it is for.

    (No NamedTuple: importing typing costs every command 6 ms.)
    """

    def __init__(self, module: str, function: str, text: str, here: bool = False) -> None:
        self.module = module
        self.function = function
        self.text = text
        self.here = here  # it is about this host, so there is no --via


COMMANDS = {
    "submit": Command("submit", "submit", "submit a job"),
    "run": Command("run", "run", "run a program on the best node, attached to it", True),
    "jobs": Command("jobs", "jobs", "list jobs: those not yet over, or --all"),
    "job": Command("jobs", "job", "show one job"),
    "kill": Command("signals", "kill", "kill jobs, tasks of them, or single processes"),
    "signal": Command("signals", "signal", "send a signal to jobs, tasks or processes"),
    "hold": Command("jobs", "hold", "keep waiting jobs back"),
    "release": Command("jobs", "release", "let held jobs go their way"),
    "suspend": Command("jobs", "suspend", "let running jobs stand still"),
    "requeue": Command("jobs", "requeue", "let running jobs begin anew"),
    "checkpoint": Command("saves", "checkpoint", "save a running job as it is now"),
    "restart": Command("saves", "restart", "let a running job go back to its last checkpoint"),
    "migrate": Command("moves", "migrate", "move a running job to another node"),
    "output": Command("output", "output", "print the end of a job's output"),
    "fetch": Command("fetch", "fetch", "bring a job's output to this machine"),
    "ps": Command("ps", "ps", "list the processes of jobs"),
    "processes": Command("ps", "processes", "the same as ps --all"),
    "accounting": Command("accounting", "accounting", "sum what jobs took"),
    "nodes": Command("nodes", "nodes", "list the nodes of a cluster"),
    "drain": Command("nodes", "drain", "give a node no new jobs"),
    "resume": Command("nodes", "resume", "give a node new jobs again; let suspended jobs go on"),
    "balance": Command("balance", "balance", "show what moves running jobs to idle nodes, and why"),
    "clusters": Command("nodes", "clusters", "list the clusters that can be reached from here"),
    "web-password": Command("password", "web_password", "set your password for the page"),
    "config": Command("settings", "config", "check a configuration file, or document them", True),
    "store": Command("store", "store", "copy a job store, or make a copy ready (root)", True),
    "admin": Command("admin", "admin", "check the job stores of this host (root)", True),
    "relay": Command("relay", "relay", "hand on to the gateway; --via does this on a head", True),
    "daemon": Command("settings", "daemon", "run a daemon; systemd does this", True),
}


def main(words: list[str] | None = None) -> int:
    """Run the command that ``words`` say; the exit status of the process is returned."""
    _prepare_streams()
    try:
        status = _dispatch(sys.argv[1:] if words is None else words)
    except (ClientError, KcmsError) as error:
        status = _failed(error)
    except KeyboardInterrupt:
        status = INTERRUPT_STATUS
    except OSError as error:
        status = _not_written(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        status = _not_written(error)
    return status


def _prepare_streams() -> None:
    """Have both streams, even if whoever called closed them, and take every character."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for the whole run
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _not_written(error: OSError) -> int:
    """Say that the output could not be written, or what else the system refused."""
    # Nobody may read any more; keep the interpreter from saying so again when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return PIPE_STATUS
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        complain(f"cannot write the output: {error.strerror}")
    else:
        complain(str(error))
    return FAILURE_STATUS


def leading(words: list[str]) -> tuple[list[str], list[str]]:
    """The options before the command, which are those of every command, and the rest."""
    at = 0
    while at < len(words) and words[at].partition("=")[0] in LEADING:
        at += 1 if "=" in words[at] else 2
    return words[:at], words[at:]


def _dispatch(words: list[str]) -> int:
    options, words = leading(words)
    name = words[0] if words else ""
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name in ("version", "--version"):
        print(f"kcms {__version__}")
        return 0
    if name not in COMMANDS:
        wrong = f"there is no command {name!r}" if name else "a command is missing"
        complain(f"{wrong}; there are {', '.join(COMMANDS)}, version")
        return USAGE_STATUS
    command = COMMANDS[name]
    if options and command.here:
        complain(f"{name} is about this host itself, so there is no {options[0]} with it")
        return USAGE_STATUS
    module = importlib.import_module(f"kcms.cli.{command.module}")
    return int(getattr(module, command.function)([*options, *words[1:]]))


def _failed(error: Exception) -> int:
    complain(str(error))
    return CONFIG_STATUS if isinstance(error, ConfigError) else FAILURE_STATUS


def complain(message: str) -> None:
    """One line on standard error, whatever the message has in it."""
    print(f"kcms: {plain(' '.join(message.split()))}", file=sys.stderr)


def usage() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:{width}}  {each.text}" for name, each in COMMANDS.items()]
    rows.append(f"  {'version':{width}}  print the version")
    return "\n".join(
        [
            "usage: kcms [--via [USER@]HEAD[:PORT]] COMMAND ...",
            "",
            *rows,
            "",
            "kcms COMMAND --help says more of each.",
        ]
    )

"""``kcms daemon`` and ``kcms config``: what has to do with configuration files."""

from __future__ import annotations

import importlib
import site
import sys

from kcms.cli import FAILURE_STATUS, complain
from kcms.cli.options import Parser
from kcms.config import SCHEMAS, load
from kcms.errors import ConfigError


def daemon(words: list[str]) -> int:
    """Run a daemon.  The command starts without site packages, which daemons alone need."""
    parser = Parser("daemon", "Run a daemon in the foreground.")
    parser.add_argument("name", metavar="NAME", choices=list(SCHEMAS), help=", ".join(SCHEMAS))
    parser.add_argument("--config", metavar="FILE", required=True, help="its configuration, TOML")
    options = parser.parse_args(words)
    if sys.flags.no_site:
        site.main()
    settings: object = load(SCHEMAS[options.name], options.config)
    module = importlib.import_module(f"kcms.{options.name}.daemon")
    return int(module.main(settings))


def config(words: list[str]) -> int:
    actions = {"check": _check, "document": _document}
    action = words[0] if words else ""
    if action not in actions:
        parser = Parser("config", "Check a configuration file, or document them all.")
        parser.add_argument("action", metavar="check|document", choices=list(actions))
        parser.parse_args(words[:1])
    return actions[action](words[1:])


def _check(words: list[str]) -> int:
    parser = Parser("config check", "Check a configuration file.")
    parser.add_argument("name", metavar="NAME", choices=list(SCHEMAS), help=", ".join(SCHEMAS))
    parser.add_argument("file", metavar="FILE", help="the configuration of that daemon, TOML")
    options = parser.parse_args(words)
    try:
        load(SCHEMAS[options.name], options.file)
    except ConfigError as error:
        complain(str(error))
        return FAILURE_STATUS
    print(f"{options.file} is a configuration of kcms-{options.name}")
    return 0


def _document(words: list[str]) -> int:
    Parser("config document", "Print docs/configuration.md.").parse_args(words)
    from kcms.cli.document import document

    print(document(), end="")
    return 0

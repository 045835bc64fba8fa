"""The options of ``kcms submit --stage``, and which of them go together."""

from __future__ import annotations

import argparse

from kcms.errors import InvalidRequest


def stage_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stage",
        action="store_true",
        help="with --via: EXECUTABLE and --input are files of this machine, which are brought to "
        "the head first; one with a : before it is there already",
    )
    parser.add_argument(
        "--stage-to",
        metavar="DIRECTORY",
        help="a directory of yours there that every node sees, for --stage; "
        "one in ~/.kcms/stage by default",
    )


def check_options(options: argparse.Namespace) -> None:
    """:raises InvalidRequest: options that do not go together"""
    if not options.stage:
        if options.stage_to is not None:
            raise InvalidRequest("--stage-to says where --stage puts files: it goes with --stage")
        return
    if options.via is None:
        raise InvalidRequest(
            "--stage goes with --via: on a host of the grid name a file on the shared directory"
        )
    if options.check:
        raise InvalidRequest(
            "--check looks at files on the head, and --stage has not sent them yet"
        )
    if options.user is not None:
        raise InvalidRequest(f"--stage puts files as who logs in: use --via {options.user}@HEAD")

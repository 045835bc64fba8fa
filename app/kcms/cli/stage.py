"""The options of ``kcms submit --stage``, and which of them go together."""

from __future__ import annotations

import argparse

from kcms.errors import InvalidRequest


def stage_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stage",
        action="store_true",
        help="EXECUTABLE and --input are files of this machine: with --via they are brought to the "
        "head first, on a host of the grid a copy is kept for the nodes, which bring what they do "
        "not see; one with a : before it is there already",
    )
    parser.add_argument(
        "--stage-to",
        metavar="DIRECTORY",
        help="a directory of yours that every node sees, for --stage; "
        "one in ~/.kcms/stage by default",
    )


def check_options(options: argparse.Namespace) -> None:
    """:raises InvalidRequest: options that do not go together"""
    if not options.stage:
        if options.stage_to is not None:
            raise InvalidRequest("--stage-to says where --stage puts files: it goes with --stage")
        return
    if options.check:
        raise InvalidRequest(
            "--check looks at files that --stage has not put where the job will have them yet"
        )
    if options.user is not None:
        how = f"use --via {options.user}@HEAD" if options.via else f"be {options.user} to use it"
        raise InvalidRequest(f"--stage puts files as who calls: {how}")

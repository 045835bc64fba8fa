"""``kcms migrate``."""

from __future__ import annotations

import json
from typing import Any

from kcms.cli import FAILURE_STATUS, complain
from kcms.cli.jobs import job_or_task
from kcms.cli.options import Parser, client, client_options, name
from kcms.client import figures_of_move, moved_name, trouble_of_move


def migrate(words: list[str]) -> int:
    parser = Parser(
        "migrate",
        "Move a running job (12), or a task of a batch job (12.3), to another node, where it goes "
        "on.  It is moved whole or not at all: what keeps it from moving is said in a sentence, "
        "and the job goes on where it is.",
    )
    parser.add_argument("id", metavar="JOB[.TASK]", type=job_or_task)
    parser.add_argument("node", metavar="NODE", type=name, help="where it is to go on")
    parser.add_argument("--check", action="store_true", help="only see whether it could be moved")
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for the outcome; kcms job JOB shows it"
    )
    client_options(parser, "in whose name to do it; only root may say")
    options = parser.parse_args(words)
    caller = client(options, options.user)
    job_id, *task = options.id
    job = caller.migrate(job_id, options.node, options.check, *task)
    number = job["migration"]["number"]
    trouble = None
    if not options.no_wait:
        job = caller.wait_migration(job_id, number)
        trouble = trouble_of_move(job, number)
    if options.json:
        print(json.dumps(job, indent=2))
    elif trouble is None:
        print(outcome(job))
    if trouble is not None:
        complain(trouble)
        return FAILURE_STATUS
    return 0


def outcome(job: dict[str, Any]) -> str:
    """What is to be said of a migration that went well, or is under way."""
    moving = job["migration"]
    way = f"from {moving['source']} to {moving['target']}"
    if moving["end_time"] is None:
        doing = "being checked for a move" if moving["check_only"] else "moving"
        return f"{moved_name(job)} is {doing} {way}"
    what = "can be" if moving["check_only"] else "has"
    figures = figures_of_move(moving)
    return f"{moved_name(job)} {what} moved {way}" + (f": {figures}" if figures else "")

"""``kcms output``: what a job said."""

from __future__ import annotations

import json
import sys

from kcms.cli import complain, tables
from kcms.cli.jobs import job_or_task
from kcms.cli.options import Parser, client, client_options, whole_number


def output(words: list[str]) -> int:
    parser = Parser(
        "output",
        "Print the end of what a job has written to its output file; what is no UTF-8 is "
        "replaced by the sign for that.",
    )
    parser.add_argument(
        "id", metavar="JOB", type=job_or_task, help="a job as 12, or a task of it as 12.3"
    )
    parser.add_argument(
        "--error", action="store_true", help="the file of standard error, if it is another"
    )
    parser.add_argument(
        "--bytes",
        metavar="N",
        type=whole_number,
        default=65536,
        help="at most so many, %(default)s by default",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what it writes, until it is over"
    )
    client_options(parser, "in whose name to ask; only root may say")
    options = parser.parse_args(words)
    which = "error" if options.error else "output"
    caller = client(options, options.user)
    job, task = (*options.id, 0)[:2]
    if options.follow:
        if options.json:
            parser.error("--follow prints the output itself, so there is no --json with it")
        for part in caller.follow(job, which, options.bytes, task=task):
            sys.stdout.write(shown(part["text"], sys.stdout.isatty()))
            sys.stdout.flush()
        return 0
    end = caller.output(job, which, options.bytes, task=task)
    if options.json:
        print(json.dumps(end, indent=2))
        return 0
    if end["offset"]:
        said = end["size"] - end["offset"]
        complain(f"the last {said} of {end['size']} bytes of {tables.printable(end['path'])}:")
    sys.stdout.write(shown(end["text"], sys.stdout.isatty()))
    return 0


def shown(text: str, terminal: bool) -> str:
    """``text`` as it is; for a terminal without what would command it."""
    if not terminal:
        return text
    return "".join(each if each in "\n\t" or each.isprintable() else "?" for each in text)

"""``kcms checkpoint`` and ``kcms restart``."""

from __future__ import annotations

import json

from kcms import checkpointed
from kcms.cli import FAILURE_STATUS, complain
from kcms.cli.jobs import job_or_task
from kcms.cli.options import Parser, client, client_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def checkpoint(words: list[str]) -> int:
    parser = Parser(
        "checkpoint",
        "Save a running job (12), or a task of a batch job (12.3): what it is then is kept, and it "
        "goes on from there when kcms restart or its node says so; one with an interval or requeue "
        "also when its node is silent for good.  One that saves itself gets its signal.",
    )
    parser.add_argument("id", metavar="JOB[.TASK]", type=job_or_task)
    parser.add_argument("--wait", action="store_true", help="until the checkpoint is made")
    client_options(parser, "in whose name to do it; only root may say")
    options = parser.parse_args(words)
    caller = client(options, options.user)
    job_id, *task = options.id
    job = caller.checkpoint(job_id, *task)
    asked = checkpointed.Asked(job, *task)
    trouble = None
    if options.wait and asked.waits:
        job = caller.wait_checkpoint(job_id, asked.under_way, asked.task)
        trouble = checkpointed.trouble(job, asked)
    if options.json:
        print(json.dumps(job, indent=2))
    elif trouble is None:
        print(checkpointed.told(job, asked))
    if trouble is not None:
        complain(trouble)
        return FAILURE_STATUS
    return 0


def restart(words: list[str]) -> int:
    parser = Parser(
        "restart",
        "End what runs of a job (12), or a task of a batch job (12.3), and let it go on from its "
        "last checkpoint, as after the loss of its node.  What it did since then is lost.",
    )
    parser.add_argument("id", metavar="JOB[.TASK]", type=job_or_task)
    client_options(parser, "in whose name to do it; only root may say")
    options = parser.parse_args(words)
    job_id, *task = options.id
    job: dict[str, Any] = client(options, options.user).restart(job_id, *task)
    if options.json:
        print(json.dumps(job, indent=2))
    else:
        print(checkpointed.restarting(job, task[0] if task else None))
    return 0

"""``kcms fetch``: what a job has written, brought to a machine outside the grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcms.cli import complain, tables
from kcms.cli.jobs import job_or_task
from kcms.cli.options import Parser, client, client_options, session
from kcms.client import FINAL_STATES
from kcms.errors import InvalidRequest, NotFound
from kcms.jobs.paths import expand
from kcms.via.staging import on_head
from kcms.via.transfer import get


def fetch(words: list[str]) -> int:
    parser = Parser(
        "fetch",
        "Bring a job's output, and its error file where that is another, of all its tasks or of "
        "one, to this machine by SFTP: verified, and resumed where an earlier try broke off.",
    )
    parser.add_argument(
        "id", metavar="JOB", type=job_or_task, help="a job as 12, or a task of it as 12.3"
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="these instead; relative ones begin at the job's base directory",
    )
    parser.add_argument("--to", metavar="DIRECTORY", default=".", help="where to put them; here")
    parser.add_argument("--wait", action="store_true", help="until the job is over, first")
    client_options(parser, "whose job it is; only root may say")
    options = parser.parse_args(words)
    if options.via is None:
        raise InvalidRequest("fetch goes with --via: on a host of the grid the files are there")
    directory = Path(options.to)
    if not directory.is_dir():
        raise InvalidRequest(f"--to {options.to} is no directory of this machine")
    caller = client(options, options.user)
    number, task = (*options.id, None)[:2]
    job = caller.wait(number) if options.wait else caller.job(number)
    rows = []
    for path in apart(wanted(job, task, options.files)):
        local, fetched = get(session(options), path, directory)
        rows.append({"path": path, "local": str(local), "fetched": fetched})
        if not options.json:
            print(tables.printable(local) + ("" if fetched else " (there already)"))
    if options.json:
        print(json.dumps({"job": job["id"], "state": job["state"], "files": rows}, indent=2))
    if job["state"] not in FINAL_STATES:
        complain(f"job {job['id']} is {job['state']}: that is what it had written until now")
    return 0


def wanted(job: dict[str, Any], task: int | None, named: list[str]) -> list[str]:
    """The paths on the head: those named, or output and error of a task, or of all that began.

    :raises NotFound: none began
    """
    spec = job["spec"]
    if named:
        return [on_head(each, spec["base_directory"]) for each in named]
    begun = [int(each["index"]) for each in job["tasks"] if each.get("start_time")]
    tasks = begun if task is None else [each for each in begun if each == task]
    if not tasks:
        what = f"job {job['id']}" if task is None else f"task {task} of job {job['id']}"
        raise NotFound(f"{what} never began, so it has written nothing")
    found = (
        expand(spec[which], job["id"], each, job["user"])
        for each in tasks
        for which in ("output", "error")
    )
    return [each for each in dict.fromkeys(found) if not each.startswith("/dev/")]


def apart(paths: list[str]) -> list[str]:
    """:raises InvalidRequest: two of them would be one file here"""
    seen: dict[str, str] = {}
    for each in paths:
        other = seen.setdefault(each.rpartition("/")[2], each)
        if other != each:
            raise InvalidRequest(
                f"{other} and {each} have one name: fetch one after the other, each --to a "
                "directory of its own"
            )
    return paths

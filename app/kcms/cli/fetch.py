"""``kcms fetch``: what a job has written, brought to a machine outside the grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcms.cli import complain, tables
from kcms.cli.jobs import job_or_task
from kcms.cli.options import Parser, client, client_options, session
from kcms.client import FINAL_STATES, Client, ClientError
from kcms.errors import InvalidRequest, NotFound
from kcms.jobs.paths import expand
from kcms.via.staging import check_chosen, on_head
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
    parser.add_argument(
        "--force", action="store_true", help="replace files of these names that differ"
    )
    client_options(parser, "of no use here: say --via USER@HEAD")
    options = parser.parse_args(words)
    if options.via is None:
        raise InvalidRequest("fetch goes with --via: on a host of the grid the files are there")
    if options.user is not None:
        raise InvalidRequest(f"fetch reads files as who logs in: use --via {options.user}@HEAD")
    directory = Path(options.to)
    if not directory.is_dir():
        raise InvalidRequest(f"--to {options.to} is no directory of this machine")
    caller = client(options)
    number, task = (*options.id, None)[:2]
    job = caller.job(number)
    check_own(job, caller)
    job = caller.wait(number) if options.wait else job
    rows = []
    for path in apart(wanted(job, task, options.files)):
        local, fetched = get(session(options), path, directory, options.force)
        rows.append({"path": path, "local": str(local), "fetched": fetched})
        if not options.json:
            print(tables.printable(local) + ("" if fetched else " (there already)"))
    if options.json:
        print(json.dumps({"job": job["id"], "state": job["state"], "files": rows}, indent=2))
    if job["state"] not in FINAL_STATES:
        complain(f"job {job['id']} is {job['state']}: that is what it had written until now")
    return 0


def check_own(job: dict[str, Any], caller: Client) -> None:
    """:raises InvalidRequest: the job is not that of who logs in, or who that is nobody says"""
    try:
        me = caller.places()["user"]
    except ClientError as error:
        if error.status != 404:
            raise
        raise InvalidRequest(
            "the head's release does not say who you are there, so it cannot be seen whether job "
            f"{job['id']} is yours: fetch needs a newer one there"
        ) from error
    if job["user"] != me:
        raise InvalidRequest(
            f"job {job['id']} is {job['user']}'s, and fetch reads files as who logs in, {me}: "
            f"use --via {job['user']}@HEAD"
        )


def wanted(job: dict[str, Any], task: int | None, named: list[str]) -> list[str]:
    """The paths on the head: those named, or output and error of a task, or of all that began.

    :raises NotFound: none began  :raises InvalidRequest: a name is none to be taken unasked
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
    paths = [each for each in dict.fromkeys(found) if not each.startswith("/dev/")]
    for each in paths:
        check_chosen(each)
    return paths


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

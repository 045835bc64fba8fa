"""``kcms fetch``: what a job has written, brought to a host of the grid or a machine outside."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kcms.cli import complain, tables
from kcms.cli.far import FarHead
from kcms.cli.jobs import job_or_task
from kcms.cli.options import Parser, client, client_options, session
from kcms.client import FINAL_STATES, Client, ClientError
from kcms.errors import InvalidRequest, NotFound
from kcms.jobs.paths import expand
from kcms.jobs.spec import task_count
from kcms.stage.far import FarFile
from kcms.via.staging import below, check_chosen, is_seen, on_head
from kcms.via.transfer import Head, get

if TYPE_CHECKING:
    from kcms.via.session import Session

NAMED = "file"


class Wanted(NamedTuple):
    """A file that task ``task`` wrote, or reads, on ``node``: its output, its error, or a named
    one."""

    path: str
    task: int
    which: str
    node: str


class Places(NamedTuple):
    """The directories that every node sees, and whether the gateway brings what lies elsewhere."""

    shared: tuple[str, ...]
    brings: bool


def fetch(words: list[str]) -> int:
    options = _parser().parse_args(words)
    if options.user is not None:
        how = f"use --via {options.user}@HEAD" if options.via else f"be {options.user} to use it"
        raise InvalidRequest(f"fetch reads files as who calls: {how}")
    directory = Path(options.to)
    if not os.path.isdir(directory):  # noqa: PTH112 - that of pathlib fails where one may not look
        raise InvalidRequest(f"--to {options.to} is no directory of this machine")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InvalidRequest(f"you may not write to {directory.resolve()}: name another with --to")
    caller = client(options)
    number, task = (*options.id, None)[:2]
    job = caller.job(number)
    places = _places(job, caller)
    job = caller.wait(number) if options.wait else job
    rows = []
    for each in apart(wanted(job, task, options.files, places.shared)):
        local, fetched = get(
            _head(options, caller, job, each, places), each.path, directory, options.force
        )
        rows.append({"path": each.path, "local": str(local), "fetched": fetched})
        if not options.json:
            print(tables.printable(local) + ("" if fetched else " (there already)"))
    if options.json:
        print(json.dumps({"job": job["id"], "state": job["state"], "files": rows}, indent=2))
    if job["state"] not in FINAL_STATES:
        complain(f"job {job['id']} is {job['state']}: that is what it had written until now")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "fetch",
        "Bring a job's output, and its error file where that is another, of all its tasks or of "
        "one, to this machine, with --via by SFTP, and what only the node has that ran a task by "
        "the gateways: verified, and resumed where an earlier try broke off.",
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
    client_options(parser, "of no use here: files are read as who calls")
    return parser


def _head(
    options: argparse.Namespace, caller: Client, job: dict[str, Any], file: Wanted, places: Places
) -> Head:
    """Who has a file: the head that was logged in to, or the node that ran the task."""
    if options.via is not None:
        head = session(options)
        if not places.brings or is_seen(file.path, _real(head, file.path), places.shared):
            return head
    path = file.path if file.which == NAMED else None
    return FarHead(file.node, FarFile(caller, int(job["id"]), file.task, file.which, path))


def _real(head: Session, path: str) -> str:
    """A path on the head, with links followed as far as they can be."""
    with head.explained(f"look at {path}"), contextlib.suppress(OSError):
        return str(head.files.normalize(path))
    return path


def _places(job: dict[str, Any], caller: Client) -> Places:
    """What every node sees, for a job of who calls.

    :raises InvalidRequest: it is another's, or who that is nobody says
    """
    try:
        told = caller.places()
    except ClientError as error:
        if error.status != 404:
            raise
        raise InvalidRequest(
            "the head's release does not say who you are there, so it cannot be seen whether job "
            f"{job['id']} is yours: fetch needs a newer one there"
        ) from error
    if job["user"] != told["user"]:
        raise InvalidRequest(
            f"job {job['id']} is {job['user']}'s, and fetch reads files as who calls, "
            f"{told['user']}: be {job['user']}, or use --via {job['user']}@HEAD"
        )
    return Places(tuple(told["shared"]), told.get("brings") is True)


def wanted(
    job: dict[str, Any], task: int | None, named: list[str], shared: Sequence[str] = ()
) -> list[Wanted]:
    """The files: those named, or output and error of a task, or of all that began.

    :param shared: what lies elsewhere is another file on each node, when the job is staged
    :raises NotFound: none began  :raises InvalidRequest: a name is none to be taken unasked
    """
    spec = job["spec"]
    if task is not None and task >= (size := task_count(spec)):
        raise NotFound(f"job {job['id']} has the tasks 0 to {size - 1}, and no task {task}")
    rows = {int(each["index"]): each for each in job["tasks"]}
    begun = [index for index, each in rows.items() if each.get("start_time")]
    if named:
        index = task if task is not None else next(iter(begun), 0)
        node = str(rows.get(index, {}).get("node") or "its node")
        paths = [on_head(each, spec["base_directory"]) for each in named]
        return [Wanted(each, index, NAMED, node) for each in paths]
    tasks = begun if task is None else [each for each in begun if each == task]
    if not tasks:
        what = f"job {job['id']}" if task is None else f"task {task} of job {job['id']}"
        raise NotFound(f"{what} never began, so it has written nothing")
    found: dict[tuple[str, str], Wanted] = {}
    for each, which in itertools.product(tasks, ("output", "error")):
        path, node = expand(spec[which] or "/dev/null", job["id"], each, job["user"]), ""
        if spec.get("staged") and not any(below(path, one) for one in shared):
            node = str(rows[each]["node"])
        if not path.startswith("/dev/"):
            found.setdefault((path, node), Wanted(path, each, which, str(rows[each]["node"])))
    for one in found.values():
        check_chosen(one.path)
    return list(found.values())


def apart(files: list[Wanted]) -> list[Wanted]:
    """:raises InvalidRequest: two of them would be one file here"""
    seen: dict[str, Wanted] = {}
    for each in files:
        other = seen.setdefault(each.path.rpartition("/")[2], each)
        if other is each or (other.path == each.path and each.which == NAMED):
            continue
        two = f"{other.path} and {each.path} have one name"
        if other.path == each.path:
            two = f"tasks {other.task} and {each.task} have each a {each.path} on their nodes"
        raise InvalidRequest(f"{two}: fetch one after the other, each --to a directory of its own")
    return files

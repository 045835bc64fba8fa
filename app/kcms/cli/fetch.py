"""``kcms fetch``: what a job has written, brought to a machine outside the grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcms.cli import complain, tables
from kcms.cli.options import Parser, client, client_options, session, whole_number
from kcms.client import FINAL_STATES, Client
from kcms.errors import InvalidRequest
from kcms.via.staging import on_head
from kcms.via.transfer import get


def fetch(words: list[str]) -> int:
    parser = Parser(
        "fetch",
        "Bring a job's output, and its error file where that is another, to this machine by SFTP: "
        "verified, and resumed where an earlier try broke off.",
    )
    parser.add_argument("id", metavar="JOB", type=whole_number)
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
    job = caller.wait(options.id) if options.wait else caller.job(options.id)
    rows = []
    for path in wanted(caller, job, options.files):
        local, fetched = get(session(options), path, directory)
        rows.append({"path": path, "local": str(local), "fetched": fetched})
        if not options.json:
            print(tables.printable(local) + ("" if fetched else " (there already)"))
    if options.json:
        print(json.dumps({"job": job["id"], "state": job["state"], "files": rows}, indent=2))
    if job["state"] not in FINAL_STATES:
        complain(f"job {job['id']} is {job['state']}: that is what it had written until now")
    return 0


def wanted(caller: Client, job: dict[str, Any], named: list[str]) -> list[str]:
    """The paths on the head: those named, or what the gateway says of output and error."""
    if named:
        return [on_head(each, job["spec"]["base_directory"]) for each in named]
    found = [caller.output(job["id"], which, 1)["path"] for which in ("output", "error")]
    return list(dict.fromkeys(found))

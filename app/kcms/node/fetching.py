"""Brings an image here, proves it, and takes the job's files back to how they were with it.

Nothing of the image is used before its digest proved right.  The files are touched last, when
nothing else refuses, and only while the node's manager is heard: a node that was cut off must not
cut what the job writes elsewhere by now.
"""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from kcms.errors import KcmsError, ProtocolError
from kcms.jobs.checkpoint import NO_IMAGE, NOT_HERE, Image
from kcms.node import admit, image, init, lease, rollback, room
from kcms.node.about import MOST, About
from kcms.node.about import NAME as ABOUT
from kcms.node.carrier import CLOSED, FOREIGN
from kcms.node.carry import Carrier, CarryError
from kcms.node.child import ChildError
from kcms.node.move_error import MoveError, plain
from kcms.node.move_plan import Outcome, Plan
from kcms.node.owner import OwnerError, ask

FETCHED_ROOM = 64 << 20
"""Bytes that stay free beside an image."""

_GONE = (
    *map(os.strerror, (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)),
    CLOSED,
    FOREIGN,
    "is no regular file",
    "is no image's name",
)
"""What the owner's hands say of an image that no node can use.  Not "Permission denied": that is
what a file server says that refuses this node alone."""

_NUMBER = re.compile(r"[0-9]+")


class FetchError(Exception):
    """One sentence, and the cause that the manager is told."""

    def __init__(self, message: str, cause: str = NOT_HERE) -> None:
        super().__init__(message)
        self.cause = cause


def fetch(plan: Plan) -> Outcome:
    try:
        return "", False, _fetch(plan)
    except FetchError as error:
        return plain(str(error)), False, {"cause": error.cause}
    except (MoveError, OwnerError, ChildError, KcmsError) as error:
        return plain(str(error)), False, {"cause": NOT_HERE}
    except OSError as error:
        why = f"{plan.host} cannot fetch the image: {error}"
        return plain(why), False, {"cause": NOT_HERE}


def _fetch(plan: Plan) -> dict[str, Any]:
    trouble = plan.capability.get("trouble", "it is not known whether criu works")
    if trouble:
        raise FetchError(trouble)
    told = Image.parse(plan.move.data)
    _see_place(plan, told.path)
    try:
        hands = Carrier(plan.ids, plan.watch)
        bring(plan, hands, told.path, image.Digest(told.size, told.sha256))
    except image.ImageError as error:
        raise FetchError(str(error), NO_IMAGE) from error
    except CarryError as error:
        raise _lost(plan, str(error), told.path, cause_of(str(error))) from error
    about = _about(plan)
    if is_older(plan.capability.get("criu", ""), about.criu):
        raise FetchError(
            f"the image was made with criu {about.criu}, and {plan.host} has the older "
            f"{plan.capability.get('criu')}"
        )
    move = replace(plan.move, source=about.host, data=about.needs)
    why = admit.judge(
        move, plan.host, plan.shared_directories, str(plan.directory), plan.capability
    )
    if why:
        raise FetchError(why)
    return {
        "root": about.root,
        "processes": about.processes,
        "pids": about.pids,
        "usage": about.usage,
        "note": _roll_back(plan, about),
    }


def cause_of(complaint: str) -> str:
    """Whose fault it is that the owner's hands could not read the image."""
    return NO_IMAGE if complaint.endswith(_GONE) else NOT_HERE


def is_older(here: str, there: str) -> bool:
    """Whether one version of criu is older than another: it may not read the other's images."""
    known = [tuple(map(int, _NUMBER.findall(each))) for each in (here, there)]
    return all(known) and known[0] < known[1]


def _lost(plan: Plan, message: str, path: str, cause: str) -> FetchError:
    """What is lacking below a directory that is not mounted here is lacking on this node alone."""
    if cause != NO_IMAGE:
        return FetchError(message, cause)
    directory = os.path.dirname(path)  # noqa: PTH120 - a name, no path of root's
    if not lies_on_root(ask(plan.ids, {"directories": [directory]})["directories"][0]):
        return FetchError(message, cause)
    return FetchError(
        f"{message}; {directory} lies on the root file system of {plan.host}: is its shared "
        "directory mounted?"
    )


def lies_on_root(row: dict[str, Any]) -> bool:
    """Whether a directory, or what there is of it, is on the host's root file system."""
    return bool(row["device"] == Path("/").stat().st_dev)


def _see_place(plan: Plan, path: str) -> None:
    """A shared directory that is not mounted here is no word against the image."""
    place = os.path.dirname(os.path.dirname(path))  # noqa: PTH120 - a name, no path of root's
    request = {"shared": plan.shared_directories, "directories": [place]}
    row = ask(plan.ids, request)["directories"][0]
    if row["problem"]:
        raise FetchError(f"{place} {row['problem']} on {plan.host}")
    if not row["shared"]:
        raise FetchError(f"{place} does not lie on a shared directory on {plan.host}")


def bring(plan: Plan, hands: Carrier, path: str, wanted: image.Digest) -> None:
    """The image from the shared directory into ``image``, after it proved to be the one wanted.

    :raises MoveError, CarryError, image.ImageError, OSError: it is not there now
    """
    free = room.free_kib(str(plan.directory)) * 1024
    if wanted.size + FETCHED_ROOM > free:
        raise MoveError(
            f"the image has {wanted.size >> 20} MiB, and {plan.host} has {free >> 20} MiB free "
            "for it"
        )
    image.receive(hands.get(path), plan.directory / "image", wanted)


def _about(plan: Plan) -> About:
    try:
        with (plan.directory / "image" / ABOUT).open("rb") as file:
            content = file.read(MOST + 1)
        if len(content) > MOST:  # a later release's
            raise FetchError(f"the image says more of itself than {plan.host} reads")
        document = json.loads(content)
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise FetchError("the image does not say what it is of", NO_IMAGE) from error
    try:
        return About.parse(document)
    except ProtocolError as error:  # perhaps a later release's, and another node has that
        raise FetchError(str(error)) from error


def _roll_back(plan: Plan, about: About) -> str:
    """What was done to the job's files, in one line."""
    plan.watch()
    told = {"wanted": {"lease": plan.move.lease}, "runtime": plan.runtime}
    late = lease.Lease(told, plan.boot_id).expired(init.boottime())
    if late:
        raise FetchError(late)
    answer = ask(plan.ids, {"back": about.lengths}, program=rollback.__file__)
    if answer.get("problem") != "":
        why, lost = (
            str(answer.get("problem") or "the files cannot be looked at"),
            answer.get("lost"),
        )
        raise _lost(plan, why, str(lost), NO_IMAGE) if lost else FetchError(why)
    return plain(rollback.note([str(each) for each in answer.get("notes", [])]))

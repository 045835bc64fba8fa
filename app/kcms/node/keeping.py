"""What becomes of images that were saved: they are kept, or dropped, with their owner's ids."""

from __future__ import annotations

import os

from kcms.jobs.checkpoint import Image
from kcms.jobs.members import Members
from kcms.node import durable, fetching, image
from kcms.node.carry import Carrier
from kcms.node.move_error import MoveError
from kcms.node.move_plan import Outcome, Plan
from kcms.node.owner import OwnerError, ask


def keep(plan: Plan) -> Outcome:
    """Take note that the manager has the image on record.

    A node that has lost its record of the save looks at the image itself.
    """
    plan.watch()
    saved = durable.read(str(plan.directory), "save.result")
    if saved is None:
        told = Image.parse(plan.move.data)
        there = Carrier(plan.ids, plan.watch).get(told.path)
        image.verify(there, image.Digest(told.size, told.sha256))
    elif saved.get("ok") is not True:
        raise MoveError("the image was not saved, so there is none to keep")
    return "", False, {}


def _see_mounted(plan: Plan, path: str) -> None:
    """:raises MoveError: the image may lie where other nodes alone can see it"""
    directory = os.path.dirname(os.path.dirname(path))  # noqa: PTH120 - a name, no path of root's
    try:
        row = ask(plan.ids, {"directories": [directory]})["directories"][0]
    except OwnerError as error:
        raise MoveError(str(error)) from error
    if row["problem"] and fetching.lies_on_root(row):
        raise MoveError(
            f"{path} cannot be removed: {directory} {row['problem']} on {plan.host}; is its shared "
            "directory mounted?"
        )


def drop(plan: Plan) -> Outcome:
    """Remove images; one that is gone already is as good."""
    paths = Members(plan.move.data, "images to be dropped").rows("images")
    if not all(isinstance(each, str) and each.startswith("/") for each in paths):
        raise MoveError("images must be absolute paths")
    carrier = Carrier(plan.ids)
    for each in paths:
        _see_mounted(plan, each)
        carrier.remove(each)
    return "", False, {}

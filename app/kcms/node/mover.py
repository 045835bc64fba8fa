"""One step of a migration on one node: a program of its own, in a transient unit of its own.

``python3 -I -X utf8 mover.py STEP DIRECTORY``, as root with all capabilities, which the node
daemon lacks.  It outlives that daemon, since a criu that died in the middle of a dump would take
the job with it.  DIRECTORY is the move's record (see :mod:`kcms.node.move_records`); the step is
claimed there by ``STEP.begun``, made once, and its outcome is ``STEP.result``.

``save``, ``keep`` and ``drop`` are of checkpoints, and ``fetch`` brings one here, see
:mod:`kcms.node.saving`, :mod:`kcms.node.keeping` and :mod:`kcms.node.fetching`.

``restore`` only fetches, verifies and unpacks the image: the restored tree must be a child of its
task's init, which restores it (:mod:`kcms.node.restoring`).  ``clean`` removes what was left on the
shared directory and here.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from kcms.errors import Forbidden, KcmsError
from kcms.node import (
    admit,
    cgroup,
    durable,
    fetching,
    image,
    inmemory,
    keeping,
    opened,
    owner,
    poke,
)
from kcms.node.carry import Carrier, CarryError
from kcms.node.child import ChildError
from kcms.node.dumping import Dump, Look
from kcms.node.laps import Laps
from kcms.node.move_error import MoveError, plain
from kcms.node.move_plan import Outcome, Plan
from kcms.node.moves import FETCH
from kcms.node.saving import Save


def main(step: str, directory: str) -> int:
    os.umask(0o077)
    plan = Plan.read(Path(directory))
    if step == "clean":
        return _clean(plan)
    try:
        durable.create(directory, f"{step}.begun", {"time": time.time()})
    except FileExistsError:
        return 0  # another one has it, or had it
    message, touched, data = _outcome(step, plan)
    document = {"ok": not message, "message": message, "touched": touched, "data": data}
    with contextlib.suppress(FileExistsError):
        durable.create(directory, f"{step}.result", document)
    poke.poke(directory)
    if step == "dump":  # it takes its time, in which the job stands still
        inmemory.remove(plan.directory / "image")
    return 0


def _image_name(plan: Plan) -> str:
    move = plan.move
    return f"{move.job}.{move.number}-{move.store}-{os.urandom(6).hex()}.image"


def _outcome(step: str, plan: Plan) -> Outcome:
    steps: dict[str, Callable[[], Outcome]] = {
        "check": lambda: _check(plan),
        "admit": lambda: _admit(plan),
        "dump": lambda: Dump(plan, _image_name(plan)).run(),
        "restore": lambda: _fetch(plan),
        "save": lambda: Save(plan, _image_name(plan)).run(),
        "keep": lambda: keeping.keep(plan),
        "drop": lambda: keeping.drop(plan),
        FETCH: lambda: fetching.fetch(plan),
    }
    try:
        return steps[step]()
    except (MoveError, CarryError, ChildError, KcmsError, image.ImageError) as error:
        return plain(str(error)), False, {}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told
        traceback.print_exc()
        return plain(f"the step {step} failed on {plan.host}: {error}"), False, {}


def _check(plan: Plan) -> Outcome:
    started = durable.read(plan.record, "started") or {}
    if not started.get("can_move"):
        raise MoveError("the job was started by a release that cannot move it")
    found = Look(plan).at_running()
    if not found.ok:
        return found.message, False, {}
    closed = opened.closed_to_root(cgroup.pids(plan.cgroup))
    if closed:
        raise MoveError(admit.closed_sentence(closed, plan.host))
    return "", False, found.data


def _admit(plan: Plan) -> Outcome:
    why = _judge(plan, plan.capability)
    return why, False, {} if why else plan.move.data


def _judge(plan: Plan, capability: dict[str, str]) -> str:
    return admit.judge(
        plan.move, plan.host, plan.shared_directories, str(plan.directory), capability
    )


# the target -------------------------------------------------------------------------------------


def _fetch(plan: Plan) -> Outcome:
    """The image from the shared directory into ``image``, after it proved to be the source's."""
    told, laps, hands = plan.move.data, Laps("fetch"), Carrier(plan.ids, plan.watch)
    owner.prepare(plan.ids, 1)
    hands.prepare("get", str(told["image"]))
    why = _judge(plan, {"trouble": ""})  # what the job came to need since the step admit
    if why:
        raise MoveError(why)
    wanted = image.Digest(int(told["size"]), str(told["sha256"]))
    laps.lap("look")
    fetching.bring(plan, hands, str(told["image"]), wanted)
    laps.lap("fetch")
    laps.tell()
    return "", False, {}


# afterwards --------------------------------------------------------------------------------------


def _clean(plan: Plan) -> int:
    """Remove the image here and on the shared directory; exit status 1: try again later."""
    inmemory.remove(plan.directory / "image")
    path = _shared_path(plan)
    if path:
        try:
            Carrier(plan.ids).remove(path)
        except CarryError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except Forbidden as error:  # the account is gone here; the source has its ids on record
            sys.stderr.write(f"{error}\n")
    with contextlib.suppress(FileExistsError):
        durable.create(str(plan.directory), "cleaned", {"time": time.time()})
    return 0


def _shared_path(plan: Plan) -> str:
    """Of the image: as it was chosen here, or as the source told it."""
    placed = durable.read(str(plan.directory), "placed")
    if placed is not None:
        return str(placed["image"])
    return str(plan.move.data.get("image", "")) if plan.move.step == "restore" else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

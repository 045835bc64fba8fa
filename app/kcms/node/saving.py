"""The save of a job on its node: a dump that lets the job go on, and its image on record.

The job stands still from its freeze until criu is done and not longer: it goes on whatever came of
that, before the image is written.  One that was found frozen is suspended, and stays so.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from kcms.jobs.checkpoint import Image
from kcms.node import (
    admit,
    cgroup,
    durable,
    image,
    init,
    inmemory,
    movable,
    opened,
    owner,
    rollback,
)
from kcms.node.about import MOST, About
from kcms.node.about import NAME as ABOUT
from kcms.node.carrier import NAME
from kcms.node.carry import Carrier, CarryError
from kcms.node.child import ChildError
from kcms.node.dumping import (
    QUESTIONS,
    Dump,
    dumped,
    movable_data,
    waiting_for_child,
    written_files,
)
from kcms.node.move_error import MoveError, plain
from kcms.node.move_plan import Outcome
from kcms.node.owner import OwnerError

KILLED = "the job was killed while it was saved"


class Save(Dump):
    """One save; ``name`` is the image's on the shared directory."""

    suspended = False
    path = ""
    thawed = 0.0

    def run(self) -> Outcome:
        """When it fails, nothing is left on the shared directory."""
        began = init.boottime()
        try:
            saved = self._save()
        except (MoveError, CarryError, OwnerError, ChildError, image.ImageError) as error:
            return self._give_up(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told
            traceback.print_exc()
            return self._give_up(f"the save failed on {self.plan.host}: {error}")
        finally:
            self._keep_log()
            inmemory.remove(self.images)
            owner.dismiss()
        return "", self.touched, replace(saved, seconds=init.boottime() - began).document()

    def _give_up(self, message: str) -> Outcome:
        if self.path:
            with contextlib.suppress(CarryError):  # else it is removed when the move is undone
                Carrier(self.plan.ids).remove(self.path)
        return plain(message), self.touched, {}

    def _save(self) -> Image:
        trouble = self.plan.capability.get("trouble")
        if trouble:
            raise MoveError(trouble)
        refuse(self.plan.move.spec, durable.read(self.plan.record, "started") or {})
        place = movable_data(self.look.at_running())["place"]
        closed = opened.closed_to_root(cgroup.pids(self.plan.cgroup))
        if closed:  # then no node could restore it
            raise MoveError(admit.closed_sentence(closed, self.plan.host))
        first = movable.find_init(self.plan.cgroup)
        self.carrier.make_place(place)
        path = os.path.join(place, NAME, self.name)  # noqa: PTH118 - a name, no path of root's
        durable.create(str(self.plan.directory), "placed", {"image": path})
        self._warm(first)
        owner.prepare(self.plan.ids, QUESTIONS + 1)
        when = time.time()
        try:
            self._freeze()
            about = self._image_of(first)
        finally:
            self._let_go()
        self.carrier.sync([each["path"] for each in about.lengths if each["use"] == "written"])
        (self.images / ABOUT).write_bytes(written(about))
        digest = self._put(path)
        return Image(
            self.plan.move.number, path, digest.size, digest.sha256, when, self.thawed - self.froze
        )

    def _image_of(self, first: int) -> About:
        """What the job is, with its image in ``image``; it stands still meanwhile."""
        needs = movable_data(self.look.at_frozen())
        told = self._numbers(needs["root"], first)
        lengths = self._lengths()
        self._criu(first, needs)
        if (Path(self.plan.record) / "kill").exists():
            raise MoveError(KILLED)  # the image may hold the signal that was to end it
        told["pids"] = sorted({*told["pids"], *dumped(self.images)})
        version = self.plan.capability.get("criu", "")
        return About(self.plan.host, version, needs=needs, lengths=lengths, **told)

    def _freeze(self) -> None:
        plan = self.plan
        plan.watch()
        if cgroup.is_held(plan.cgroup.removesuffix("/task")):
            raise MoveError("the job's unit is frozen; thaw it first")
        self.suspended = cgroup.is_held(plan.cgroup)
        if not self.suspended:
            durable.create(str(plan.directory), "held", {"time": time.time()})
            self.touched = True
            self._hold_all()
            return
        self._hold()  # once: it must not run, not even to stop at a better place
        if waiting_for_child(plan.cgroup):
            raise MoveError("a process of the suspended job waits for a child to start a program")

    def _let_go(self) -> None:
        """The job first, and then the word: without it the node daemon lets the job go."""
        if self.touched:
            cgroup.release(self.plan.cgroup)
        self.thawed = init.boottime()
        with contextlib.suppress(FileExistsError):
            durable.create(str(self.plan.directory), "copied", {"time": time.time()})

    def _lengths(self) -> list[dict[str, Any]]:
        shared = owner.ask(self.plan.ids, {"shared": self.plan.shared_directories})["shared"]
        uses = {path: use for path, use in uses_of(self.plan.cgroup).items() if below(path, shared)}
        found = owner.ask(self.plan.ids, {"look": list(uses)}, program=rollback.__file__)["files"]
        return rows(uses, found)

    def _put(self, path: str) -> image.Digest:
        """Write the image, and see that what is there can be read, is the same, and lasts."""
        self.path = path
        digest = super()._put(path)
        self.carrier.sync([path, os.path.dirname(path)])  # noqa: PTH120 - no path of root's
        image.verify(self.carrier.get(path), digest)
        self.plan.watch()
        return digest


def refuse(spec: dict[str, Any], started: dict[str, Any]) -> None:
    """:raises MoveError: a job of this kind has no checkpoints on a node"""
    if spec.get("ranks"):
        raise MoveError("a job with ranks cannot be saved by its nodes")
    if not started.get("can_move"):
        raise MoveError("the job was started by a release that cannot move it")


def written(about: About) -> bytes:
    """:raises MoveError: no node would read all of it"""
    document = json.dumps(about.document()).encode()
    if len(document) > MOST:
        raise MoveError(
            f"the job has {len(about.processes)} processes and {len(about.lengths)} files open on "
            "shared directories, more than a checkpoint can tell of"
        )
    return document


def uses_of(task_cgroup: str) -> dict[str, str]:
    """What use the job has for each regular file that it has open, see :mod:`rollback`."""
    found = dict.fromkeys(written_files(task_cgroup, also_read=True), "read")
    return found | dict.fromkeys(written_files(task_cgroup), "written")


def below(path: str, shared: list[str]) -> bool:
    return any(path.startswith(each.rstrip("/") + "/") for each in shared)


def rows(uses: dict[str, str], found: list[list[int]]) -> list[dict[str, Any]]:
    """Of files that are there still, as :mod:`kcms.node.rollback` takes them."""
    return [
        {"path": path, "use": use, **dict(zip(("size", "mtime", "inode", "end"), row, strict=True))}
        for (path, use), row in zip(uses.items(), found, strict=True)
        if row
    ]

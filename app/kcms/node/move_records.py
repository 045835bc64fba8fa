"""The records of migrations on disk: one directory a move, each file whole or absent.

``JOB.TASK.EPOCH-STORE_NUMBER/`` below the state directory's ``moves`` (root's, 0700) holds

============  =======  =====================================================================
wanted.json   daemon   what :class:`kcms.node.move_plan.Plan` needs; replaced at each step
STEP.begun    mover    time; made once, so that a step is never done twice
held          mover    a save is about to freeze the job, which ran
copied        both     a save let the job go again, or found that it was to stand still
STEP.result   both     ok, message, touched, data; by the daemon when the mover is gone
placed        mover    path of the image on the shared directory, before it is written
image         mover    criu's files, while they are needed
undone        daemon   the move is no longer wanted
cleaned       mover    nothing is left of it here and on the shared directory
============  =======  =====================================================================
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs.migration import WantedMove
from kcms.node import durable
from kcms.node.moves import STEPS_HERE, MoveId, MoveRecord, Result


class MoveRecords:
    """The directory of move records.  Every method raises OSError when the disk does."""

    def __init__(self, state_directory: str | Path) -> None:
        self.directory = Path(state_directory) / "moves"

    def open(self) -> None:
        """Make the directory, and clear away what a killed daemon left half removed."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        for each in self.directory.iterdir():
            if each.name.startswith("."):
                shutil.rmtree(each)

    def path(self, move: MoveId) -> Path:
        return self.directory / str(move)

    def write(self, move: MoveId, plan: dict[str, Any]) -> None:
        """Make the record ready for a step."""
        path = self.path(move)
        if not path.exists():
            path.mkdir(mode=0o700)
            durable.sync_directory(str(self.directory))
        durable.replace(str(path), "wanted.json", plan)

    def plan(self, move: MoveId) -> dict[str, Any]:
        return durable.read(str(self.path(move)), "wanted.json") or {}

    def conclude(self, move: MoveId, step: str, result: Result) -> None:
        document = {
            "ok": result.ok,
            "message": result.message,
            "touched": result.touched,
            "data": result.data,
        }
        with contextlib.suppress(FileExistsError):
            durable.create(str(self.path(move)), f"{step}.result", document)

    def undo(self, move: MoveId, time: float) -> None:
        with contextlib.suppress(FileExistsError):
            durable.create(str(self.path(move)), "undone", {"time": time})

    def copied(self, move: MoveId, time: float) -> None:
        with contextlib.suppress(FileExistsError):
            durable.create(str(self.path(move)), "copied", {"time": time})

    def remove(self, move: MoveId) -> None:
        gone = self.directory / f".{move}.gone"
        with contextlib.suppress(FileNotFoundError):
            self.path(move).rename(gone)
            durable.sync_directory(str(self.directory))
            shutil.rmtree(gone)

    def moves(self) -> list[MoveId]:
        found = (MoveId.parse(each.name) for each in self.directory.iterdir())
        return sorted(each for each in found if each is not None)

    def load(self) -> dict[MoveId, MoveRecord]:
        """Every record there is."""
        return {each: read_record(self.path(each)) for each in self.moves()}

    def load_one(self, move: MoveId) -> MoveRecord:
        """The move's record, an empty one when there is none."""
        path = self.path(move)
        return read_record(path) if path.exists() else MoveRecord()

    def signature(self) -> tuple[tuple[str, ...], ...]:
        """Changes whenever a file of a record comes."""
        return tuple(self._names(each) for each in self.moves())

    def _names(self, move: MoveId) -> tuple[str, ...]:
        try:
            return tuple(sorted(each.name for each in self.path(move).iterdir()))
        except FileNotFoundError:
            return ()


def read_record(path: Path) -> MoveRecord:
    """One move's directory; one that cannot be understood says so in ``damaged``."""
    try:
        return _parse(path)
    except (OSError, ValueError, KeyError, TypeError, ProtocolError) as error:
        return MoveRecord(damaged=f"the node's record of the move in {path} is damaged: {error}")


def _parse(path: Path) -> MoveRecord:
    names = {each.name for each in path.iterdir()}
    plan = durable.read(str(path), "wanted.json")
    return MoveRecord(
        wanted=None if plan is None else WantedMove.parse(plan["move"], STEPS_HERE),
        begun=frozenset(each for each in STEPS_HERE if f"{each}.begun" in names),
        results={each: _result(path, each) for each in STEPS_HERE if f"{each}.result" in names},
        held="held" in names,
        copied="copied" in names,
        undone="undone" in names,
        cleaned="cleaned" in names,
    )


def _result(path: Path, step: str) -> Result:
    document = durable.read(str(path), f"{step}.result") or {}
    return Result(
        ok=document["ok"] is True,
        message=str(document["message"]),
        touched=document["touched"] is True,
        data=dict(document["data"]),
    )

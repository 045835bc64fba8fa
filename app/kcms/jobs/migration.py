"""Moving a running job to another node: the steps of one attempt, and what manager and nodes say.

The manager publishes the *moves* that it wants of a node beside the tasks; the node answers each
with what came of it.  Like everything between them they agree by level: a move that is asked for
twice is done once, and one that is no longer wanted is undone.

    phase       who acts   step      it answers
    checking    source     check     whether the job can be moved, and which local files it needs
    preparing   target     admit     whether it has the same files, and all else that it takes
    dumping     source     dump      frozen, image on the shared directory, its size and digest
    restoring   target     restore   restored from the verified image, and still frozen

While the target restores, the source is still wanted to dump: it holds the job.

Then the manager commits the task's new place: the one point of no return.  Before it, everything
is undone (the source thaws, the target drops what it made); after it, only forward (the target
thaws what it is now wanted to run, the source kills what nobody wants there any more).  A frozen
task thaws only when its manager wants it to run and wants no move of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs import checkpoint
from kcms.jobs.members import Members

STEPS = {"checking": "check", "preparing": "admit", "dumping": "dump", "restoring": "restore"}
"""The step that is wanted in each phase that is under way, in their order."""

SOURCE_STEPS = ("check", "dump")
KNOWN_STEPS = (*STEPS.values(), *checkpoint.STEPS)
"""What can be wanted of a node: the steps of a migration, and those of a checkpoint."""

OVER = ("possible", "refused", "failed", "done")
"""possible: only asked whether; refused: before anything was touched; failed: all undone."""


@dataclass(frozen=True)
class Migration:
    """One attempt to move a job, as its record has it; times are seconds since the epoch.

    ``number`` counts the attempts of the job from 1.  ``task`` is the one that moves, and ``epoch``
    the one that it gets on the target, never used before.  ``told`` has what each step so far
    answered, by its name; a step is handed the answer of the one before it.

    The figures are None as long as they are not known, or where a release does not tell them:
    ``predicted_bytes`` is the memory to be carried as the check counted it and
    ``predicted_seconds`` how long the job would stand still (:mod:`kcms.jobs.freezing`); ``bytes``
    is the size of the image and ``freeze_seconds`` the time from the freeze on the source to the
    decision that the job runs on the target (:mod:`kcms.manager.measured`).
    """

    number: int
    source: str
    target: str
    epoch: int
    phase: str
    by: str
    start_time: float
    check_only: bool = False
    end_time: float | None = None
    message: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    task: int = 0
    predicted_bytes: int | None = None
    predicted_seconds: float | None = None
    bytes: int | None = None
    freeze_seconds: float | None = None

    @property
    def over(self) -> bool:
        return self.phase in OVER

    @property
    def step(self) -> str:
        """What is wanted now.  :raises KeyError: it is over"""
        return STEPS[self.phase]

    @property
    def actor(self) -> str:
        """The node that the step is wanted of."""
        return self.source if self.step in SOURCE_STEPS else self.target

    def ended(self, phase: str, message: str, now: float) -> Migration:
        return replace(self, phase=phase, message=message, end_time=now, told={})

    def document(self) -> dict[str, Any]:
        """As API version 1 shows it."""
        document = asdict(self)
        del document["told"]
        return document


@dataclass(frozen=True)
class WantedMove:
    """What the manager wants of a node: one step of a migration.

    ``epoch`` is the task's on that node: the present one on the source, the coming one on the
    target.  ``data`` is what the step before answered.  The rest is as of a wanted task.
    """

    job: int
    task: int
    epoch: int
    store: str
    number: int
    step: str
    source: str
    target: str
    user: str
    uid: int
    gid: int
    spec: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    lease: float = 0.0

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any, steps: tuple[str, ...] = KNOWN_STEPS) -> WantedMove:
        """:raises ProtocolError: not such a document, or not one of these steps"""
        row = Members(document, "wanted move")
        return cls(
            job=row.whole("job"),
            task=row.whole("task"),
            epoch=row.whole("epoch"),
            store=row.store(),
            number=row.whole("number"),
            step=row.choice("step", steps),
            source=row.text("source"),
            target=row.text("target"),
            user=row.text("user"),
            uid=row.whole("uid"),
            gid=row.whole("gid"),
            spec=row.table("spec"),
            data=row.shallow("data", {}),
            restarts=row.whole("restarts", 0),
            lease=row.number("lease") if "lease" in row.members else 0.0,
        )


@dataclass(frozen=True)
class MoveReport:
    """What came of a step: ``ok`` is None while it is under way; ``message`` says why it is not.

    ``touched`` says of a step that did not come about whether the job noticed anything of it.
    """

    job: int
    task: int
    epoch: int
    store: str
    number: int
    step: str
    ok: bool | None = None
    message: str = ""
    touched: bool = False
    data: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> MoveReport:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "move report")
        ok = row.members.get("ok")
        if ok is not None and not isinstance(ok, bool):
            raise ProtocolError(f"not a move report: ok must be true, false or null, not {ok!r:.9}")
        return cls(
            job=row.whole("job"),
            task=row.whole("task"),
            epoch=row.whole("epoch"),
            store=row.store(),
            number=row.whole("number"),
            step=row.choice("step", KNOWN_STEPS),
            ok=ok,
            message=row.text("message", ""),
            touched=row.members.get("touched") is True,
            data=row.shallow("data", {}),
        )

"""What this node does about migrations: wanted moves x what is on disk x units -> instructions.

Pure, like :mod:`kcms.node.core`, and by the same rules: it compares levels, the units were listed
before the records were read, and a file that is made once decides for ever.

    record of a wanted move                       its step is
    no record, or one of an earlier step          begun: the record is made, the unit is started
    STEP.result                                   over; restore goes on with the task's own record
    STEP.begun, unit alive                        under way
    STEP.begun, unit over                         failed: interrupted
    neither                                       started, a few times

A move that its manager no longer wants is undone: a dump under way is told to give up (criu itself
is never ended, that would take the job with it), other steps are ended, what they left here and on
the shared directory is removed, and then the record.

A save is a dump that lets the job go on by itself.  It says on record when it is about to freeze a
job that ran (``held``), and when it has what it needs of it (``copied``).  When it ended in
between, the job is let go here, whatever its manager wants, as that job ran before.

A task that is to begin from an image has a move that no manager wants by that name: ``fetch``,
derived from the wanted task, see :mod:`kcms.node.fetches`.

What is frozen thaws when its manager wants it to run and wants no move of it that needs it frozen.
That is the undoing at the source and the commit at the target alike.  A task that is wanted to run
and to be suspended is frozen, too, and thaws when that is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kcms.jobs.migration import KNOWN_STEPS, MoveReport, WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import core
from kcms.node.core import TaskId

START_ATTEMPTS = 3
FETCH = "fetch"
"""The step that brings and prepares an image which a task is to begin from."""

STEPS_HERE = (*KNOWN_STEPS, FETCH)
"""Every step that there is on a node."""

STILL = ("dump", "restore")
"""Steps for which the task must stay frozen."""

TRACES = (*STILL, "save", FETCH)
"""Steps that leave something to be removed."""

NEVER_ENDED = ("dump", "save")
"""Steps that are told to give up, and not ended: that would take the job with them."""

INTERRUPTED = (
    "the step was interrupted on this node, which may have gone down or been short of memory"
)
UNDONE = "the move was undone on this node before"


class MoveId(NamedTuple):
    """A move on this node: the task's name here, and the number of the attempt."""

    task: TaskId
    number: int

    def __str__(self) -> str:
        return f"{self.task}_{self.number}"

    @classmethod
    def parse(cls, name: str) -> MoveId | None:
        """The move of that name, None for any other text."""
        head, _, tail = name.partition("_")
        task = TaskId.parse(head)
        if task is None or not tail.isdecimal():
            return None
        found = cls(task, int(tail))
        return found if str(found) == name else None

    @classmethod
    def of(cls, move: WantedMove | MoveReport) -> MoveId:
        return cls(TaskId(move.job, move.task, move.epoch, move.store), move.number)


@dataclass(frozen=True)
class Result:
    """The outcome of a step as its unit recorded it."""

    ok: bool
    message: str = ""
    touched: bool = False
    data: dict[str, Any] = field(default_factory=dict)


NOTHING = Result(False)


@dataclass(frozen=True)
class MoveRecord:
    """One move's directory.  ``damaged`` says why it cannot be read; the rest is then empty."""

    wanted: WantedMove | None = None
    begun: frozenset[str] = frozenset()
    results: Mapping[str, Result] = field(default_factory=dict)
    undone: bool = False
    cleaned: bool = False
    held: bool = False
    copied: bool = False
    damaged: str = ""

    @property
    def has_traces(self) -> bool:
        """Whether something is to be removed with it; an image that is kept is none of it."""
        left = any(each in self.begun for each in TRACES) and not self.kept
        return bool(self.damaged) or left

    @property
    def kept(self) -> bool:
        """Whether the manager has the image on record that was saved here."""
        return "keep" in self.results and self.results["keep"].ok

    @property
    def holds(self) -> bool:
        """Whether a save froze the job and has not let it go."""
        return self.held and not self.copied


@dataclass(frozen=True)
class Begin:
    """Make the record of the move ready for its step."""

    move: WantedMove


@dataclass(frozen=True)
class Run:
    """Start the unit of a step, or of ``clean``."""

    move: MoveId
    step: str


@dataclass(frozen=True)
class Conclude:
    """Record the outcome of a step whose unit can no longer do it."""

    move: MoveId
    step: str
    result: Result


@dataclass(frozen=True)
class Undo:
    """Put on record that the move is not wanted; ``stop``: and end its unit."""

    move: MoveId
    stop: bool


@dataclass(frozen=True)
class Remove:
    """Remove the record of the move."""

    move: MoveId


@dataclass(frozen=True)
class Thaw:
    """Let the task run."""

    task: TaskId


@dataclass(frozen=True)
class LetGo:
    """Take over a task that a save froze and left; ``thaw``: and let it run."""

    move: MoveId
    thaw: bool


@dataclass(frozen=True)
class Freeze:
    """Let the task stand still."""

    task: TaskId


Instruction = Begin | Run | Conclude | Undo | Remove | LetGo | Thaw | Freeze


@dataclass(frozen=True)
class Snapshot:
    """Everything that is known at one moment.

    ``wanted`` is None until the manager has been heard.  ``alive`` are the moves whose unit is;
    ``held`` the tasks whose cgroup is frozen.  ``attempts`` counts starts of a move's step.
    """

    wanted: Mapping[MoveId, WantedMove] | None
    records: Mapping[MoveId, MoveRecord]
    alive: Set[MoveId]
    held: Set[TaskId]
    tasks: core.Snapshot
    attempts: Mapping[tuple[MoveId, str], int] = field(default_factory=dict)


def decide(now: Snapshot) -> list[Instruction]:
    """The instructions for ``now``, in the order in which they are to be carried out."""
    instructions: list[Instruction] = list(_left_frozen(now))
    for each, move in sorted((now.wanted or {}).items()):
        instructions += _of_wanted(now, each, move)
    instructions += [Thaw(each) for each in sorted(now.held) if _may_run(now, each)]
    instructions += [
        Freeze(each)
        for each in to_suspend(now.tasks)
        if each not in now.held
        and not any(_is_with_criu(now, move) for move in _moves_of(now, each))
    ]
    if now.wanted is not None:
        for each in sorted(now.records.keys() - now.wanted.keys()):
            instructions += _of_unwanted(now, each)
    return instructions


def _left_frozen(now: Snapshot) -> Iterator[Instruction]:
    for each, record in sorted(now.records.items()):
        if record.holds and each not in now.alive:
            wanted = (now.tasks.wanted or {}).get(each.task)
            yield LetGo(each, thaw=wanted is None or not wanted.suspend)


def _of_wanted(now: Snapshot, move: MoveId, wanted: WantedMove) -> Iterator[Instruction]:
    record = now.records.get(move, MoveRecord())
    alive, fresh = move in now.alive, now.tasks.may_start
    if record.undone and not record.has_traces and not alive:
        yield Remove(
            move
        )  # of an earlier step, which is not wanted while the other node has its turn
    if record.damaged or record.undone or wanted.step in record.results:
        return
    others = (each for each in _moves_of(now, move.task) if each != move)
    if wanted.step in NEVER_ENDED and any(_is_with_criu(now, each) for each in others):
        return
    if record.wanted is None or record.wanted.step != wanted.step:
        if fresh and not alive:
            yield Begin(wanted)
            yield Run(move, wanted.step)
    elif alive:
        return
    elif wanted.step in record.begun:
        touched = wanted.step == "dump" or record.held
        yield Conclude(move, wanted.step, Result(False, INTERRUPTED, touched))
    elif now.attempts.get((move, wanted.step), 0) >= START_ATTEMPTS:
        text = f"the step {wanted.step} could not be started; the node's journal says why"
        yield Conclude(move, wanted.step, Result(False, text))
    elif fresh:
        yield Run(move, wanted.step)


def _of_unwanted(now: Snapshot, move: MoveId) -> Iterator[Instruction]:
    """A move of another job store than the manager's is not for it to end."""
    record, alive = now.records[move], move in now.alive
    if now.tasks.store is not None and move.task.store != now.tasks.store:
        return
    if not record.undone and (alive or record.has_traces) and not record.damaged:
        dumping = record.wanted is not None and record.wanted.step in NEVER_ENDED
        yield Undo(move, stop=not dumping)
    elif alive:
        return
    elif record.has_traces and not record.cleaned and not record.damaged:
        yield Run(move, "clean")
    else:
        yield Remove(move)


def _may_run(now: Snapshot, task: TaskId) -> bool:
    """Whether a frozen task is to be thawed."""
    wanted = (now.tasks.wanted or {}).get(task)
    record = now.tasks.records.get(task)
    if now.wanted is None or not now.tasks.may_start or wanted is None or wanted.want != "run":
        return False
    if wanted.suspend:
        return False
    if record is None or record.kill is not None or core.phase(now.tasks, task) != "running":
        return False
    if record.restoring or core.is_foreign(now.tasks, task) or core.superseded(now.tasks, task):
        return False
    return not any(_needs_still(now, move) for move in _moves_of(now, task))


def to_suspend(tasks: core.Snapshot) -> list[TaskId]:
    """The tasks that run and are to stand still."""
    wanted = tasks.wanted or {}
    return [each for each in sorted(wanted) if wanted[each].suspend and _may_be_frozen(tasks, each)]


def _may_be_frozen(tasks: core.Snapshot, task: TaskId) -> bool:
    record, wanted = tasks.records.get(task), (tasks.wanted or {})[task]
    if record is None or record.kill is not None or record.restoring or not tasks.may_start:
        return False
    if wanted.want != "run" or core.is_foreign(tasks, task) or core.superseded(tasks, task):
        return False
    return core.phase(tasks, task) == "running"


def _moves_of(now: Snapshot, task: TaskId) -> Iterator[MoveId]:
    for each in now.records.keys() | now.alive | (now.wanted or {}).keys():
        if each.task == task:
            yield each


def _is_with_criu(now: Snapshot, move: MoveId) -> bool:
    """Whether criu may be at work on the task: it lifts the freeze meanwhile, and would wait for
    ever for one that is frozen under it."""
    record = now.records.get(move, MoveRecord())
    return move in now.alive and (
        "dump" in record.begun or ("save" in record.begun and not record.copied)
    )


def _needs_still(now: Snapshot, move: MoveId) -> bool:
    if _is_with_criu(now, move):
        return True
    record = now.records.get(move, MoveRecord())
    wanted = (now.wanted or {}).get(move)
    if wanted is None or wanted.step not in STILL:
        return False
    result = record.results.get(wanted.step)
    return not (wanted.step == "dump" and result is not None and not result.ok)


def restores(
    wanted: Mapping[MoveId, WantedMove] | None, records: Mapping[MoveId, MoveRecord]
) -> dict[TaskId, WantedTask]:
    """The tasks that are to be started from an image which is here and verified."""
    found = {}
    for each, move in (wanted or {}).items():
        record = records.get(each, MoveRecord())
        fetched = record.results.get("restore")
        if move.step == "restore" and fetched is not None and fetched.ok and not record.undone:
            found[each.task] = WantedTask(
                move.job, move.task, move.epoch, "run", move.user, move.uid, move.gid, move.spec,
                store=move.store, restarts=move.restarts, lease=move.lease,
            )  # fmt: skip
    return found


def reports(now: Snapshot) -> tuple[MoveReport, ...]:
    """What came of every wanted move."""
    return tuple(
        _report(each, move, _outcome(now, each, move))
        for each, move in sorted((now.wanted or {}).items())
        if move.step in KNOWN_STEPS
    )


def _report(move: MoveId, wanted: WantedMove, result: Result | None) -> MoveReport:
    names = (*move.task[:3], move.task.store, move.number, wanted.step)
    if result is None:
        return MoveReport(*names)
    return MoveReport(*names, result.ok, result.message, result.touched, dict(result.data))


def _outcome(now: Snapshot, move: MoveId, wanted: WantedMove) -> Result | None:
    record = now.records.get(move, MoveRecord())
    if record.damaged:
        return Result(False, record.damaged, wanted.step == "dump")
    if record.undone:
        return Result(False, UNDONE) if record.has_traces else None
    result = record.results.get(wanted.step)
    if result is None or not result.ok:
        return result
    if wanted.step == "dump":
        return (
            result if _stands_still(now, move.task) else Result(False, _moved_on(now, move), True)
        )
    return result if wanted.step != "restore" else _restored(now, move.task)


def _stands_still(now: Snapshot, task: TaskId) -> bool:
    record = now.tasks.records.get(task)
    running = core.phase(now.tasks, task) == "running"
    return running and task in now.held and record is not None and record.kill is None


def _moved_on(now: Snapshot, move: MoveId) -> str:
    record = now.tasks.records.get(move.task)
    if record is not None and record.kill is not None:
        return "the job was killed while it was being moved"
    if core.phase(now.tasks, move.task) != "running":
        return "the job ended while it was being moved"
    return "the job was thawed while it was being moved"


def _restored(now: Snapshot, task: TaskId) -> Result | None:
    """How far the task's init is."""
    record = now.tasks.records.get(task)
    if record is None:
        return None
    current = core.phase(now.tasks, task)
    if current == "refused":
        return Result(False, record.refused or "the restore was refused")
    if current in core.FINAL:
        return Result(False, "the restored job ended before it was let go")
    if current == "launching" or record.restoring:
        return None
    if record.kill is not None or task not in now.held:
        return Result(False, "the restored job was killed before it was let go")
    return Result(True)

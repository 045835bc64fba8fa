"""Jobs, tasks and what nodes say of them, as values; times are seconds since the epoch (UTC).

The ``document`` methods give the JSON of API version 1.  A *task* is one placement of a job on a
node; its *epoch* counts the placements of that task, so that a late word about an older one is
known as such.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs.states import State, check_move


@dataclass(frozen=True)
class Exit:
    """How a task ended, as its init recorded it.

    ``code`` is the exit status, or None when ``signal`` ended it.  ``processes_killed`` counts
    what was still alive when the end was enforced, ``processes_left`` what was left after it.
    ``usage`` has ``cpu_seconds``, ``max_rss_kib`` and ``source`` (where the figures come from).
    """

    code: int | None
    signal: int | None
    time: float
    processes_killed: int = 0
    processes_left: int = 0
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One task of a job: where it is and how it went."""

    index: int
    epoch: int
    node: str
    state: State
    start_time: float | None = None
    exit: Exit | None = None
    message: str = ""


@dataclass(frozen=True)
class Job:
    """A job as the manager knows it.  ``spec`` is what :func:`kcms.jobs.spec.check_spec` gave."""

    id: int
    cluster: str
    user: str
    uid: int
    gid: int
    spec: dict[str, Any]
    submit_host: str
    submit_time: float
    state: State = State.PENDING
    reason: str = ""
    start_time: float | None = None
    end_time: float | None = None
    key: str | None = None
    killed_by: str | None = None
    tasks: tuple[Task, ...] = ()

    @property
    def priority(self) -> int:
        return int(self.spec["priority"])

    def moved(self, after: State, **changes: Any) -> Job:
        """The job in another state.  :raises Conflict: when the table has no such move"""
        check_move(self.id, self.state, after)
        return replace(self, state=after, **changes)

    def document(self) -> dict[str, Any]:
        """The job as API version 1 shows it."""
        document = asdict(self)
        document["state"] = self.state.value
        document["name"] = self.spec["name"]
        document["priority"] = self.priority
        for task in document["tasks"]:
            task["state"] = task["state"].value
        document["tasks"] = list(document["tasks"])
        return document


PHASES = ("launching", "running", "ended", "refused", "lost")


@dataclass(frozen=True)
class TaskReport:
    """What a node says of one task.

    ``phase``: *launching* (the unit may or may not run), *running*, *ended* (``exit`` is set),
    *refused* (never started; ``message`` says why), *lost* (started, and no record of its end).
    """

    job: int
    task: int
    epoch: int
    phase: str
    start_time: float | None = None
    exit: Exit | None = None
    message: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> TaskReport:
        """:raises ProtocolError: not such a document"""
        try:
            values = dict(document)
            if values.get("exit") is not None:
                values["exit"] = Exit(**values["exit"])
            report = cls(**values)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"not a task report: {error}") from error
        if report.phase not in PHASES or not all(
            type(each) is int for each in (report.job, report.task, report.epoch)
        ):
            raise ProtocolError(f"not a task report: {document!r}")
        return report


@dataclass(frozen=True)
class WantedTask:
    """What the manager wants of one task on a node: that it runs, or that it is killed."""

    job: int
    task: int
    epoch: int
    want: str  # "run" or "kill"
    user: str
    uid: int
    gid: int
    spec: dict[str, Any]
    grace: float = 5.0

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> WantedTask:
        """:raises ProtocolError: not such a document"""
        try:
            wanted = cls(**document)
        except TypeError as error:
            raise ProtocolError(f"not a wanted task: {error}") from error
        if wanted.want not in ("run", "kill"):
            raise ProtocolError(f"a task can be wanted 'run' or 'kill', not {wanted.want!r}")
        return wanted


@dataclass(frozen=True)
class NodeReport:
    """What a node daemon says of its node: ``load`` has load_one (float), cpu_num (int),
    mem_total and mem_free (KB), all as the monitor names them."""

    boot_id: str
    release: str
    slots: int
    load: dict[str, float]
    tasks: tuple[TaskReport, ...] = ()

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> NodeReport:
        """:raises ProtocolError: not such a document"""
        try:
            values = dict(document)
            values["tasks"] = tuple(TaskReport.parse(each) for each in values.get("tasks", ()))
            report = cls(**values)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"not a node report: {error}") from error
        if type(report.slots) is not int or not isinstance(report.load, dict):
            raise ProtocolError("not a node report: slots must be a number and load a table")
        return report

"""Jobs, tasks and what nodes say of them, as values; times are seconds since the epoch (UTC).

The ``document`` methods give the JSON of API version 1.  A *task* is one placement of a job on a
node; its *epoch* counts the placements of that task, so that a late word about an older one is
known as such.  A task is named by these numbers and the id of the job store that gave them: a store
that was made anew, or another manager's, gives the same numbers to other jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs.states import State, check_move


class Members:
    """The members of a document that another machine sent, each checked when it is taken.

    Members that are not asked for are passed over: a newer release may say more.
    """

    def __init__(self, document: Any, what: str) -> None:
        if not isinstance(document, dict):
            raise ProtocolError(f"not a {what}: it must be an object")
        self.members = document
        self.what = what

    def _take(self, name: str, default: Any, fits: Callable[[Any], bool], kind: str) -> Any:
        value = self.members.get(name, default)
        if not fits(value):
            raise ProtocolError(f"not a {self.what}: {name} must be {kind}, not {value!r:.100}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text that can be stored: what is no Unicode, or too long, is replaced or cut."""
        value = self._take(name, default, lambda each: isinstance(each, str), "a text")
        return str(value)[:TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8")

    def whole(self, name: str, default: int | None = None) -> int:
        return int(self._take(name, default, _is_whole, "a whole number from 0 to 2**53"))

    def whole_or_none(self, name: str) -> int | None:
        return None if self.members.get(name) is None else self.whole(name)

    def number(self, name: str) -> float:
        return float(self._take(name, None, _is_number, "a number"))

    def number_or_none(self, name: str) -> float | None:
        return None if self.members.get(name) is None else self.number(name)

    def store(self) -> str:
        return str(self._take("store", "", _is_store, "8 hexadecimal digits"))


TEXT_LIMIT = 4096
_STORE = re.compile(r"(?:[0-9a-f]{8})?")
"""The id of a job store; empty in what was recorded before stores had one."""


def _is_store(value: Any) -> bool:
    return isinstance(value, str) and _STORE.fullmatch(value) is not None


def task_name(job: int, task: int, epoch: int, store: str) -> str:
    """A task's name on its node: of its record, of its unit and in messages."""
    return f"{job}.{task}.{epoch}" + (f"-{store}" if store else "")


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 1 << 53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300


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

    @classmethod
    def parse(cls, document: Any) -> Exit:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "exit record")
        usage = row.members.get("usage", {})
        if not isinstance(usage, dict):
            raise ProtocolError("not an exit record: usage must be a table")
        return cls(
            code=row.whole_or_none("code"),
            signal=row.whole_or_none("signal"),
            time=row.number("time"),
            processes_killed=row.whole("processes_killed", 0),
            processes_left=row.whole("processes_left", 0),
            usage=usage,
        )


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
    store: str = ""

    @property
    def name(self) -> str:
        return task_name(self.job, self.task, self.epoch, self.store)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> TaskReport:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "task report")
        record = row.members.get("exit")
        report = cls(
            job=row.whole("job"),
            task=row.whole("task"),
            epoch=row.whole("epoch"),
            phase=row.text("phase"),
            start_time=row.number_or_none("start_time"),
            exit=None if record is None else Exit.parse(record),
            message=row.text("message", ""),
            store=row.store(),
        )
        if report.phase not in PHASES:
            raise ProtocolError(f"not a task report: {report.phase!r:.100} is no phase")
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
    store: str = ""

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
        if not _is_store(wanted.store):
            raise ProtocolError(f"a store is named by 8 hexadecimal digits, not {wanted.store!r}")
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
        row = Members(document, "node report")
        load = Members(row.members.get("load"), "load of a node report")
        tasks = row.members.get("tasks", [])
        if not isinstance(tasks, list):
            raise ProtocolError("not a node report: tasks must be a list")
        return cls(
            boot_id=row.text("boot_id"),
            release=row.text("release"),
            slots=row.whole("slots"),
            load={name: load.number(name) for name in load.members},
            tasks=tuple(TaskReport.parse(each) for each in tasks),
        )

"""What a user may ask of a job: one table that the command line, modules and API all follow.

Standard library only: the command line and the Ansible modules load it on every call.
"""

from __future__ import annotations

import json
from collections.abc import Callable

# Relative, as the Ansible collection carries these files under another package.
from . import staged
from .spec_values import (
    DEPENDENCIES,
    DURATION_LIMIT,
    KEY_LIMIT,
    NAME_LIMIT,
    PRIORITY_LIMIT,
    SPEC_BYTES_LIMIT,
    SpecError,
    check_arguments,
    check_boolean,
    check_choice,
    check_dependency,
    check_duration,
    check_environment,
    check_interval,
    check_kept_path,
    check_line,
    check_moment,
    check_name,
    check_number,
    check_path,
    check_priority,
    check_size,
    duration_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

CLASSES = ("single", "batch", "parallel")
ATTACHED = ("terminal", "pipes")
LOAD_METRICS = ("load", "queue", "load_memory")
FAILURES = ("end", "continue")
SAVE_SIGNALS = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2")
SAVED = ("checkpoint_interval", "checkpoint_signal")
TASKS_LIMIT = 10_000
CPUS_LIMIT = 4096
ARGUMENTS_LIMIT = 1024
TASK_MARK = "%t"
MARKED_EVERYWHERE = ("/dev/null", "/dev/full")

__all__ = [
    "APART",
    "ATTACHED",
    "CLASSES",
    "DEPENDENCIES",
    "DURATION_LIMIT",
    "FIELDS",
    "INTERACTIVE",
    "KEY_LIMIT",
    "NAME_LIMIT",
    "PRIORITY_LIMIT",
    "SPEC_BYTES_LIMIT",
    "STAGED",
    "TASKS_LIMIT",
    "Field",
    "SpecError",
    "check_key",
    "check_repeatable",
    "check_spec",
    "check_together",
    "defaults",
    "duration_text",
    "given",
    "is_interactive",
    "same",
    "task_count",
]


class Field:
    """One row of the table.  (A dataclass or NamedTuple would cost every submission 6 ms.)

    ``name`` is the key in JSON and in the Ansible modules, ``check`` returns the clean value or
    raises :class:`SpecError`, ``default`` is used when the field is absent, unless ``required``.
    ``title`` is the field's name on the 2003 form (K14).  ``kind`` is what the command line, the
    modules and the API document make of it: text, path, integer, boolean, duration (of seconds),
    moment (seconds since the epoch), size (MiB), list or table (of texts);
    ``choices`` are all the values there are, where they can be listed.
    """

    def __init__(
        self,
        name: str,
        title: str,
        check: Callable[[Any], Any],
        text: str,
        default: Any = None,
        required: bool = False,
        kind: str = "text",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.title = title
        self.check = check
        self.text = text
        self.default = default
        self.required = required
        self.kind = kind
        self.choices = choices


FIELDS: tuple[Field, ...] = (
    Field("name", "Job Name", check_name, "name shown in lists; the executable's by default"),
    Field(
        "class",
        "Job Classification",
        check_choice(CLASSES),
        "single: one task; batch: total_tasks independent ones, each told its index; parallel: "
        "total_tasks that start together, each told its rank and all hosts",
        "single",
        choices=CLASSES,
    ),
    Field(
        "executable",
        "Executing File",
        check_path,
        "program, on the shared directory",
        required=True,
        kind="path",
    ),
    Field(
        "argument_count",
        "No. of Arguments",
        check_number(0, ARGUMENTS_LIMIT),
        "how many arguments there are, where that is to be checked; as many as are given by "
        "default",
        kind="integer",
    ),
    Field("arguments", "Arguments", check_arguments, "arguments of the program", (), kind="list"),
    Field(
        "base_directory",
        "Base Directory",
        check_path,
        "where it starts; the user's home by default",
        kind="path",
    ),
    Field(
        "input",
        "Input File",
        check_path,
        "file read as standard input; %j, %t and %u as of the output; /dev/null by default",
        kind="path",
    ),
    Field(
        "output",
        "Output File",
        check_path,
        "file that takes standard output, kcms-%j.out or, with several tasks, kcms-%j.%t.out in "
        "the base directory by default; %j is the job's id, %t the task's index, %u the user",
        kind="path",
    ),
    Field(
        "error",
        "Error Log File",
        check_path,
        "file that takes standard error; the output by default",
        kind="path",
    ),
    Field(
        "tasks_per_node",
        "No. of Tasks/Node",
        check_number(1, TASKS_LIMIT),
        "tasks of it on one node at once, at the most; as many as there are slots by default",
        kind="integer",
    ),
    Field(
        "total_tasks",
        "No. of Total Tasks",
        check_number(1, TASKS_LIMIT),
        "tasks of a batch or parallel job, with the indexes from 0 on",
        kind="integer",
    ),
    Field(
        "cpus_per_task",
        "CPUs/Task",
        check_number(1, CPUS_LIMIT),
        "slots that each of its tasks takes",
        1,
        kind="integer",
    ),
    Field(
        "task_failure",
        "When a Task Fails",
        check_choice(FAILURES),
        "end: the other tasks are killed, and the job ends as that task did (parallel by default); "
        "continue: they go on (batch by default)",
        choices=FAILURES,
    ),
    Field(
        "time_limit",
        "Time Limit",
        check_duration,
        "time that each task may run, suspended or not, such as 90m or 1-12:00:00; then it is "
        "killed, and ends as TIMEOUT; none by default",
        kind="duration",
    ),
    Field(
        "memory",
        "Memory Size",
        check_size,
        "memory of each task, such as 512M or 2G, MiB without a suffix: it goes where so much is "
        "not promised to others, and ends when it takes more; no limit by default",
        kind="size",
    ),
    Field(
        "rss_limit",
        "RSS Limit",
        check_size,
        "resident memory of any one of its processes, written the same way: it ends when one takes "
        "more; no limit by default",
        kind="size",
    ),
    Field(
        "dependency",
        "Dependency",
        check_dependency,
        "jobs it is to follow: afterok:12 when job 12 has completed, afternotok:12 when it ended "
        "otherwise, afterany:12 however it ended, after:12 once it began",
        (),
        kind="list",
    ),
    Field(
        "begin_time",
        "Begin Time",
        check_moment,
        "it starts no sooner, such as 2030-12-24T18:00, or +2h for from now on",
        kind="moment",
    ),
    Field("hold", "Hold", check_boolean, "it waits until it is released", False, kind="boolean"),
    Field("priority", "Priority", check_priority, "higher starts first", 0, kind="integer"),
    Field(
        "partition",
        "Partition",
        check_name,
        "queue whose nodes it is to run on; any node of the cluster by default",
    ),
    Field(
        "load_metric",
        "Load Metric",
        check_choice(LOAD_METRICS),
        "what makes a node the best one: load, its load average; queue, its processes that run or "
        "wait for a CPU; load_memory, its load and its memory",
        "load",
        choices=LOAD_METRICS,
    ),
    Field(
        "requeue",
        "Requeue",
        check_boolean,
        "it is begun anew when its node is lost; KCMS_RESTART_COUNT tells it so",
        False,
        kind="boolean",
    ),
    Field(
        "restart_from_checkpoint",
        "Restart from Check Point",
        check_boolean,
        "it keeps its own checkpoints: it is begun anew when its node is lost and when a signal "
        "ended it, and goes on from them; KCMS_RESTART_COUNT tells it so",
        False,
        kind="boolean",
    ),
    Field(
        "checkpoint_interval",
        "Check Point Interval",
        check_interval,
        "how often each task is saved while it runs, such as 30m, or auto for what is best by its "
        "cost and the losses of nodes here, or none; it is begun anew when its node is lost and "
        "when a signal ended it, from its last checkpoint; as the site has it by default",
        kind="duration",
    ),
    Field(
        "checkpoint_signal",
        "Check Point Signal",
        check_choice(SAVE_SIGNALS),
        "signal at which it saves itself: checkpoints of it are this signal to its first process, "
        "and it goes on from them by itself when KCMS_RESTART_COUNT says that it is begun anew",
        choices=SAVE_SIGNALS,
    ),
    Field(
        "on_end",
        "On the End",
        check_path,
        "program, on the shared directory, that is run as a job of its own when this one is over, "
        "however it ended; KCMS_ENDED_JOB, KCMS_ENDED_STATE and KCMS_ENDED_REASON tell it how",
        kind="path",
    ),
    Field("comment", "Comment", check_line, "a line shown with the job"),
    Field(
        "environment",
        "Environment",
        check_environment,
        "variables added to a login's few",
        {},
        kind="table",
    ),
)

INTERACTIVE = Field(
    "interactive",
    "Interactive",
    check_choice(ATTACHED),
    "somebody is attached to it: by a terminal, or by pipes",
    choices=ATTACHED,
)
"""A row apart: ``kcms run`` alone sets it, as nobody else would attach.  A specification has it
only where it is set, so that a manager that does not know it takes all others."""

STAGED = Field(
    "staged",
    "Staged Files",
    staged.check_staged,
    "which of executable and input are files in ~/.kcms/stage of the host that submits it, each as "
    "SHA256:BYTES: a node that has not that file brings it from there; --stage sets it",
    kind="table",
)
"""A row apart as well: the command line sets it itself, and the page has no files to stage."""

APART = (INTERACTIVE, STAGED)
_BY_NAME = {each.name: each for each in (*FIELDS, *APART)}


def check_spec(document: Any, kept: bool = False) -> dict[str, Any]:
    """Return the complete, clean specification for what a caller sent.

    :param kept: it is on record already, maybe since an older release
    :raises SpecError: not an object, unknown field, missing field, a field's own complaint, or
        too large as a whole
    """
    if not isinstance(document, dict):
        raise SpecError("a job specification must be an object")
    for key in document:
        if key not in _BY_NAME:
            raise SpecError(f"unknown field {key!r}; known are {', '.join(_BY_NAME)}")
    clean = {each.name: _checked(each, document.get(each.name), kept) for each in FIELDS}
    for row in APART:
        told = document.get(row.name)
        if told is not None and (value := _checked(row, told)):
            clean[row.name] = value
    if clean["name"] is None:
        clean["name"] = _derived_name(clean["executable"])
    check_together(clean)
    size = len(json.dumps(clean, ensure_ascii=False).encode())
    if size > SPEC_BYTES_LIMIT:
        raise SpecError(
            f"the specification is {size} bytes of JSON, and {SPEC_BYTES_LIMIT} is the most: "
            "put long arguments or an environment into a file that the program reads"
        )
    return clean


def check_together(clean: dict[str, Any]) -> None:
    """What fields must be to each other.  :raises SpecError: they are not"""
    count, given = clean["argument_count"], len(clean["arguments"])
    if count is not None and count != given:
        raise SpecError(f"argument_count is {count}, and {given} arguments are given")
    single = clean["class"] == "single"
    if clean.get("staged"):
        staged.check_paths(clean)
    if is_interactive(clean):
        _check_attached(clean)
    for name in ("total_tasks", "tasks_per_node", "task_failure"):
        if single and clean[name] not in (None, 1):
            raise SpecError(f"{name} is of batch and parallel jobs, and this one is single")
    _check_saved(clean)
    if not single and clean["total_tasks"] is None:
        raise SpecError(f"total_tasks is missing, which a {clean['class']} job needs")
    for name in ("output", "error") if not single else ():
        path = clean[name]
        if path is not None and TASK_MARK not in path and path not in MARKED_EVERYWHERE:
            raise SpecError(
                f"{name} {path} needs %t in the file's name, as each task writes a file of its own"
            )


def _check_saved(clean: dict[str, Any]) -> None:
    for name in SAVED if clean["class"] == "parallel" else ():
        if clean[name]:
            raise SpecError(f"{name} is of single and batch jobs, and this one is parallel")


def _check_attached(clean: dict[str, Any]) -> None:
    """What an interactive job cannot have.  :raises SpecError: it does"""
    if clean["class"] != "single":
        raise SpecError(f"an interactive job is single, and this one is {clean['class']}")
    for name in ("input", "output", "error", "staged"):
        if clean.get(name):
            raise SpecError(
                f"{name} cannot be set of an interactive job: it reads from and writes to kcms run"
            )
    for name in ("requeue", "restart_from_checkpoint", *SAVED):
        if clean[name]:
            raise SpecError(f"{name} cannot be set of an interactive job: it begins once")


def begins_anew(spec: dict[str, Any]) -> bool:
    """Whether the job is begun anew when its node is lost, however silent that is."""
    asked = spec.get("requeue") or spec.get("restart_from_checkpoint")
    return bool(asked or save_interval(spec))


def save_interval(spec: dict[str, Any]) -> int | str | None:
    """Seconds between two checkpoints of a task, auto, or None for never."""
    found: int | str | None = spec.get("checkpoint_interval")
    return found or None


def is_interactive(spec: dict[str, Any]) -> bool:
    """Whether somebody is attached to the job."""
    return bool(spec.get("interactive"))


def task_count(spec: dict[str, Any]) -> int:
    """How many tasks a job has; that of an older release has one."""
    return int(spec.get("total_tasks") or 1)


def defaults() -> dict[str, Any]:
    """What each field is that nobody gave."""
    return {each.name: _checked(each, None) for each in FIELDS if not each.required}


def given(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification without what is as by default: an older manager may not know the field."""
    usual = defaults()
    return {name: value for name, value in spec.items() if value != usual.get(name)}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two complete specifications ask for the same, be one of an older release."""
    usual = defaults()
    return {**usual, **one} == {**usual, **other}


def _derived_name(executable: str) -> str:
    """A name that :func:`_name` takes, whatever the program's file is called."""
    last = executable.rstrip("/").rpartition("/")[2]
    name = "".join(each if each.isprintable() else "?" for each in last)[:NAME_LIMIT]
    return name if name.strip() else "?"


def check_key(value: Any) -> str | None:
    """The key of a submission, if it has one.  :raises SpecError: it cannot be one"""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= KEY_LIMIT or not value.isprintable():
        raise SpecError(f"key must be 1 to {KEY_LIMIT} printable characters, not {value!r:.200}")
    return value


def check_repeatable(spec: dict[str, Any], key: str | None) -> None:
    """:raises SpecError: what is asked for under a key would be something else at the next time"""
    begin = spec.get("begin_time")
    if key is not None and isinstance(begin, str) and begin.strip().startswith("+"):
        raise SpecError(
            f"begin_time {begin} is another time at each call: with a key, name the time"
        )


def _checked(row: Field, value: Any, kept: bool = False) -> Any:
    if value is None:
        if row.required:
            raise SpecError(f"{row.name} is missing ({row.text})")
        fresh = {"list": list, "table": dict}.get(row.kind)
        return fresh(row.default) if fresh else row.default
    try:
        return (check_kept_path if kept and row.kind == "path" else row.check)(value)
    except SpecError as error:
        raise SpecError(f"{row.name} {error}") from None

"""How far a job is safe from the loss of its node, and what its document says of it."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.jobs import ladder
from kcms.jobs.checkpoint import Image
from kcms.jobs.checkpointing import NONE, Kept, Saved
from kcms.jobs.model import Job, Task
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State

KEPT = Kept(Image(3, "/shared/x", 10, "ab", 1003.0, 0.2, 1.5), 1, "a1")


def job(*saved: Saved, **fields: Any) -> Job:
    spec = check_spec({"executable": "/shared/x", **fields})
    tasks = tuple(Task(at, 1, "a1", State.RUNNING, saved=each) for at, each in enumerate(saved))
    return Job(1, "alpha", "alice", 1, 1, spec, "a1", 1000.0, State.RUNNING, tasks=tasks)


FAILED = NONE.failed("a1: it has a connection to outside", 1002.0)


@pytest.mark.parametrize(
    ("found", "rung", "why"),
    [
        (job(), "beginning", "no checkpoint was asked for: kcms checkpoint makes one"),
        (job(checkpoint_interval=60), "transparent", "its first checkpoint is not made yet"),
        (
            job(Saved((KEPT,))),
            "transparent",
            "it goes on from its last checkpoint when kcms restart",
        ),
        (job(Saved((KEPT,)), requeue=True), "transparent", "it goes on from its last checkpoint"),
        (job(FAILED, checkpoint_interval=60), "beginning", "it has a connection to outside"),
        (job(FAILED, restart_from_checkpoint=True), "own", "it keeps its own checkpoints"),
        (job(Saved((KEPT,)), restart_from_checkpoint=True), "transparent", "last checkpoint"),
        (job(checkpoint_signal="USR1"), "own", "it saves itself when it gets SIGUSR1"),
        (job(**{"class": "parallel"}, total_tasks=2), "beginning", "it is parallel"),
        (job(interactive="pipes"), "beginning", "it is interactive"),
    ],
)
def test_a_job_stands_on_a_rung_and_says_why(found: Job, rung: str, why: str) -> None:
    where, told = ladder.rung(found)
    assert (where, why in told) == (rung, True), told


def test_a_job_that_is_begun_anew_by_itself_needs_nobody_to_tell_it() -> None:
    assert ladder.rung(job(Saved((KEPT,)), requeue=True))[1] == ladder.BACK


@pytest.mark.parametrize(
    ("found", "seconds", "why"),
    [
        (job(), None, ""),
        (job(checkpoint_interval=0), None, ""),
        (job(checkpoint_interval="90s"), 90, "00:01:30 as asked for"),
        (job(checkpoint_interval="auto"), 300.0, "auto: the first is made after 00:05:00"),
        (job(Saved(interval=720.0, why="the best"), checkpoint_interval="auto"), 720.0, "the best"),
    ],
)
def test_the_interval_is_told_with_its_reason(found: Job, seconds: float | None, why: str) -> None:
    told = ladder.interval(found)
    assert told[0] == seconds
    assert told[1].startswith(why)
    for task in found.tasks:
        assert ladder.seconds_between(found, task) == seconds


def test_the_document_tells_the_newest_of_all_tasks() -> None:
    older = Kept(Image(1, "/shared/y", 9, "cd", 1001.0), 1, "a1")
    begun = Saved((older,)).asked(4, "alice", 1005.0).begun()
    told = ladder.document(job(begun, Saved((KEPT,), note="n"), FAILED))
    assert told["last"]["task"] == 1
    assert (told["last"]["number"], told["last"]["size"]) == (3, 10)
    assert [(each["task"], each["number"], each["begun"]) for each in told["under_way"]] == [
        (0, 4, True)
    ]
    assert told["failure"] == FAILED.failure
    assert told["note"] == "n"


def test_a_task_that_was_never_saved_has_nothing_to_tell() -> None:
    assert NONE.document() is None
    assert NONE.record() is None
    assert Saved.of_record(None) is NONE

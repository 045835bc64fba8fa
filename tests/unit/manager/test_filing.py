"""Which file of a job is told of, to which host, and what a ticket for it opens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from kcms.jobs.model import STAGING, Job, Task, TaskReport
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import ending, tickets
from kcms.manager.filing import Source, Wish, claims, source_of
from kcms.manager.tickets import FILE, Ticket, Tickets
from tests.unit.jobs.test_staged import ENTRY, HOME, PATH

SPEC = {
    "executable": PATH,
    "staged": {"executable": ENTRY},
    "class": "batch",
    "total_tasks": 2,
    "output": f"{HOME}/o.%j.%t",
    "error": f"{HOME}/o.%j.%t",
}


def job(**fields: Any) -> Job:
    tasks = (
        Task(0, 1, "alpha2", State.RUNNING, start_time=1.0),
        Task(1, 1, "alpha3", State.COMPLETED, start_time=1.0),
    )
    made = Job(7, "alpha", "alice", 2001, 2001, check_spec(SPEC), "alpha1", 0.0, State.RUNNING)
    return replace(made, tasks=tasks, **fields)


def wish(which: str = "executable", act: str = "read", **more: Any) -> Wish:
    return Wish.parse({"which": which, "act": act, **more})


def test_a_staged_file_goes_to_who_has_an_open_task_of_the_job() -> None:
    source = source_of(job(), wish(), "alpha2")
    assert source == Source("alpha1", PATH, staged=True, size=7)
    for other in ("alpha1", "alpha3", "head"):
        with pytest.raises(Forbidden, match=f"{other} has no task of job 7"):
            source_of(job(), wish(), other)
    with pytest.raises(NotFound, match="the input of job 7 is not staged"):
        source_of(job(), wish("input"), "alpha2")
    with pytest.raises(InvalidRequest, match="read alone"):
        source_of(job(), wish(act="look"), "alpha2")


def test_what_a_task_wrote_is_on_the_node_that_ran_it() -> None:
    assert source_of(job(), wish("output", task=1), "head") == Source("alpha3", f"{HOME}/o.7.1")
    named = wish("file", path="/var/tmp/%j")
    assert source_of(job(), named, "alpha1") == Source("alpha2", "/var/tmp/%j")
    with pytest.raises(NotFound, match="task 5 of job 7 has not begun"):
        source_of(job(), wish("error", task=5), "head")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"which": "base_directory", "act": "read"},
        {"which": "output", "act": "write"},
        {"which": "output", "act": ["read"]},
        {"which": "output", "act": "read", "task": -1},
        {"which": "output", "act": "read", "begin": "0"},
        {"which": "output", "act": "read", "size": True},
        {"which": "output", "act": "read", "path": "/etc/shadow"},
        {"which": "file", "act": "read"},
        {"which": "file", "act": "read", "path": "shadow"},
        {"which": "file", "act": "read", "path": "/a\nb"},
        {"which": "file", "act": "read", "path": 7},
    ],
)
def test_what_is_no_wish_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Wish.parse(body)


def test_a_ticket_is_for_one_file_of_one_user_read_in_one_way_once() -> None:
    one = wish("output", task=1, begin=5)
    told = claims(job(), one, source_of(job(), one, "head"))
    assert told == {
        "job": 7,
        "user": "alice",
        "uid": 2001,
        "gid": 2001,
        "which": "output",
        "act": "read",
        "path": f"{HOME}/o.7.1",
        "staged": False,
        "begin": 5,
        "size": None,
    }
    made = Tickets(lambda: 0.0)
    secret = made.issue(Ticket(FILE, "head", "alpha3", told))
    other = made.issue(Ticket(FILE, "head", "alpha3", {**told, "begin": 6}))
    assert made.redeem(secret, "head", "alpha3").claims == told
    with pytest.raises(Forbidden):
        made.redeem(secret, "head", "alpha3")
    assert made.redeem(other, "head", "alpha3")


def test_one_user_cannot_take_all_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "OF_ONE", 2)
    made = Tickets(lambda: 0.0)
    for begin in range(2):
        made.issue(Ticket(FILE, "head", "alpha3", {"uid": 1, "begin": begin}))
    with pytest.raises(Unavailable):
        made.issue(Ticket(FILE, "head", "alpha3", {"uid": 1, "begin": 3}))
    assert made.issue(Ticket(FILE, "head", "alpha3", {"uid": 2, "begin": 3}))


def test_a_file_that_cannot_be_had_now_is_told_apart_from_one_that_never_can() -> None:
    said = TaskReport(7, 0, 1, "refused", message="cannot bring executable", cause=STAGING)
    found = ending.end_of(job(), job().tasks[0], said)
    assert (found.state, found.unstaged, found.unready) == (State.FAILED, True, False)
    assert found.reason == "alpha2: cannot bring executable"
    assert not ending.end_of(job(), job().tasks[0], replace(said, cause="")).unstaged

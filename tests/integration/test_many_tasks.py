"""Jobs of many tasks before the manager: nobody is told of all of them who did not ask for that,
and nobody waits while that is put together."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.listed import ALL, LISTED_TASKS, Listed
from kcms.jobs.model import ABILITIES, Exit, Job, Task
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import api
from kcms.manager.documents import job_json
from kcms.manager.store import Reader, Store
from tests.integration.managed import FakeNode, Peer, code

MANY = 40


@pytest.fixture
async def big(alice: Peer, node: FakeNode) -> FakeNode:
    """Job 1 runs, with many tasks on one node, and 5 of them wait."""
    node.abilities, node.slots = ABILITIES, MANY - 5
    await node.report()
    fields: dict[str, Any] = {"class": "batch", "total_tasks": MANY}
    await alice.submit(**fields)
    await node.follow()
    return node


async def indexes(peer: Peer, query: str = "") -> list[int]:
    status, job = await peer.call("GET", f"/v1/jobs/1{query}")
    assert status == 200, job
    assert sum(job["task_counts"].values()) == MANY
    return [task["index"] for task in job["tasks"]]


async def test_as_many_tasks_are_told_of_as_are_asked_for(alice: Peer, big: FakeNode) -> None:
    assert await indexes(alice) == list(range(MANY - 5))
    assert await indexes(alice, "?tasks=0") == []
    assert await indexes(alice, "?tasks=3") == [0, 1, 2]
    assert await indexes(alice, "?tasks=3&task=30") == [0, 1, 2, 30]
    assert await indexes(alice, "?task=30") == [30]
    assert await indexes(alice, "?task=39") == []


async def test_so_it_is_once_the_job_is_over(alice: Peer, big: FakeNode) -> None:
    await alice.call("POST", "/v1/jobs/1/kill")
    await big.follow()
    assert (await alice.job(1))["state"] == "CANCELLED"
    assert await indexes(alice) == list(range(MANY - 5))
    assert await indexes(alice, "?tasks=0") == []
    assert await indexes(alice, "?tasks=2&task=30") == [0, 1, 30]
    assert await indexes(alice, "?task=39") == []
    answer = await alice.call("POST", "/v1/jobs/1/kill", {"task": 3})
    assert code(answer) == (409, "conflict")
    assert "task 3 of job 1 is over already (CANCELLED)" in answer[1]["error"]["message"]


@pytest.mark.parametrize("query", ["tasks=-1", "tasks=x", "tasks=10001", "task=-1", "task="])
async def test_what_is_no_number_of_tasks(alice: Peer, big: FakeNode, query: str) -> None:
    assert code(await alice.call("GET", f"/v1/jobs/1?{query}")) == (400, "invalid_request")


async def test_what_changes_a_job_tells_of_a_few_tasks(alice: Peer, big: FakeNode) -> None:
    for act, body, named in (
        ("suspend", {}, []),
        ("resume", {}, []),
        ("signal", {"signal": "USR1", "task": 30}, [30]),
        ("kill", {"task": 31}, [31]),
        ("requeue", {"check": True}, []),
        ("kill", {}, []),
    ):
        status, job = await alice.call("POST", f"/v1/jobs/1/{act}", body)
        assert status in (200, 202), (act, job)
        listed = [task["index"] for task in job["tasks"]]
        assert listed == [*range(LISTED_TASKS), *named], act
        assert sum(job["task_counts"].values()) == MANY
        await big.report()


def noted(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: list[tuple[Any, ...]]
) -> None:
    """Write down what a function is asked and whether that is in the loop's thread."""
    real: Callable[..., Any] = getattr(owner, name)
    loop = threading.current_thread()

    def call(*given: Any) -> Any:
        calls.append((threading.current_thread() is loop, *given))
        return real(*given)

    monkeypatch.setattr(owner, name, call)


async def test_what_takes_long_is_not_done_in_the_loop(
    alice: Peer, big: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []
    noted(monkeypatch, api, "job_json", made)
    await alice.job(1)
    assert [in_loop for in_loop, *_ in made] == [False]
    await alice.call("POST", "/v1/jobs/1/kill")
    await big.follow()
    read: list[tuple[Any, ...]] = []
    noted(monkeypatch, Reader, "job", read)
    await alice.job(1)
    await alice.call("GET", "/v1/jobs/1?tasks=0")
    assert [(in_loop, listed) for in_loop, _, _, listed in read] == [
        (False, ALL),
        (False, Listed(0)),
    ]


async def test_a_report_has_a_job_that_is_over_looked_up_once(
    alice: Peer, big: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = dict(big.tasks)
    await alice.call("POST", "/v1/jobs/1/kill")
    await big.follow()
    big.tasks = running  # the node was restored from what it was before
    read: list[tuple[Any, ...]] = []
    noted(monkeypatch, Reader, "job", read)
    await big.report()
    assert len(read) == 1


def over(size: int) -> Job:
    states = (State.COMPLETED, State.FAILED, State.COMPLETED, State.RUNNING, State.PENDING)
    spec = check_spec({"executable": "/x", "class": "batch", "total_tasks": size + 2})
    record = Exit(0, None, 2.0, usage={"cpu_seconds": 1.5})
    tasks = tuple(Task(i, 1, "a", states[i % 5], 1.0, record) for i in range(size))
    return Job(1, "alpha", "bob", 1, 1, spec, "h", 1.0, State.FAILED, end_time=2.0, tasks=tasks)


@pytest.mark.parametrize("most", [None, 0, 1, 7, 30, 49, 60])
@pytest.mark.parametrize("task", [None, 0, 33, 51])
def test_the_store_has_the_same_tasks_as_the_memory(
    tmp_path: Path, most: int | None, task: int | None
) -> None:
    store, job, listed = Store(str(tmp_path), "alpha"), over(50), Listed(most, task)
    try:
        store.commit([job], [])
        found = store.job(1, listed)
        assert found is not None
        assert found.document() == listed.of(job).document()
        assert store.job(2, listed) is None
        assert json.loads(job_json(found, listed)) == found.document()
    finally:
        store.close()

"""What jobs took, from the store and over the API."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.errors import InvalidRequest
from kcms.jobs.checkpointing import Saved
from kcms.jobs.model import Exit, Job, Task
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import accounting
from kcms.manager.accounting import FIGURES, Question
from kcms.manager.store import Store
from tests.integration.managed import FakeNode, Peer, code

DAY = 86400.0
SPEC = check_spec({"executable": "/shared/x"})


def over(number: int, end: float | None, user: str = "alice", **changes: Any) -> Job:
    values = {"state": State.COMPLETED, "submit_time": 1.0, "tasks": (), **changes}
    submit = values.pop("submit_time")
    return Job(number, "alpha", user, 1, 1, SPEC, "a1", submit, end_time=end, **values)


def task(index: int, begun: float | None, end: float | None, **usage: Any) -> Task:
    record = None if end is None else Exit(0, None, end, usage=usage)
    return Task(index, 1, "alpha1", State.COMPLETED, begun, record)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(str(tmp_path), "alpha")
    yield made
    made.close()


def rows(store: Store, *period: float, user: str | None = None) -> list[dict[str, Any]]:
    return store.accounting(Question(period[0], period[1], user))


def test_jobs_are_summed_by_day_user_and_state(store: Store) -> None:
    took = {"cpu_seconds": 2.0, "user_seconds": 1.5, "system_seconds": 0.5, "max_rss_kib": 100}
    more = {"read_bytes": 1 << 40, "write_bytes": 7}
    two = (
        replace(task(0, 10.0, 20.0, **took, **more), saved=Saved(count=2, size_sum=20, frozen=1.0)),
        replace(task(1, 10.0, 12.5, **took), saved=Saved(count=1, size_sum=10, frozen=0.5)),
    )
    store.commit(
        [
            over(1, 20.0, tasks=two),
            over(2, DAY - 0.5, tasks=(task(0, DAY - 2, DAY - 1, max_rss_kib=300),)),
            over(3, DAY, tasks=(task(0, DAY - 5, DAY),)),
            over(4, 5.0, "bob", state=State.CANCELLED),  # it never began
            over(5, 50.0, "bob", state=State.NODE_FAIL, tasks=(task(0, 20.0, None),)),
            over(6, None, state=State.RUNNING, tasks=(task(0, 1.0, None),)),
        ],
        [],
    )
    first, second, third, fourth = rows(store, 0, 2 * DAY)
    assert first == {
        "day": "1970-01-01",
        "user": "alice",
        "state": "COMPLETED",
        "jobs": 2,
        "tasks": 3,
        "core_seconds": 13.5,
        "cpu_seconds": 4.0,
        "user_seconds": 3.0,
        "system_seconds": 1.0,
        "max_rss_kib": 300,
        "read_bytes": 1 << 40,
        "write_bytes": 7,
        "checkpoints": 3,
        "checkpoint_bytes": 30,
        "checkpoint_seconds": 1.5,
    }
    assert [second[each] for each in ("user", "state", "jobs", "tasks")] == [
        *("bob", "CANCELLED", 1, 0),
    ]
    assert [third[each] for each in ("state", "tasks", "core_seconds", "cpu_seconds")] == [
        *("NODE_FAIL", 1, 30.0, 0.0),
    ]
    assert (fourth["day"], fourth["jobs"]) == ("1970-01-02", 1)
    assert [each["day"] for each in rows(store, DAY, 2 * DAY)] == ["1970-01-02"]
    assert [each["jobs"] for each in rows(store, 0, DAY, user="alice")] == [2]
    assert rows(store, 0, 5) == []


def test_records_of_an_earlier_release_count(store: Store) -> None:
    usage = {"cpu_seconds": 1.5, "max_rss_kib": 10.0, "source": "cgroup cpu.stat, wait maxrss"}
    store.commit([over(1, 20.0, tasks=(task(0, 10.0, 20.0, **usage),))], [])
    (row,) = rows(store, 0, DAY)
    assert (row["cpu_seconds"], row["max_rss_kib"], row["read_bytes"]) == (1.5, 10, 0)


def test_a_period_is_looked_up_and_not_searched_for(store: Store) -> None:
    values = {"since": 0.0, "until": 1.0, "user": None, "most": 1}
    plan = store._reader.execute(f"EXPLAIN QUERY PLAN {accounting.SQL}", values).fetchall()
    assert any("jobs_end" in row[3] for row in plan), plan


@pytest.mark.parametrize(
    ("query", "period"),
    [
        ({}, (40 * DAY - 30 * DAY, 40 * DAY)),
        ({"since": "5"}, (5.0, 40 * DAY)),
        ({"until": "86400.5"}, (0.0, 86400.5)),
        ({"since": "", "until": ""}, (10 * DAY, 40 * DAY)),
    ],
)
def test_a_period(query: dict[str, str], period: tuple[float, float]) -> None:
    assert Question.of(query, None, 40 * DAY) == Question(*period)


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "nan"},
        {"until": "-1"},
        {"until": "1e300"},
        {"since": "9", "until": "8"},
    ],
)
def test_what_is_no_period(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        Question.of(query, None, 40 * DAY)


async def test_users_see_their_own_and_root_all(
    alice: Peer, bob: Peer, root: Peer, node: FakeNode
) -> None:
    await node.report()
    await alice.submit()
    await bob.submit()
    await node.follow()
    node.end([1, 2])
    await node.report()
    path = "/v1/accounting?since=0"
    status, told = await alice.call("GET", path)
    assert (status, told["since"], told["more"]) == (200, 0.0, False)
    assert abs(told["until"] - time.time()) < 60
    assert [(each["user"], each["jobs"]) for each in told["rows"]] == [("alice", 1)]
    assert set(told["rows"][0]) == {"day", "user", "state", *FIGURES}
    assert told["rows"][0]["core_seconds"] == 1000.0
    both = (await root.call("GET", path))[1]["rows"]
    assert [each["user"] for each in both] == ["alice", "bob"]
    one = (await root.call("GET", f"{path}&user=bob"))[1]["rows"]
    assert [each["user"] for each in one] == ["bob"]
    assert code(await alice.call("GET", f"{path}&user=bob")) == (403, "forbidden")
    assert code(await alice.call("GET", "/v1/accounting?since=x")) == (400, "invalid_request")


async def test_there_is_a_most(
    alice: Peer, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.report()
    for _ in range(2):
        await alice.submit()
    await node.follow()
    node.end([1])
    node.end([2], code=1)
    await node.report()
    for most, more in ((1, True), (2, False)):
        monkeypatch.setattr("kcms.manager.accounting.MOST_ROWS", most)
        monkeypatch.setattr("kcms.manager.api.MOST_ROWS", most)
        told = (await alice.call("GET", "/v1/accounting?since=0"))[1]
        assert (len(told["rows"]), told["more"]) == (most, more)

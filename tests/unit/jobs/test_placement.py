"""Which job goes where: tables of clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.jobs import placement
from kcms.jobs.model import ABILITIES, ATTACH, STAGE, Job
from kcms.jobs.placement import Candidate, Plan, kind_of
from tests.unit.jobs.test_queue import job


def node(name: str, **changes: Any) -> Candidate:
    values: dict[str, Any] = {"up": True, "slots": 2, "used": 0, "load": 0.0, "cpus": 2}
    return Candidate(name=name, **{**values, **changes})


def place(
    jobs: list[Job], nodes: Iterable[Candidate], partitions: dict[str, frozenset[str]] | None = None
) -> Plan:
    """The plan, with the reason of each job of which some stay among its reasons."""
    lines: dict[placement.Kind, list[Job]] = {}
    for each in jobs:
        lines.setdefault(kind_of(each), []).append(each)
    plan = placement.place(lines, nodes, partitions)
    went = Counter(each.job for each in plan.placements)
    stay = [each for each in jobs if went[each.id] < each.unplaced_count]
    return replace(
        plan,
        reasons={each.id: plan.reasons.get(each.id) or plan.rest[kind_of(each)] for each in stay},
    )


def placed(count: int, *nodes: Candidate) -> list[tuple[int, str]]:
    jobs = [job(number) for number in range(1, count + 1)]
    return [(each.job, each.node) for each in place(jobs, nodes).placements]


def test_an_idle_node_goes_before_a_loaded_one() -> None:
    assert placed(1, node("a", load=1.5), node("b", load=0.2)) == [(1, "b")]


def test_load_counts_for_each_cpu() -> None:
    assert placed(1, node("a", load=2.0, cpus=2), node("b", load=4.0, cpus=16)) == [(1, "b")]


def test_jobs_of_one_round_are_spread_although_the_load_does_not_show_them_yet() -> None:
    assert placed(4, node("a"), node("b")) == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]


def test_what_runs_already_counts_before_it_shows_in_the_load() -> None:
    assert placed(1, node("a", used=1), node("b")) == [(1, "b")]


@pytest.mark.parametrize(
    "unfit", [node("a", up=False), node("a", used=2), node("a", slots=0), node("a", used=9)]
)
def test_a_node_that_cannot_take_it_is_passed_over(unfit: Candidate) -> None:
    assert placed(1, unfit, node("b", load=50.0)) == [(1, "b")]


def test_never_more_than_the_slots() -> None:
    result = placed(9, node("a", slots=1), node("b", slots=3, cpus=8))
    assert sorted(name for _, name in result) == ["a", "b", "b", "b"]
    assert [number for number, _ in result] == [1, 2, 3, 4]


def test_each_job_that_waits_has_its_reason() -> None:
    jobs = [job(1), job(2)]
    assert place(jobs, [node("a", slots=1)]).reasons == {2: "every slot is taken"}
    assert place(jobs, [node("a", up=False)]).reasons == {1: "no node is up", 2: "no node is up"}
    assert place(jobs, []).reasons == {1: "no node is up", 2: "no node is up"}


def test_nobody_is_looked_at_once_every_slot_is_taken() -> None:
    looked_at = []

    def waiting() -> Iterator[Job]:
        for number in range(1, 100):
            looked_at.append(number)
            yield job(number)

    lines = {kind_of(job(1)): waiting()}
    plan = placement.place(lines, [node("a", slots=2), node("b", slots=1)])
    assert (len(plan.placements), plan.reasons) == (3, {})
    assert set(plan.rest.values()) == {"every slot is taken"}
    assert looked_at == [1, 2, 3, 4]


def test_what_finds_no_room_keeps_its_kind_back_and_nobody_else() -> None:
    jobs = [large(1, 900), large(2, 900), job(3), large(4, 900), large(5, 10)]
    lines: dict[placement.Kind, list[Job]] = {}
    for each in jobs:
        lines.setdefault(kind_of(each), []).append(each)
    plan = placement.place(lines, [node("a", slots=9, memory=1000)])
    assert [each.job for each in plan.placements] == [1, 3, 5]
    assert plan.reasons.keys() == {2}
    assert plan.rest.keys() == {kind_of(jobs[1])}


def test_a_tie_goes_to_the_first_name_whatever_the_order() -> None:
    assert placed(1, node("b"), node("a")) == placed(1, node("a"), node("b")) == [(1, "a")]


def test_a_node_without_cpus_divides_by_nothing() -> None:
    assert placed(1, node("a", cpus=0)) == [(1, "a")]


def test_a_drained_node_gets_nothing() -> None:
    assert placed(3, node("a", drained=True), node("b")) == [(1, "b"), (2, "b")]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("a", drained=True)], "every node that is up is drained"),
        ([node("a", drained=True, used=2)], "every node that is up is drained"),
        ([node("a", drained=True, up=False)], "no node is up"),
        ([node("a", used=2)], "every slot is taken"),
        *(
            (
                [node("a", used=2), *(node(name, drained=True, used=used) for name in more)],
                "every slot is taken, and some nodes are drained",
            )
            for used in (0, 1, 2)
            for more in ("b", "bc")
        ),
    ],
)
def test_why_it_waits_does_not_change_with_every_slot(nodes: list[Candidate], reason: str) -> None:
    assert place([job(1)], nodes).reasons == {1: reason}


def large(number: int, memory: int) -> Job:
    found = job(number)
    found.spec["memory"] = memory
    return found


def test_memory_is_promised_once() -> None:
    nodes = [node("a", slots=4, memory=1000, promised=300), node("b", slots=4, memory=600)]
    plan = place([large(1, 600), large(2, 500), large(3, 500), job(4)], nodes)
    where = {each.job: each.node for each in plan.placements}
    assert where == {1: where[1], 2: where[2], 4: where[4]}
    assert {where[1], where[2]} == {"a", "b"}
    assert plan.reasons == {3: "500 MiB of memory are not free on any node with a free slot"}


def test_what_no_node_has_is_said_so() -> None:
    plan = place([large(1, 2000)], [node("a", memory=1000), node("b", memory=4000, drained=True)])
    assert plan.reasons == {1: "no node in use has 2000 MiB of memory"}
    assert place([large(1, 1)], [node("a", used=2, memory=9)]).reasons == {1: "every slot is taken"}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 900), st.integers(0, 900)), max_size=5),
    st.lists(st.integers(0, 700), max_size=12),
)
def test_no_node_is_ever_promised_more_than_it_has(
    kinds: list[tuple[int, int, int]], wanted: list[int]
) -> None:
    nodes = [
        node(f"n{at}", slots=slots, memory=memory, promised=promised)
        for at, (slots, memory, promised) in enumerate(kinds)
    ]
    waiting = [large(number, memory) for number, memory in enumerate(wanted, start=1)]
    plan = place(waiting, nodes)
    assert {each.job for each in plan.placements} | plan.reasons.keys() == {
        each.id for each in waiting
    }
    for each in nodes:
        here = [wanted[one.job - 1] for one in plan.placements if one.node == each.name]
        assert len(here) + each.used <= max(each.slots, each.used)
        asked = [memory for memory in here if memory]
        assert not asked or sum(asked) + each.promised <= each.memory


def test_what_is_limited_goes_where_limits_are_kept() -> None:
    old = node("a", memory=4000, abilities=frozenset())
    timed = job(1)
    timed.spec["time_limit"] = 60
    assert place([timed, job(2)], [old]).reasons == {
        1: "no node in use has a release that keeps to limits"
    }
    where = {
        each.job: each.node
        for each in place([timed, large(2, 9)], [old, node("b", memory=9)]).placements
    }
    assert where == {1: "b", 2: "b"}


def wide(number: int, **fields: Any) -> Job:
    found = job(number)
    found.spec.update(fields)
    return found


def where(plan: Any) -> list[tuple[int, int, str]]:
    return [(each.job, each.task, each.node) for each in plan.placements]


def test_the_tasks_of_a_batch_job_go_wherever_there_is_room() -> None:
    batch = wide(1, **{"class": "batch", "total_tasks": 5})
    plan = place([batch, job(2)], [node("a"), node("b")])
    assert where(plan) == [(1, 0, "a"), (1, 1, "b"), (1, 2, "a"), (1, 3, "b")]
    assert plan.reasons == {1: "every slot is taken", 2: "every slot is taken"}


def test_a_parallel_job_goes_as_a_whole_or_not_at_all() -> None:
    whole = wide(1, **{"class": "parallel", "total_tasks": 4})
    plan = place([whole, job(2)], [node("a", slots=4, used=1), node("b", slots=2, cpus=4)])
    assert where(plan) == [(1, 0, "b"), (1, 1, "b"), (1, 2, "a"), (1, 3, "a"), (2, 0, "a")]
    plan = place([whole, job(2)], [node("a", slots=3, used=1), node("b", slots=2, used=1)])
    assert where(plan) == [(2, 0, "a")]
    assert plan.reasons == {1: "there is no room for its 4 tasks at once yet"}


@pytest.mark.parametrize(
    ("metric", "best"), [("load", "quiet"), ("queue", "short"), ("load_memory", "empty")]
)
def test_the_metric_says_which_node_is_best(metric: str, best: str) -> None:
    nodes = [
        node("quiet", load=0.1, queue=5.0, memory=1000, free=10),
        node("short", load=0.9, queue=0.0, memory=1000, free=100),
        node("empty", load=0.4, queue=3.0, memory=1000, free=990),
    ]
    assert where(place([wide(1, load_metric=metric)], nodes)) == [(1, 0, best)]


def test_a_partition_is_where_its_jobs_go() -> None:
    nodes = [node("a"), node("b", load=5.0)]
    short = {"short": frozenset({"b"}), "gone": frozenset({"z"})}
    plan = place([wide(1, partition="short"), wide(2, partition="gone")], nodes, short)
    assert where(plan) == [(1, 0, "b")]
    assert plan.reasons == {2: "no node of partition gone is up and in use"}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=5),
    st.lists(
        st.tuples(
            st.sampled_from(["batch", "parallel"]), st.integers(1, 6), st.integers(1, 3),
            st.sampled_from([None, 1, 2]),
        ),
        max_size=6,
    ),
)  # fmt: skip
def test_no_node_gets_more_tasks_than_it_has_room_for(
    kinds: list[tuple[int, int]], wanted: list[tuple[str, int, int, int | None]]
) -> None:
    nodes = [node(f"n{at}", slots=slots, used=used) for at, (slots, used) in enumerate(kinds)]
    waiting = [
        wide(at, **{"class": kind, "total_tasks": tasks, "cpus_per_task": cpus,
                    "tasks_per_node": most})
        for at, (kind, tasks, cpus, most) in enumerate(wanted, start=1)
    ]  # fmt: skip
    plan = place(waiting, nodes)
    assert len(set(where(plan))) == len(plan.placements)
    for each in nodes:
        here = [wanted[one.job - 1] for one in plan.placements if one.node == each.name]
        assert not here or sum(cpus for _, _, cpus, _ in here) + each.used <= each.slots
        for at, (_, _, _, most) in enumerate(wanted, start=1):
            mine = [one for one in plan.placements if (one.job, one.node) == (at, each.name)]
            assert most is None or len(mine) <= most
    for at, (kind, tasks, _, _) in enumerate(wanted, start=1):
        placed = sum(one.job == at for one in plan.placements)
        assert (placed < tasks) == (at in plan.reasons)
        assert kind != "parallel" or placed in (0, tasks)


def test_what_nobody_could_be_attached_to_keeps_nothing_else_waiting() -> None:
    attached = replace(job(1), spec={**job(1).spec, "interactive": "pipes"})
    without = frozenset(ABILITIES) - {ATTACH}
    plan = place([attached, job(2)], [node("a", abilities=without)])
    assert [(each.job, each.node) for each in plan.placements] == [(2, "a")]
    assert plan.reasons == {1: "no node in use takes interactive jobs"}
    plan = place([attached], [node("a", abilities=without), node("b", load=9.0)])
    assert plan.placements[0].node == "b"


def test_a_staged_job_goes_where_its_files_can_be_brought() -> None:
    staged = replace(job(1), spec={**job(1).spec, "staged": {"executable": f"{'0' * 64}:1"}})
    without = frozenset(ABILITIES) - {STAGE}
    plan = place([staged], [node("a", abilities=without)])
    assert not plan.placements
    assert "takes staged jobs" in plan.reasons[1]
    assert place([staged], [node("a", abilities=without), node("b")]).placements[0].node == "b"

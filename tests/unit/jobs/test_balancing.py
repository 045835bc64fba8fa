"""Who gives, who takes, what moves, and the sentence for everything that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.jobs.balancing import AT_ONCE, Mover, Seen, decide, gained
from kcms.jobs.freezing import Past
from kcms.jobs.pressure import GIVES, LISTENING, NEITHER, TAKES, Marks, Track, smoothed
from kcms.jobs.resting import LONGEST, Rest

MARKS = Marks()
MIB = 1 << 20


def mover(job: int = 1, age: float = 600.0, **fields: object) -> Mover:
    made = Mover(job, 0, f"job {job}", 1.0, age, size=50 * MIB, targets=("b", "c"))
    return replace(made, **fields)  # type: ignore[arg-type]


def giver(*movers: Mover, demand: float = 3.0, name: str = "a") -> Seen:
    return Seen(name, 2, demand, GIVES, movers=movers)


def taker(name: str = "b", demand: float = 0.0, cpus: int = 2) -> Seen:
    return Seen(name, cpus, demand, TAKES)


def test_the_one_of_which_most_is_gained_goes_and_says_why() -> None:
    verdict = decide([giver(mover(1, 300.0), mover(2, 900.0)), taker()], MARKS)
    (move,) = verdict.moves
    assert (move.job, move.source, move.target, move.gain) == (2, "a", "b", 900.0)
    assert move.cost == pytest.approx(2 * (0.3 + 50 * MIB / 150e6))
    assert move.message == (
        "job 2 from a (1.50 for each CPU) to b (0.00): expected to run for 900 s more, in which "
        "900 CPU seconds more are done; the move costs 1.3"
    )
    assert verdict.notes == {(1, 0): "another goes first from a"}


def test_what_is_gained_is_what_is_at_work_more() -> None:
    assert gained(giver(demand=3.0), taker(), 1.0) == 1.0
    assert gained(giver(demand=2.5), taker(), 1.0) == 0.5
    assert gained(giver(demand=2.0), taker(), 1.0) == 0.0
    assert gained(giver(demand=4.0), taker(demand=1.5), 1.0) == 0.5
    assert gained(giver(demand=4.0), taker(demand=2.0), 1.0) == 0.0


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"against": "job 1 is interactive"}, "job 1 is interactive"),
        ({"demand": 0.1}, "it hardly uses a CPU"),
        ({"targets": ()}, "no node that takes has room for it and could have it"),
        ({"targets": ("x",)}, "no node that takes has room for it and could have it"),
        ({"demand": 2.5}, "it would crowd b"),
        (
            {"age": 3.0},
            "expected to run for 3 s more, it would gain 3.0 CPU seconds on b, not 3 times the 1.3 "
            "that the move costs",
        ),
        (
            {"limit": 2.0},
            "expected to run for 2 s more, it would gain 2.0 CPU seconds on b, not 3 times the 1.3 "
            "that the move costs",
        ),
    ],
)
def test_what_stays_says_why(fields: dict[str, object], note: str) -> None:
    verdict = decide([giver(mover(**fields)), taker()], MARKS)  # type: ignore[arg-type]
    assert (verdict.moves, verdict.notes) == ((), {(1, 0): note})
    assert verdict.why == "of what runs on a nothing can go, or is worth it"


def test_what_moves_cost_is_learned_from_earlier_ones() -> None:
    slow = [Past("a", "b", 50 * MIB, 300.0)] * 3
    two = [giver(mover(age=600.0)), taker("b"), taker("c")]
    assert [each.target for each in decide(two[:2], MARKS).moves] == ["b"]
    assert decide(two[:2], MARKS, slow).moves == ()
    assert decide(two, MARKS, [*slow, Past("a", "c", 50 * MIB, 0.5)]).moves[0].target == "c"


def test_nothing_moves_back_between_two_nodes_for_a_while() -> None:
    verdict = decide([giver(mover()), taker()], MARKS, apart={("a", "b")})
    assert verdict.moves == ()
    assert verdict.notes == {(1, 0): "something moved from b to a lately"}
    there = [giver(mover()), taker(), taker("c")]
    assert decide(there, MARKS, apart={("a", "b")}).moves[0].target == "c"


def test_a_few_at_once_each_to_another_node() -> None:
    crowded = [giver(mover(each), name=name) for each, name in enumerate("xyz")]
    there = [*crowded, taker("b"), taker("c")]
    assert [(m.source, m.target) for m in decide(there, MARKS).moves] == [("x", "b"), ("y", "c")]
    one = decide(there, MARKS, under_way=1)
    assert (len(one.moves), one.notes[1, 0]) == (1, "others go first")
    verdict = decide(there, MARKS, under_way=2)
    assert (verdict.moves, verdict.why) == ((), "2 moves are under way, and no more are at once")
    assert len(decide([*crowded, taker("b")], MARKS).moves) == 1


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([], "no node is up and in use"),
        (
            [Seen("a", 2, 3.0, LISTENING)],
            "no node was listened to for 120 s yet, since this manager began or something moved",
        ),
        ([Seen("a", 2, 2.0, NEITHER)], "no node has stood above 1.2 for each CPU for 120 s"),
        (
            [giver(mover()), Seen("b", 2, 2.0, NEITHER)],
            "a would give, and no node has stood below 0.7 for each CPU for 120 s",
        ),
        ([replace(giver(mover()), busy=True), taker()], "from or to a something moves already"),
        (
            [giver(mover()), replace(taker(), busy=True)],
            "a would give, and from or to b something moves already",
        ),
    ],
)
def test_why_nothing_moves(nodes: list[Seen], why: str) -> None:
    assert (decide(nodes, MARKS).moves, decide(nodes, MARKS).why) == ((), why)


def test_a_node_must_stand_beyond_a_mark_for_a_while() -> None:
    track = Track()
    roles = []
    for _ in range(26):
        track.follow(1.5, 5.0, MARKS)
        roles.append(track.role(MARKS))
    assert roles == [LISTENING] * 24 + [GIVES] * 2
    track.follow(0.0, 60.0, MARKS)
    assert track.role(MARKS) == NEITHER
    for _ in range(40):
        track.follow(0.0, 5.0, MARKS)
    assert track.role(MARKS) == TAKES
    track.follow(3.0, 5.0, MARKS)  # somebody compiles something
    assert track.role(MARKS) == TAKES
    for _ in range(20):
        track.follow(3.0, 5.0, MARKS)
    assert track.role(MARKS) == NEITHER  # above, and not for long enough
    track.anew()
    assert track.role(MARKS) == LISTENING


def test_smoothing_is_that_of_time_and_not_of_the_number_of_words() -> None:
    once = smoothed(0.0, 1.0, 60.0, 60.0)
    twice = smoothed(smoothed(0.0, 1.0, 30.0, 60.0), 1.0, 30.0, 60.0)
    assert once == pytest.approx(twice)
    assert once == pytest.approx(0.632, abs=0.001)


def test_each_move_and_each_refusal_doubles_the_pause() -> None:
    rest, pauses = Rest(), []
    for _ in range(10):
        rest.moved(600.0)
        pauses.append(rest.left)
    assert pauses[:3] == [600.0, 1200.0, 2400.0]
    assert pauses[-1] == LONGEST
    rest.refused(600.0, "b: a socket")
    assert (rest.left, rest.why) == (600.0, "it could not be moved lately: b: a socket")
    rest.passed(700.0)
    assert rest.left == 0.0


NODES = "abcdef"
amounts = st.floats(0.0, 8.0)
movers = st.builds(
    lambda job, demand, age, limit, size, targets, against: Mover(
        job, 0, f"job {job}", demand, age, limit, size, tuple(targets), against
    ),
    st.integers(1, 9),
    amounts,
    st.floats(0.0, 1e6),
    st.none() | st.floats(-10.0, 1e6),
    st.integers(0, 1 << 40),
    st.permutations(NODES),
    st.sampled_from(["", "", "", "it is interactive"]),
)
states = st.tuples(
    st.integers(1, 8),
    amounts,
    st.sampled_from([GIVES, TAKES, NEITHER, LISTENING]),
    st.booleans(),
    st.lists(movers, max_size=4, unique_by=lambda each: each.job),
)
pairs = st.sets(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(states, max_size=6), pairs, st.integers(0, 3))
def test_whatever_there_is_every_move_is_sound_and_everything_is_explained(
    given_states: list[tuple[int, float, str, bool, list[Mover]]],
    apart: set[tuple[str, str]],
    under_way: int,
) -> None:
    nodes = {
        name: Seen(name, cpus, demand, role, busy, tuple(replace(m, task=at) for m in there))
        for at, (name, (cpus, demand, role, busy, there)) in enumerate(
            zip(NODES, given_states, strict=False)
        )
    }
    verdict = decide(list(nodes.values()), MARKS, (), apart, under_way)
    assert bool(verdict.moves) != bool(verdict.why)
    assert len(verdict.moves) <= max(AT_ONCE - under_way, 0)
    ends = [name for each in verdict.moves for name in (each.source, each.target)]
    assert len(set(ends)) == len(ends)
    for each in verdict.moves:
        source, target = nodes[each.source], nodes[each.target]
        (moved,) = [m for m in source.movers if (m.job, m.task) == (each.job, each.task)]
        assert (source.role, target.role, source.busy, target.busy) == (GIVES, TAKES, False, False)
        assert target.demand + moved.demand <= target.cpus * MARKS.full
        assert each.gain > MARKS.factor * each.cost > 0
        assert (each.source, each.target) not in apart
        assert not moved.against
    told = verdict.notes.keys() | {(each.job, each.task) for each in verdict.moves}
    for node in nodes.values() if verdict.moves else ():
        if node.role == GIVES and not node.busy:
            assert {(m.job, m.task) for m in node.movers} <= told

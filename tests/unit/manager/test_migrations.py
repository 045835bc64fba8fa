"""How a running job moves: every step, every refusal, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict, NotFound
from kcms.jobs.checkpoint import criu_version
from kcms.jobs.migration import MoveReport
from kcms.jobs.model import Exit, Job
from kcms.jobs.states import State
from kcms.manager import core, migrations, nodes, scheduling
from kcms.manager.memory import Draft
from kcms.manager.wanted import wanted_moves, wanted_tasks
from tests.unit.manager.world import (
    BOB,
    MOVER,
    World,
    ended,
    moved,
    said,
    said_running,
)


def running(*names: str, slots: int = 2) -> World:
    """Job 1 runs on a."""
    world = World(*(names or ("a", "b")), slots=slots)
    world.submit()
    assert world.job(1).tasks[0].node == "a"
    world.report("a", said_running())
    return world


def step(world: World, phase: str) -> None:
    """Ask for the move of job 1 from a to b and bring it into that phase."""
    world.migrate(1, "b")
    answers: dict[str, tuple[str, MoveReport]] = {
        "preparing": ("a", moved("check", data={"files": [1]})),
        "dumping": ("b", moved("admit", epoch=2, data={"room": 2})),
        "restoring": ("a", moved("dump", data={"digest": "d"})),
    }
    for after, (name, answer) in answers.items():
        if migration(world).phase == phase:
            return
        world.report(name, *running_on(name), moves=(answer,))
        assert migration(world).phase == after


def running_on(name: str) -> tuple[Any, ...]:
    return (said_running(),) if name == "a" else ()


def migration(world: World) -> Any:
    return world.job(1).migration


def restored(world: World) -> None:
    world.report("b", said("running", epoch=2), moves=(moved("restore", epoch=2),))


PHASES = ["checking", "preparing", "dumping", "restoring"]


# all goes well -----------------------------------------------------------------------------------


def test_the_steps_one_after_another() -> None:
    world = running()
    job = world.migrate(1, "b")
    found = job.migration
    assert found is not None
    assert (found.number, found.source, found.target, found.epoch) == (1, "a", "b", 2)
    assert (found.phase, found.by, found.start_time) == ("checking", "alice", 1000.0)
    assert (world.moves("a"), world.moves("b")) == ([("check", 1, {})], [])
    world.report("a", said_running(), moves=(moved("check", data={"files": [1]}),))
    assert (world.moves("a"), world.moves("b")) == ([], [("admit", 2, {"files": [1]})])
    world.report("b", moves=(moved("admit", epoch=2, data={"room": 2}),))
    assert (world.moves("a"), world.moves("b")) == ([("dump", 1, {"room": 2})], [])
    world.report("a", said_running(), moves=(moved("dump", data={"digest": "d"}),))
    assert world.moves("a") == [("dump", 1, {"room": 2})], "the source holds the job meanwhile"
    assert world.moves("b") == [("restore", 2, {"digest": "d"})]
    assert (world.wanted("a"), world.wanted("b")) == ([(1, 0, 1, "run")], [])
    restored(world)
    assert (world.moves("a"), world.moves("b")) == ([], [])
    assert (world.wanted("a"), world.wanted("b")) == ([(1, 0, 1, "kill")], [(1, 0, 2, "run")])
    job = world.job(1)
    assert (job.state, job.start_time) == (State.RUNNING, 1001.0)
    task = job.tasks[0]
    assert (task.node, task.epoch, task.start_time, task.state) == ("b", 2, 1001.0, State.RUNNING)
    assert (migration(world).phase, migration(world).told) == ("done", {})
    assert migration(world).end_time == world.now
    assert world.kinds == ["submit", "place", "start"] + ["migrate"] * 5


def test_a_wanted_move_has_what_its_node_needs() -> None:
    world = running()
    world.memory.store = "bbbbbbbb"
    world.migrate(1, "b")
    (move,) = wanted_moves(world.memory, "a")
    assert (move.job, move.task, move.number, move.store) == (1, 0, 1, "bbbbbbbb")
    assert (move.source, move.target, move.user, move.uid, move.gid) == (
        *("a", "b"),
        *("alice", 2001, 2001),
    )
    assert move.spec["executable"] == "/shared/x"


def test_what_is_left_on_the_source_is_killed_at_once_and_forgotten() -> None:
    world = running()
    step(world, "restoring")
    restored(world)
    for _ in range(2):
        (left,) = wanted_tasks(world.memory, "a")
        assert (left.epoch, left.want, left.grace) == (1, "kill", 0.0)
        world.report("a", said_running())
    assert world.report("a", ended(None, 9)) == [(1, 0, 1)]
    assert world.wanted("a") == []
    assert world.job(1).state is State.RUNNING


def test_what_is_left_has_no_grace_even_when_the_job_is_over_and_the_manager_was_restarted() -> (
    None
):
    world = running()
    step(world, "restoring")
    restored(world)
    world.report("b", said("ended", epoch=2, exit=Exit(0, None, 1002.0)))
    assert world.job(1).state is State.COMPLETED
    world.memory.nodes["a"].orphans = {}
    world.report("a", said_running())
    assert [each.grace for each in wanted_tasks(world.memory, "a")] == [0.0]


def test_what_was_given_up_where_it_ran_keeps_its_grace() -> None:
    world = running()
    world.report("a", said("lost"))
    world.report("a", said_running())
    assert [each.grace for each in wanted_tasks(world.memory, "a")] == [5]


def test_the_moved_task_ends_as_any_other() -> None:
    world = running()
    step(world, "restoring")
    restored(world)
    world.report("a", ended(0))
    assert world.job(1).state is State.RUNNING, "the old copy says nothing any more"
    world.report("b", said("ended", epoch=2, exit=Exit(3, None, 1005.0)))
    assert (world.job(1).state, world.job(1).reason) == (State.FAILED, "exit status 3")


def test_and_back_again_with_an_epoch_of_its_own() -> None:
    world = running()
    step(world, "restoring")
    restored(world)
    with pytest.raises(Conflict, match="a still clears an earlier copy of it away"):
        world.migrate(1, "a")
    world.report("a", ended(None, 9))
    found = world.migrate(1, "a").migration
    assert found is not None
    assert (found.number, found.source, found.target, found.epoch) == (2, "b", "a", 3)


def test_an_epoch_that_failed_is_not_given_again() -> None:
    world = running()
    world.migrate(1, "b")
    world.report("a", said_running(), moves=(moved("check", False, message="no"),))
    found = world.migrate(1, "b").migration
    assert found is not None
    assert (found.number, found.epoch) == (2, 3)


def test_a_check_touches_nothing_and_says_that_it_can_be() -> None:
    world = running()
    world.migrate(1, "b", check=True)
    assert world.row("b")["used"] == 0
    world.report("a", said_running(), moves=(moved("check"),))
    world.report("b", moves=(moved("admit", epoch=2),))
    assert (migration(world).phase, migration(world).check_only) == ("possible", True)
    assert (world.moves("a"), world.moves("b")) == ([], [])
    assert world.job(1).tasks[0].epoch == 1


# what is not done --------------------------------------------------------------------------------


def mover(world: World, name: str, **changes: str) -> None:
    tasks = (said_running(),) if name == "a" else ()
    world.report(name, *tasks, mover={**MOVER, **changes})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w.report("a", ended(0)), r"job 1 is over already \(COMPLETED\)"),
        (lambda w: w.kill(1), "job 1 is being killed by alice"),
        (lambda w: w.migrate(1, "b"), "job 1 is being moved from a to b already"),
        (lambda w: w.set_state("b", "drain", "new disk"), r"b is drained \(new disk\)"),
        (lambda w: w.silent(31), "a is DOWN"),
        (lambda w: (w.silent(31), w.report("a", said_running())), "b is DOWN: it is not heard"),
        (lambda w: nodes.follow_hosts(w.memory, {"a"}, 0.0), "there is no node 'b' .* which has a"),
        (lambda w: w.report("b", mover={}), "the release on b cannot move jobs"),
        (lambda w: w.report("a", said_running(), mover={}), "the release on a cannot move jobs"),
        (lambda w: mover(w, "b", trouble="no criu here\n!"), "moved to b: no criu here !"),
        (lambda w: mover(w, "a", trouble="no criu"), "no job can be moved from a: no criu"),
        (lambda w: mover(w, "b", machine="aarch64"), "a is of kind x86_64, b of kind aarch64"),
        (lambda w: mover(w, "b", criu="3.17"), r"criu on b \(3.17\) is older than on a \(4.1.1\)"),
        (lambda w: mover(w, "b", criu="4.1"), r"criu on b \(4.1\) is older"),
        (lambda w: mover(w, "b", criu=""), r"criu on b \(unknown\) is older"),
        (lambda w: w.report("b", slots=0), r"every slot of b is taken \(0 of 0\)"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_cannot_be_is_refused_before_anything_is_touched(
    spoil: Any, words: str, check: bool
) -> None:
    world = running()
    spoil(world)
    before = world.job(1)
    with pytest.raises(Conflict, match=words) as caught:
        world.migrate(1, "b", check)
    assert "\n" not in caught.value.message
    assert world.job(1) == before


def test_to_where_it_is() -> None:
    with pytest.raises(Conflict, match="it runs on a already"):
        running().migrate(1, "a")


def test_a_job_that_waits_or_is_being_started() -> None:
    world = World("a", "b", slots=1)
    for number in range(1, 4):
        assert world.submit() == number
    with pytest.raises(Conflict, match="job 1 is still being started on a"):
        world.migrate(1, "b")
    with pytest.raises(Conflict, match="job 3 is PENDING: only a job that runs"):
        world.migrate(3, "b")


def test_a_job_of_others_is_not_there() -> None:
    world = running()
    with pytest.raises(NotFound):
        world.do(lambda draft: core.check_sees(BOB, draft.job(1), 1))


def test_a_newer_criu_on_the_target_will_do() -> None:
    world = running()
    mover(world, "b", criu="4.10")
    assert world.migrate(1, "b").migration is not None


@pytest.mark.parametrize(
    ("text", "numbers"), [("4.1.1", (4, 1, 1)), ("3.17-2", (3, 17)), ("", ()), ("git", ())]
)
def test_versions(text: str, numbers: tuple[int, ...]) -> None:
    assert criu_version(text) == numbers


# what nodes refuse -------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("phase", "name", "answer"),
    [
        ("checking", "a", moved("check", False, message="it has a\nsocket")),
        ("preparing", "b", moved("admit", False, epoch=2, message="it has a\nsocket")),
    ],
)
def test_a_step_that_is_refused_ends_it(
    phase: str, name: str, answer: MoveReport, check: bool
) -> None:
    world = running()
    world.migrate(1, "b", check)
    if phase == "preparing":
        world.report("a", said_running(), moves=(moved("check"),))
    world.report(name, *running_on(name), moves=(answer,))
    found = migration(world)
    assert (found.phase, found.message) == ("refused", f"{name}: it has a socket")
    assert (world.moves("a"), world.moves("b")) == ([], [])
    assert world.wanted("a") == [(1, 0, 1, "run")]


@pytest.mark.parametrize(
    ("phase", "name", "answer"),
    [
        ("dumping", "a", moved("dump", False, message="no space")),
        ("restoring", "b", moved("restore", False, epoch=2, message="no space")),
        ("restoring", "a", moved("dump", False, message="no space")),
        ("checking", "a", moved("check", False, touched=True, message="no space")),
    ],
)
def test_a_step_that_fails_later_is_undone(phase: str, name: str, answer: MoveReport) -> None:
    world = running()
    step(world, phase)
    world.report(name, *running_on(name), moves=(answer,))
    assert (migration(world).phase, migration(world).message) == ("failed", f"{name}: no space")
    assert (world.moves("a"), world.moves("b")) == ([], [])
    assert world.wanted("a") == [(1, 0, 1, "run")]
    assert world.job(1).state is State.RUNNING


@pytest.mark.parametrize(
    "answer",
    [
        moved("restore", epoch=2),
        moved("dump"),
        moved("check", ok=None),
        moved("check", epoch=2),
        moved("check", number=2),
        moved("check", store="aaaaaaaa"),
        replace(moved("check"), job=7),
        replace(moved("check"), task=1),
    ],
)
def test_words_about_other_steps_change_nothing(answer: MoveReport) -> None:
    world = running()
    world.migrate(1, "b")
    before = world.job(1)
    world.report("a", said_running(), moves=(answer,))
    world.report("b", moves=(moved("check"), moved("admit", epoch=2)))
    assert world.job(1) == before


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    world = running()
    world.migrate(1, "b")
    most = "x" * (migrations.TOLD_LIMIT - len('{"a": ""}'))
    world.report("a", said_running(), moves=(moved("check", data={"a": most + "x"}),))
    assert migration(world).phase == "failed"
    assert migration(world).message == "a: its answer to check is no JSON of up to 131072 bytes"
    world.migrate(1, "b")
    world.report("a", said_running(), moves=(moved("check", number=2, data={"a": most}),))
    assert migration(world).phase == "preparing"


def test_a_target_that_is_drained_meanwhile_is_refused_while_nothing_is_touched() -> None:
    world = running()
    step(world, "preparing")
    world.set_state("b", "drain")
    world.report("b", moves=(moved("admit", epoch=2),))
    assert (migration(world).phase, migration(world).message) == ("refused", "b is drained")


@pytest.mark.parametrize("heard", [True, False])
def test_a_manager_that_was_begun_anew_waits_for_the_word_of_the_source(heard: bool) -> None:
    world = running()
    step(world, "preparing")
    world.memory.nodes["a"].report = None
    for _ in range(2):
        world.report("b", moves=(moved("admit", epoch=2),))
        assert migration(world).phase == "preparing"
    if heard:
        world.report("a", said_running())
        world.report("b", moves=(moved("admit", epoch=2),))
        assert migration(world).phase == "dumping"
    else:
        for _ in range(40):
            world.silent(1)
            world.report("b", moves=(moved("admit", epoch=2),))
        assert (migration(world).phase, migration(world).message) == ("failed", "a is not heard")


# the copy on the target --------------------------------------------------------------------------


def test_the_copy_is_neither_followed_nor_killed_nor_missed_before_the_commit() -> None:
    world = running()
    step(world, "restoring")
    before = world.job(1)
    for phase in ("launching", "running"):
        for _ in range(3):
            assert world.report("b", said(phase, epoch=2)) == []
            assert (world.wanted("b"), world.job(1)) == ([], before)
    for _ in range(3):
        world.report("b")
    assert world.job(1) == before
    assert world.row("b")["used"] == 1


def test_a_restore_counts_only_with_the_copy_in_the_same_report() -> None:
    world = running()
    step(world, "restoring")
    world.report("b", moves=(moved("restore", epoch=2),))
    assert migration(world).phase == "restoring"
    restored(world)
    assert migration(world).phase == "done"


@pytest.mark.parametrize("phase", ["ended", "refused", "lost"])
def test_a_copy_that_is_over_before_the_commit_ends_the_migration(phase: str) -> None:
    world = running()
    step(world, "restoring")
    exits = {"exit": Exit(None, 9, 1002.0)} if phase == "ended" else {}
    over = said(phase, epoch=2, message="criu: no", **exits)
    assert world.report("b", over, moves=(moved("restore", epoch=2),)) == [(1, 0, 2)]
    assert (migration(world).phase, migration(world).message) == ("failed", "b: criu: no")
    assert (world.job(1).state, world.wanted("a")) == (State.RUNNING, [(1, 0, 1, "run")])


def test_the_copy_of_a_failed_migration_is_killed_without_grace() -> None:
    world = running()
    step(world, "restoring")
    world.report("b", said("running", epoch=2))
    world.report("a", said_running(), moves=(moved("dump", False, message="x"),))
    world.report("b", said("running", epoch=2), moves=(moved("restore", epoch=2),))
    assert migration(world).phase == "failed"
    (left,) = wanted_tasks(world.memory, "b")
    assert (left.epoch, left.want, left.grace) == (2, "kill", 0.0)
    assert world.wanted("a") == [(1, 0, 1, "run")]


@pytest.mark.parametrize("phase", PHASES)
def test_the_slot_on_the_target_is_kept(phase: str) -> None:
    world = running("a", "b", slots=1)
    step(world, phase)
    assert world.row("b")["used"] == 1
    assert world.job(world.submit()).reason == "every slot is taken"


# what stops it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_stops_it_and_ends_the_job_where_it_is(phase: str) -> None:
    world = running()
    step(world, phase)
    world.kill(1)
    assert migration(world).phase == "failed"
    assert migration(world).message == "the job was killed by alice"
    assert (world.moves("a"), world.moves("b")) == ([], [])
    assert (world.wanted("a"), world.wanted("b")) == ([(1, 0, 1, "kill")], [])
    world.report("a", ended(None, 15))
    assert world.job(1).state is State.CANCELLED


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("end", "state", "why"),
    [
        (ended(0), State.COMPLETED, "the job ended: COMPLETED"),
        (ended(3), State.FAILED, "the job ended: exit status 3"),
        (said("lost", message="gone"), State.NODE_FAIL, "the job ended: a: gone"),
    ],
)
def test_a_job_that_ends_by_itself_meanwhile(phase: str, end: Any, state: State, why: str) -> None:
    world = running()
    step(world, phase)
    world.report("a", end, moves=(moved("dump"),))
    assert (world.job(1).state, migration(world).phase) == (state, "failed")
    assert migration(world).message == why
    assert (world.moves("a"), world.moves("b")) == ([], [])
    restored(world)
    assert world.wanted("b") == [(1, 0, 2, "kill")]
    assert world.job(1).state is state


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("silent", ["a", "b"])
def test_silence_of_either_side_undoes_it(phase: str, silent: str) -> None:
    world = running()
    step(world, phase)
    for turn in range(31):
        assert migration(world).phase == phase, turn
        world.silent(1)
        other = "b" if silent == "a" else "a"
        world.report(other, *running_on(other))
    assert (migration(world).phase, migration(world).message) == (
        "failed",
        f"{silent} is not heard",
    )
    assert world.job(1).state is State.RUNNING


@pytest.mark.parametrize("phase", PHASES)
def test_it_does_not_take_for_ever(phase: str) -> None:
    world = running()
    step(world, phase)
    for turn in range(101):
        assert migration(world).phase == phase, turn
        world.silent(1)
        for name in ("a", "b"):
            world.report(name, *running_on(name))
    assert (migration(world).phase, migration(world).message) == (
        "failed",
        "it was not over after 100 s",
    )
    world.migrate(1, "b")
    world.silent(1)
    assert migration(world).phase == "checking", "the next one has its own time"


def test_a_clock_that_is_set_stops_nothing() -> None:
    world = running()
    step(world, "dumping")
    world.now += 1e6
    world.do(lambda draft: core.tick(draft, world.now, 1.0))
    assert migration(world).phase == "dumping"


# drafts that are not kept ------------------------------------------------------------------------


def dropped(world: World, decide: Any) -> None:
    """The store refuses the draft of that decision."""
    draft = Draft(world.memory)
    decide(draft)
    scheduling.settle(draft, world.now)


def report_of(world: World, name: str, *tasks: Any, moves: Any = ()) -> Any:
    said = world.memory.nodes[name].report
    assert said is not None
    said = replace(said, tasks=tasks, moves=moves)
    return lambda draft: core.report(draft, name, said, world.now, over=world.over.get)


def test_a_commit_that_is_not_kept_kills_nothing() -> None:
    world = running()
    step(world, "restoring")
    copy, done = said("running", epoch=2), (moved("restore", epoch=2),)
    there, here = report_of(world, "b", copy, moves=done), report_of(world, "a", said_running())

    def both(draft: Draft) -> None:
        there(draft)
        here(draft)

    dropped(world, both)
    assert migration(world).phase == "restoring"
    assert world.wanted("a") == [(1, 0, 1, "run")], "what is durable runs on a"
    assert world.wanted("b") == []
    assert [step for step, _, _ in world.moves("a")] == ["dump"]


def test_a_failure_that_is_not_kept_kills_no_copy() -> None:
    world = running()
    step(world, "restoring")
    lost = report_of(world, "a", said("lost"))
    copy = report_of(world, "b", said("running", epoch=2))

    def both(draft: Draft) -> None:
        lost(draft)
        copy(draft)

    dropped(world, both)
    assert (world.wanted("a"), world.wanted("b")) == ([(1, 0, 1, "run")], [])
    restored(world)
    assert world.wanted("b") == [(1, 0, 2, "run")]


# copies of the store -----------------------------------------------------------------------------


def test_a_copy_that_an_older_store_never_made_is_left_alone() -> None:
    world = running()
    for _ in range(2):
        assert world.report("b", said("running", epoch=2)) == []
        assert world.wanted("b") == []
    assert [each.epoch for each in world.memory.nodes["b"].foreign] == [2]
    assert world.row("b")["used"] == 1


def test_one_that_its_store_takes_for_lost_is_left_alone_where_it_is() -> None:
    """The job had moved to b after the copy was made that the store was restored from."""
    world = running()
    for _ in range(2):
        world.report("a")
        world.report("b", said("running", epoch=2))
    assert world.job(1).state is State.NODE_FAIL
    for _ in range(2):
        assert world.report("b", said("running", epoch=2)) == []
        assert world.wanted("b") == []
        assert world.memory.nodes["b"].orphans == {}
    assert world.row("b")["used"] == 1


def test_where_an_older_store_knows_not_every_copy_nothing_is_moved() -> None:
    """The copy's epoch would be given again, and the old image be taken for the job."""
    world = running()
    world.report("b", said("running", epoch=2))
    for check in (True, False):
        with pytest.raises(Conflict, match="b has a copy of it that this job store, restored"):
            world.migrate(1, "b", check)
    assert world.job(1).migration is None
    world.report("b")
    world.migrate(1, "b")


def test_one_that_shows_up_on_the_way_ends_it() -> None:
    world = running()
    step(world, "preparing")
    stranger = said("running", epoch=3)
    world.report("b", stranger, moves=(moved("admit", epoch=2, data={"room": 2}),))
    after = migration(world)
    assert (after.phase, after.message[:26]) == ("refused", "b has a copy of it that th")


def test_what_was_promised_memory_moves_where_there_is_so_much() -> None:
    world = World("a", "b", slots=2)
    load = {"load_one": 0.0, "cpu_num": 2.0, "mem_total": 1000.0 * 1024}
    for name in ("a", "b"):
        world.report(name, load=load)
    first, second = world.submit(memory=600), world.submit(memory=600)
    assert {world.job(each).tasks[0].node for each in (first, second)} == {"a", "b"}
    source = world.job(first).tasks[0].node
    target = {"a": "b", "b": "a"}[source]
    world.report(source, said("running", first, start_time=1001.0), load=load)
    with pytest.raises(
        Conflict, match=f"promised 600 MiB of memory, and {target} has 400 MiB left"
    ):
        world.migrate(first, target)


def test_what_is_limited_moves_only_where_limits_are_kept() -> None:
    world = World("a", "b")
    world.report("b", abilities=())
    number = world.submit(time_limit=60)
    assert world.job(number).tasks[0].node == "a"
    world.report("a", said("running", number, start_time=1001.0))
    with pytest.raises(Conflict, match="the release on b keeps to no limits: run the site"):
        world.migrate(number, "b")


def test_a_move_in_earnest_goes_before_a_check() -> None:
    world = running()
    assert world.migrate(1, "b", True).migration.check_only
    with pytest.raises(Conflict, match="job 1 is checked for a move from a to b already"):
        world.migrate(1, "b", True)
    moving = world.migrate(1, "b").migration
    assert moving is not None
    assert (moving.number, moving.check_only, moving.phase) == (2, False, "checking")


def test_the_document_has_no_answers_of_nodes() -> None:
    world = running()
    step(world, "restoring")
    job: Job = world.job(1)
    assert job.migration is not None
    assert set(job.migration.told) == {"check", "admit", "dump"}
    assert job.document()["migration"] == {
        "number": 1,
        "source": "a",
        "target": "b",
        "epoch": 2,
        "phase": "restoring",
        "by": "alice",
        "start_time": 1000.0,
        "check_only": False,
        "end_time": None,
        "message": "",
        "task": 0,
        "predicted_bytes": None,
        "predicted_seconds": None,
        "bytes": None,
        "freeze_seconds": None,
    }

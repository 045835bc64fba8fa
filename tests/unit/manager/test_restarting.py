"""Tasks that begin anew from images: why, where, and what they were told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict, NotFound
from kcms.jobs.checkpoint import NO_IMAGE, NOT_HERE
from kcms.jobs.model import Job, WantedTask
from kcms.jobs.states import State
from kcms.manager import checkpoints, core, ending, restarting
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.test_checkpoints import image
from tests.unit.manager.world import ALICE, MOVER, World, ended, moved, said, said_running


def running(*names: str, slots: int = 2, **fields: Any) -> World:
    """A world of nodes with one job that runs on the first."""
    world = World(*(names or ("a", "b")), slots=slots)
    world.submit(**fields)
    world.report("a", said_running())
    return world


def save(world: World, keep: bool = True) -> int:
    world.do(lambda draft: checkpoints.ask(draft, world.job(1), None, "alice", world.now))
    task = world.job(1).tasks[0]
    number = task.saved.last
    running_there = said_running(task.epoch)
    told = {"epoch": task.epoch, "number": number}
    world.report(task.node, running_there, moves=(moved("save", data=image(number), **told),))
    if keep:
        world.report(task.node, running_there, moves=(moved("keep", **told),))
    return number


def restart(world: World, index: int | None = None) -> Job:
    job: Job = world.do(
        lambda draft: restarting.ask(draft, world.job(1), index, "alice", world.now)
    )
    return job


def wanted(world: World, name: str) -> WantedTask:
    (found,) = wanted_tasks(world.memory, name)
    return found


def lose(world: World, name: str, others: str) -> None:
    """A node is silent until it is given up; the others go on."""
    for _ in range(400):
        world.now += 1
        world.do(lambda draft: core.tick(draft, world.now, 1.0))
        for each in others:
            world.report(each)


def paths(world: World) -> set[str]:
    return {path for each in world.memory.litter.values() for path in each.paths}


def test_a_lost_job_goes_on_elsewhere_from_its_newest_image() -> None:
    world = running(checkpoint_interval=600)
    save(world)
    newest = save(world)
    lose(world, "a", "b")
    task = world.job(1).tasks[0]
    assert (task.node, task.restarts, task.saved.resume) == ("b", 1, False)
    found = wanted(world, "b")
    assert found.want == "run"
    assert found.image is not None
    assert found.image.number == newest
    world.report("b", replace(said_running(task.epoch), note="x was 20 bytes longer"))
    note = world.job(1).tasks[0].saved.note
    assert note == f"it went on from checkpoint {newest}; x was 20 bytes longer"
    assert not paths(world)


def test_a_job_that_was_over_before_it_was_heard_to_run_says_what_it_went_on_from() -> None:
    world = running(checkpoint_interval=600)
    newest = save(world)
    lose(world, "a", "b")
    over = replace(ended(), epoch=world.job(1).tasks[0].epoch, note="x was 20 bytes longer")
    world.report("b", over)
    assert world.job(1).state is State.COMPLETED
    note = world.job(1).tasks[0].saved.note
    assert note == f"it went on from checkpoint {newest}; x was 20 bytes longer"


@pytest.mark.parametrize("saved", [True, False])
def test_a_job_that_was_saved_by_hand_goes_on_when_its_node_says_that_it_was_lost(
    saved: bool,
) -> None:
    world = running()
    newest = save(world) if saved else None
    world.report("a", said("lost", start_time=1001.0, message="the node went down while it ran"))
    task = world.job(1).tasks[0]
    assert (task.state is State.NODE_FAIL) is not saved
    if saved:
        found = wanted(world, task.node)
        assert found.image is not None
        assert found.image.number == newest


@pytest.mark.parametrize("ok", [True, False])
def test_what_its_node_says_of_an_image_later_does_not_take_it_from_a_task(ok: bool) -> None:
    world = running(checkpoint_interval=600)
    newest = save(world, keep=False)
    lose(world, "a", "b")
    kept = moved("keep", number=newest, ok=ok, message="" if ok else "it was interrupted")
    world.report("a", moves=(kept,))
    found = wanted(world, "b")
    assert found.image is not None
    assert found.image.number == newest
    assert not paths(world)


def test_a_lost_job_without_an_image_says_that_it_begins_from_its_beginning() -> None:
    world = running(checkpoint_interval=600)
    world.do(lambda draft: checkpoints.ask(draft, world.job(1), None, "alice", world.now))
    lose(world, "a", "b")
    task = world.job(1).tasks[0]
    assert task.node == "b"
    assert wanted(world, "b").image is None
    assert task.saved.note == "it was begun from its beginning: it had no checkpoint"
    world.report("b", said_running(task.epoch))
    assert world.job(1).tasks[0].saved.note == task.saved.note


def test_a_restart_by_hand_ends_the_task_at_once_and_goes_on_from_its_image() -> None:
    world = running()
    number = save(world)
    job = restart(world)
    assert job.reason == "being restarted by alice"
    kill = wanted(world, "a")
    assert (kill.want, kill.grace) == ("kill", 0.0)
    world.report("a", said_running())
    assert world.job(1).reason == "being restarted by alice"
    world.report("a", ended(None, 9))
    task = world.job(1).tasks[0]
    assert (world.job(1).state, task.epoch, task.saved.restart_by) == (State.RUNNING, 2, None)
    begun = wanted(world, task.node)
    assert begun.image is not None
    assert begun.image.number == number


def test_what_completed_before_it_was_killed_for_a_restart_is_complete() -> None:
    world = running()
    save(world)
    restart(world)
    world.report("a", ended(0))
    assert world.job(1).state is State.COMPLETED


def test_one_that_saves_itself_ends_in_its_time_and_begins_anew_however_it_ended() -> None:
    world = running(checkpoint_signal="USR1")
    restart(world)
    assert (wanted(world, "a").want, wanted(world, "a").grace) == ("kill", 5)
    world.report("a", ended(0))
    task = world.job(1).tasks[0]
    assert (world.job(1).state, task.restarts) == (State.RUNNING, 1)
    assert wanted(world, task.node).image is None


def test_a_restart_is_refused_with_a_reason() -> None:
    world = running()
    with pytest.raises(Conflict, match="it has none; kcms requeue begins it from its beginning"):
        restart(world)
    with pytest.raises(NotFound, match="no task 1"):
        restart(world, 1)
    save(world)
    restart(world)
    with pytest.raises(Conflict, match="is being restarted by alice already"):
        restart(world)
    with pytest.raises(Conflict, match="is being restarted by alice"):
        world.migrate(1, "b")
    with pytest.raises(Conflict, match="is being restarted by alice"):
        world.do(lambda draft: checkpoints.ask(draft, world.job(1), None, "alice", world.now))
    world.kill(1)
    with pytest.raises(Conflict, match="being killed by alice"):
        restart(world)
    world.report("a", ended(None, 9))
    assert world.job(1).state is State.CANCELLED
    assert len(paths(world)) == 1


def test_a_restart_stops_a_migration() -> None:
    world = running()
    save(world)
    world.migrate(1, "b")
    moving = restart(world).migration
    assert moving is not None
    assert (moving.phase, moving.message) == ("failed", "it was restarted by alice")


@pytest.mark.parametrize(
    ("fields", "saved", "state"),
    [
        ({"checkpoint_interval": 60}, True, State.RUNNING),
        ({"checkpoint_interval": 60}, False, State.FAILED),
        ({"checkpoint_interval": 60, "checkpoint_signal": "USR1"}, False, State.RUNNING),
        ({"restart_from_checkpoint": True}, False, State.RUNNING),
        ({"requeue": True}, True, State.FAILED),
        ({}, True, State.FAILED),
    ],
)
def test_what_a_signal_ended_goes_on_when_it_was_saved_as_asked_for(
    fields: dict[str, Any], saved: bool, state: State
) -> None:
    world = running(**fields)
    if saved:
        save(world)
    world.report("a", ended(None, 11))
    assert world.job(1).state is state


def test_what_a_signal_ends_again_and_again_fails_in_the_end() -> None:
    world = running(checkpoint_interval=60)
    save(world)
    for _ in range(11):
        task = world.job(1).tasks[0]
        assert world.job(1).state is State.RUNNING
        world.report(task.node, said_running(task.epoch))
        end = replace(ended(None, 11), epoch=task.epoch)
        world.report(task.node, end)
    assert world.job(1).state is State.FAILED
    assert len(paths(world)) == 1


def test_a_node_that_cannot_take_an_image_is_passed_over_until_it_is_asked_again() -> None:
    world = running("a", "b", "c", checkpoint_interval=600)
    number = save(world)
    lose(world, "a", "bc")
    for first in ("b", "c"):
        task = world.job(1).tasks[0]
        assert task.node == first
        assert task.restarts == 1
        no = said("refused", epoch=task.epoch, cause=NOT_HERE, message="libm differs")
        world.report(first, no)
    job = world.job(1)
    assert (job.state, job.tasks[0].saved.resume) == (State.PENDING, True)
    assert "can go on from its checkpoint; b, c refused it" in job.reason
    lose(world, "a", "bc")
    assert world.job(1).state is State.PENDING
    lose(world, "a", "bc")
    assert world.job(1).state is State.RUNNING
    begun = wanted(world, world.job(1).tasks[0].node)
    assert begun.image is not None
    assert begun.image.number == number


def test_a_damaged_image_gives_way_to_an_older_one_and_that_to_the_beginning() -> None:
    world = running(checkpoint_interval=600)
    older = save(world)
    newer = save(world)
    lose(world, "a", "b")
    task = world.job(1).tasks[0]
    world.report("b", said("refused", epoch=task.epoch, cause=NO_IMAGE, message="it is damaged"))
    task = world.job(1).tasks[0]
    assert (task.node, task.restarts) == ("b", 1)
    found = wanted(world, "b").image
    assert found is not None
    assert found.number == older
    assert f"checkpoint {newer} cannot be used: b: it is damaged" in task.saved.note
    assert paths(world) == {f"/shared/image-{newer}"}
    world.report("b", said("refused", epoch=task.epoch, cause=NO_IMAGE, message="so is it"))
    task = world.job(1).tasks[0]
    assert wanted(world, "b").image is None
    assert task.saved.note.startswith("it was begun from its beginning: checkpoint")
    assert paths(world) == {f"/shared/image-{newer}", f"/shared/image-{older}"}


def test_a_requeue_is_from_the_beginning_and_of_one_that_waits_as_well() -> None:
    world = running()
    save(world)
    world.do(lambda draft: ending.requeue(draft, world.job(1), "alice", world.now))
    world.report("a", ended(None, 15))
    assert wanted(world, world.job(1).tasks[0].node).image is None
    assert len(paths(world)) == 1

    world = running("a", checkpoint_interval=60)
    save(world)
    world.set_state("a", "drain")
    world.report("a", ended(None, 11))
    assert (world.job(1).state, world.job(1).resumes) == (State.PENDING, True)
    world.do(lambda draft: ending.requeue(draft, world.job(1), "alice", world.now))
    assert not world.job(1).resumes
    assert len(paths(world)) == 1
    world.set_state("a", "resume")
    assert wanted(world, "a").image is None


def test_only_a_node_of_the_same_kind_with_no_older_criu_is_given_an_image() -> None:
    world = World("a", "b", "c", slots=2)
    world.submit(checkpoint_interval=60)
    world.report("a", said_running())
    save(world)
    world.report("b", mover={**MOVER, "criu": "3.17"})
    world.report("c", mover={**MOVER, "machine": "aarch64"})
    world.set_state("a", "drain")
    world.report("a", ended(None, 11))
    job = world.job(1)
    assert job.state is State.PENDING
    assert job.reason == "no node that is free now can go on from its checkpoint"
    world.report("b")
    world.silent(1)
    assert world.job(1).tasks[0].node == "b"


def test_tasks_of_a_batch_go_on_each_from_its_own_image_or_from_the_beginning() -> None:
    world = World("a", "b", slots=2)
    world.submit(
        checkpoint_interval=60, **{"class": "batch"}, total_tasks=2, executable="/shared/x"
    )
    epochs = {task.index: (task.node, task.epoch) for task in world.job(1).tasks}
    for index, (node, epoch) in epochs.items():
        world.report(node, replace(said_running(epoch), task=index))
    world.do(lambda draft: checkpoints.ask(draft, world.job(1), 0, "alice", world.now))
    saving = world.job(1).tasks[0]
    made = replace(moved("save", number=saving.saved.last, data=image(saving.saved.last)), task=0)
    world.report(saving.node, said_running(), moves=(made,))
    for index, (node, epoch) in epochs.items():
        world.report(node, replace(ended(None, 11), task=index, epoch=epoch))
    first, second = world.job(1).tasks
    assert first.saved.image is not None
    assert first.saved.image.number == saving.saved.last
    assert second.state is State.FAILED


def test_images_of_tasks_that_end_together_are_each_removed() -> None:
    world = World("a", slots=4)
    world.submit(checkpoint_interval=60, **{"class": "batch"}, total_tasks=3)
    parts = [replace(said_running(), task=index) for index in range(3)]
    world.report("a", *parts)
    for index in range(3):
        world.do(lambda draft, i=index: checkpoints.ask(draft, world.job(1), i, "alice", world.now))
        number = world.job(1).tasks[index].saved.last
        made = replace(moved("save", number=number, data=image(number)), task=index)
        world.report("a", *parts, moves=(made,))
    world.act(lambda draft, _, job, now: ending.requeue(draft, job, "alice", now), 1, ALICE)
    world.report("a", *[replace(ended(None, 15), task=index) for index in range(3)])
    assert len(paths(world)) == 3

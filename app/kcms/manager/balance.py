"""Running jobs of crowded nodes go to idle ones, where the site wants that.  Pure.

What is observed is in memory (:mod:`kcms.manager.watched`), what is to move is decided by
:mod:`kcms.jobs.balancing`, and a move is one like any other (:mod:`kcms.manager.migrations`).
Every round of the manager gives what leaves its node and what waits its turn before.
"""

from __future__ import annotations

from collections.abc import Iterator

from kcms.errors import KcmsError
from kcms.jobs import balancing
from kcms.jobs.balancing import Move, Mover, Seen
from kcms.jobs.model import Job, NodeReport, Task
from kcms.jobs.needs import cpus_of
from kcms.jobs.placement import Candidate
from kcms.jobs.pressure import GIVES, LISTENING, NEITHER, TAKES, Marks
from kcms.jobs.processes import Process
from kcms.jobs.resting import Rest
from kcms.jobs.states import State
from kcms.manager import migrations
from kcms.manager.leaving import Rooms
from kcms.manager.memory import Draft, Node, name_of, under_way
from kcms.manager.nodes import candidates
from kcms.manager.signals import is_waiting
from kcms.manager.watched import AtWork, Heard, TaskId, Told, Watch

BALANCER = "the balancer"
"""At whose wish such a job moves."""

EVERY = 10.0
"""Seconds, listened, between two decisions."""


# what is observed --------------------------------------------------------------------------------


def tick(draft: Draft, listened: float) -> None:
    """Let time pass, as far as the manager listened, and take what nodes said meanwhile."""
    marks, watch = draft.base.rules.balance, draft.base.watch
    if marks is None:
        return
    watch.let_pass(listened)
    for name in watch.nodes.keys() - draft.base.nodes.keys():
        del watch.nodes[name]
    for node in draft.base.nodes.values():
        _listen(draft, node, listened, marks)
    watch.waited += listened
    if watch.waited >= min(EVERY, marks.hold):
        watch.waited, watch.due = 0.0, True


def _listen(draft: Draft, node: Node, listened: float, marks: Marks) -> None:
    heard = draft.base.watch.nodes.setdefault(node.name, Heard())
    heard.since += listened
    if not draft.base.is_up(node) or node.report is None:
        heard.track.anew()
        heard.said = None
    elif node.report is not heard.said:
        jobs = _at_work(draft, node.name, node.report, heard.since, marks)
        heard.track.follow(_pressure(node.report, jobs, marks), heard.since, marks)
        heard.said, heard.since = node.report, 0.0


def _at_work(draft: Draft, name: str, said: NodeReport, seconds: float, marks: Marks) -> float:
    """Take what a node tells of its tasks; how many CPUs they want now."""
    alive: dict[TaskId, list[Process]] = {}
    for each in said.processes:
        if each.store == draft.base.store:
            alive.setdefault((each.job, each.index), []).append(each)
    wanted = 0.0
    for job, task in draft.tasks_on(name):
        there, moving = alive.get((job.id, task.index)), under_way(job)
        if there is None or (moving is not None and not moving.check_only):
            continue
        placement = (task.restarts, task.epoch)
        work = draft.base.watch.tasks.setdefault((job.id, task.index), AtWork(placement))
        work.placed(placement)
        mine = [each for each in there if each.epoch == task.epoch]
        wanted += work.follow(mine, seconds, marks, job.state is State.SUSPENDED)
    return wanted


def _pressure(said: NodeReport, jobs: float, marks: Marks) -> float:
    """What runs or waits for a CPU, for each of them: all of it, or what jobs want alone.

    (A node of the first release tells its load average only.)
    """
    cpus = max(float(said.load.get("cpu_num", 1.0)), 1.0)
    everything = said.load.get("proc_run", said.load.get("load_one", 0.0))
    return (jobs if marks.jobs_only else max(float(everything), jobs)) / cpus


# what came of moves ------------------------------------------------------------------------------


def _follow(draft: Draft, marks: Marks) -> None:
    """Take account of moves that are over, at whose wish ever they were, and forget what is."""
    watch = draft.base.watch
    there: set[TaskId] = set()
    for name in draft.base.nodes:
        for job, task in draft.tasks_on(name):
            there.add((job.id, task.index))
            _take_account(watch, job, marks)
    for kept in (watch.tasks, watch.rests):
        for key in kept.keys() - there:
            del kept[key]
    jobs = {number for number, _ in there}
    for number in watch.known.keys() - jobs:
        del watch.known[number]
    for told in watch.told:
        if told.job is not None and not told.outcome and told.job not in jobs:
            told.outcome = "the job is over"


def _take_account(watch: Watch, job: Job, marks: Marks) -> None:
    moving = job.migration
    if moving is None or not moving.over or moving.check_only:
        return
    if watch.known.get(job.id) == moving.number:
        return
    watch.known[job.id] = moving.number
    rest = watch.rests.setdefault((job.id, moving.task), Rest())
    if moving.phase == "done":
        rest.moved(marks.pause)
        watch.apart[moving.target, moving.source] = marks.pause
        outcome = "done" + _stood_still(moving.freeze_seconds)
    else:
        rest.refused(marks.pause, moving.message)
        outcome = f"{moving.phase}: {moving.message}"
    for name in (moving.source, moving.target):
        if name in watch.nodes:
            watch.nodes[name].track.anew()
    for told in watch.told:
        if (told.job, told.number) == (job.id, moving.number):
            told.outcome = outcome


def _stood_still(seconds: float | None) -> str:
    return "" if seconds is None else f", stood still for {seconds:.1f} s"


# what moves --------------------------------------------------------------------------------------


def go(draft: Draft, now: float) -> None:
    """Have move what is to move, when it is time to decide on that."""
    marks, watch = draft.base.rules.balance, draft.base.watch
    if marks is None or not watch.due:
        return
    watch.due = False
    _follow(draft, marks)
    busy, ours = _busy(draft)
    nodes = _nodes(draft, marks, busy)
    verdict = balancing.decide(nodes, marks, draft.base.past_moves, watch.apart.keys(), ours)
    watch.why, watch.notes = verdict.why, verdict.notes
    for move in verdict.moves:
        _move(draft, move, marks, now)
    if not verdict.moves:
        watch.tell(Told(now, f"nothing moves: {verdict.why}"))


def _move(draft: Draft, move: Move, marks: Marks, now: float) -> None:
    watch, job = draft.base.watch, draft.job(move.job)
    if job is None:
        return
    told = Told(
        now,
        *(move.message, move.job, move.task, job.user, move.source, move.target),
        *(round(move.gain, 1), round(move.cost, 1)),
    )
    watch.tell(told)
    try:
        after = migrations.ask(draft, job, move.target, BALANCER, False, now, move.task)
    except KcmsError as error:  # which placement does not know of: not to be tried every time
        watch.rests.setdefault((move.job, move.task), Rest()).refused(marks.pause, error.message)
        told.outcome = f"not begun: {error.message}"
    else:
        told.number = after.migration.number if after.migration else 0


def _busy(draft: Draft) -> tuple[set[str], int]:
    """The nodes from or to which something moves, and how many of these moves are ours."""
    moves = [each for each in map(under_way, draft.moving()) if each and not each.check_only]
    names = {name for each in moves for name in (each.source, each.target)}
    return names, sum(each.by == BALANCER for each in moves)


def _nodes(draft: Draft, marks: Marks, busy: set[str]) -> list[Seen]:
    """The nodes as the policy sees them; tasks of those alone that give."""
    found = {each.name: seen(draft, each, marks, busy) for each in _usable(draft)}
    takers = {name for name, each in found.items() if each.role == TAKES and not each.busy}
    if not takers:
        return list(found.values())
    rooms = Rooms(draft)
    for name, each in found.items():
        if each.role == GIVES and not each.busy:
            movers = tuple(_movers(draft, name, rooms, takers))
            found[name] = Seen(name, each.cpus, each.demand, each.role, False, movers)
    return list(found.values())


def _usable(draft: Draft) -> list[Candidate]:
    return [each for each in candidates(draft) if each.up and not each.drained]


def seen(draft: Draft, there: Candidate, marks: Marks, busy: set[str]) -> Seen:
    """A node as the policy sees it, without its tasks."""
    heard = draft.base.watch.nodes.get(there.name)
    track = heard.track if heard else None
    if track is None or track.value is None:
        return Seen(there.name, there.cpus, 0.0, LISTENING, there.name in busy)
    cpus = max(there.cpus, 1)
    demand = max(track.value * cpus, _wanted(draft, there.name))
    role = track.role(marks)
    if role == TAKES and demand > marks.low * cpus:  # what was just placed there
        role = NEITHER
    return Seen(there.name, cpus, demand, role, there.name in busy)


def _wanted(draft: Draft, name: str) -> float:
    """How many CPUs the tasks of a node want; of one that was not seen yet, what it takes."""
    tasks = draft.base.watch.tasks
    wanted = 0.0
    for job, task in draft.tasks_on(name):
        work = tasks.get((job.id, task.index))
        known = None if work is None else work.demand
        wanted += float(cpus_of(job)) if known is None else known
    return wanted


def _movers(draft: Draft, name: str, rooms: Rooms, takers: set[str]) -> Iterator[Mover]:
    for job, task in sorted(draft.tasks_on(name), key=lambda each: (each[0].id, each[1].index)):
        work = draft.base.watch.tasks.get((job.id, task.index))
        against = _against(draft, job, task, work)
        if against or work is None or work.demand is None:
            yield Mover(job.id, task.index, name_of(job, task.index), 0.0, 0.0, against=against)
            continue
        limit = job.spec.get("time_limit")
        targets, why = _targets(draft, job, task, rooms, takers)
        yield Mover(
            *(job.id, task.index, name_of(job, task.index), work.demand, work.age),
            limit=None if limit is None else float(limit) - work.age,
            size=work.size,
            targets=targets,
            against=why,
        )


def _against(draft: Draft, job: Job, task: Task, work: AtWork | None) -> str:
    """Why a task stays, wherever it could go."""
    try:
        migrations.movable(job, task.index)
    except KcmsError as error:
        return error.message
    if is_waiting(draft, job, task):
        return "a signal is on its way to it"
    if task.saved.saving is not None:
        return "a checkpoint of it is being made"
    rest = draft.base.watch.rests.get((job.id, task.index))
    if rest is not None and rest.left > 0:
        return f"{rest.why}; it is left where it is for {rest.left:.0f} s"
    return "it was not seen at work yet" if work is None or work.demand is None else ""


def _targets(
    draft: Draft, job: Job, task: Task, rooms: Rooms, takers: set[str]
) -> tuple[tuple[str, ...], str]:
    """The nodes that take and could have it, the best first; without any, why."""
    room, why = rooms.now(job)
    taking = [each for each in room if each in takers]
    if not taking:
        return (), why or "no node that takes has room for it"
    against = {each: migrations.obstacle(draft, job, task, each) for each in taking}
    found = tuple(each for each in taking if against[each] is None)
    return found, "" if found else against[taking[0]] or ""

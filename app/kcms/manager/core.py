"""The manager's decisions: what becomes of jobs when somebody asks, a node reports, time passes.

Pure.  Every function works on a :class:`Draft`, a layer over the manager's memory; the engine
commits a draft to the store and only then merges it, so that memory never runs ahead of the disk.

A node and the manager agree by level.  The manager publishes what it wants
(:mod:`kcms.manager.wanted`); the node reports what is (:func:`report`), and drops its own record of
an end only when told so.  How jobs move is :mod:`kcms.manager.migrations`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Any

from kcms.errors import Conflict, Forbidden, InvalidRequest, NotFound
from kcms.jobs import ladder, queue
from kcms.jobs.model import TIME_LIMIT, Job, NodeReport, Task, TaskReport
from kcms.jobs.processes import Process
from kcms.jobs.spec import same, task_count
from kcms.jobs.states import State
from kcms.manager import checkpoints, ending, losses, migrations, periodic, restarting, unfit
from kcms.manager.memory import Draft, Orphan, TaskKey, key_of, units
from kcms.manager.nodes import OVER_ON_NODE

NOT_HEARD = "is not heard"
LEASE_MARGIN = 10.0
"""Seconds that an init has, once its lease is over, to see that and to end its task."""

MOST_LACKED = 1_000_000
"""Jobs that a copy of the store may lack; a number further off is not believed."""


@dataclass(frozen=True)
class Caller:
    """Who asks: a user as a gateway vouches for it; ``grid_root`` sees and ends everybody's."""

    user: str
    uid: int
    gid: int
    host: str
    grid_root: bool = False


def submit(
    draft: Draft,
    caller: Caller,
    spec: dict[str, Any],
    key: str | None,
    now: float,
    over: Callable[[int], Job | None] = lambda number: None,
) -> Job:
    """A new PENDING job.  ``spec`` is clean; whether ``key`` is taken is known to the store.

    :param over: looks up a job that is over

    :raises Conflict: the user has as many jobs that are not over as the rules allow
    :raises InvalidRequest: it is to follow a job that there is not for this user
    """
    most = draft.base.rules.max_open_jobs
    if draft.open_jobs(caller.user) >= most:
        raise Conflict(
            f"{caller.user} has {most} jobs that are not over: wait for some, or kill some"
        )
    tasks = draft.open_tasks_of(caller.user)
    if tasks + task_count(spec) > draft.base.rules.max_open_tasks:
        raise Conflict(
            f"{caller.user} has {tasks} tasks that are not over, and with these there were more "
            f"than {draft.base.rules.max_open_tasks}: wait for some, or kill some"
        )
    job = Job(
        id=draft.last_job + 1,
        cluster=draft.base.cluster,
        user=caller.user,
        uid=caller.uid,
        gid=caller.gid,
        spec=_saved_by_default(draft, spec),
        submit_host=caller.host,
        submit_time=now,
        key=key,
        held_by=caller.user if spec.get("hold") else None,
    )
    _check_partition(draft, job)
    _check_followed(draft, caller, job, over)
    draft.last_job += 1
    return draft.put(job, now, "submit")


def _saved_by_default(draft: Draft, spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with the site's interval, when it has none and can be saved at all."""
    usual = draft.base.rules.checkpoint_interval
    if not usual or spec.get("checkpoint_interval") is not None or ladder.impossible(spec):
        return spec
    return {**spec, "checkpoint_interval": usual}


def _check_partition(draft: Draft, job: Job) -> None:
    wanted, known = job.spec.get("partition"), draft.base.rules.partitions
    if wanted is not None and wanted not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "this cluster has none"
        raise InvalidRequest(f"partition {wanted!r} is unknown; {there}")


def _check_followed(
    draft: Draft, caller: Caller, job: Job, over: Callable[[int], Job | None]
) -> None:
    """Whether a new job may follow those that it is to follow; what is known of them is kept."""
    known: dict[int, queue.Followed] = {}
    for kind, number in queue.followed_by(job):
        there = number <= draft.last_job
        other = draft.job(number) or over(number) if there else None
        try:
            found = check_sees(caller, other, number)
        except NotFound as error:
            raise InvalidRequest(f"dependency {kind}:{number}: {error.message}") from error
        known[number] = queue.Followed.of(found)
    draft.found.update(known)


def check_same(job: Job, spec: dict[str, Any], key: str) -> Job:
    """The job that a key stands for already.  :raises Conflict: it was asked for otherwise"""
    name = "checkpoint_interval"
    if spec.get(name) is None:  # which the site may have given it
        spec = {**spec, name: job.spec.get(name)}
    if not same(job.spec, spec):
        raise Conflict(
            f"key {key!r} is that of job {job.id}, which was asked for with other fields"
        )
    return job


def check_sees(caller: Caller, job: Job | None, number: int) -> Job:
    """:raises NotFound: no such job, or none of this caller's"""
    if job is None or not (caller.grid_root or job.user == caller.user):
        raise NotFound(f"there is no job {number} that {caller.user} may see")
    return job


def check_root(caller: Caller, what: str) -> None:
    """:raises Forbidden: not the grid's root"""
    if not caller.grid_root:
        raise Forbidden(f"only root of the head may {what}, not {caller.user} of {caller.host}")


def kill(draft: Draft, caller: Caller, job: Job, now: float) -> Job:
    """Ask for the end of a job the caller sees.  :raises Conflict: it is over"""
    if job.state.final:
        raise Conflict(f"job {job.id} is over already ({job.state.value})")
    if job.killed_by is not None:
        return job
    if job.state is State.PENDING:
        ended = job.moved(
            State.CANCELLED, reason="killed while it waited", killed_by=caller.user, end_time=now
        )
        return draft.put(ended, now, "kill", by=caller.user)
    job = migrations.stop(draft, job, f"the job was killed by {caller.user}", now)
    asked = replace(job, killed_by=caller.user, fate=None, reason=f"being killed by {caller.user}")
    if not job.open_tasks:  # the rest of a batch, of which nothing found room
        asked = asked.moved(State.CANCELLED, reason=f"killed by {caller.user}", end_time=now)
    return draft.put(asked, now, "kill", by=caller.user)


def kill_task(draft: Draft, caller: Caller, job: Job, index: int, now: float) -> Job:
    """Ask for the end of one task of a job, which need not have begun.

    :raises Conflict: it is over, or ends with the others only
    :raises NotFound: the job has no such task
    """
    if not 0 <= index < job.size:
        raise NotFound(f"job {job.id} has the tasks 0 to {job.size - 1}, and no task {index}")
    if job.size == 1:
        return kill(draft, caller, job, now)
    if job.job_class == "parallel":
        raise Conflict(f"the tasks of parallel job {job.id} end together: kill the job")
    task = job.task(index)
    if job.state.final or (task is not None and task.state.final):
        state = (task.state if task and task.state.final else job.state).value
        raise Conflict(f"task {index} of job {job.id} is over already ({state})")
    if job.ending or (task is not None and task.killed_by is not None):
        return job
    if task is not None and task.open:
        job = migrations.stop(draft, job, f"it was killed by {caller.user}", now, index)
        told = replace(task, killed_by=caller.user)
        after = replace(job, tasks=job.with_tasks(told))
        return draft.put(after, now, "kill", by=caller.user, task=index)
    return ending.cancel(draft, job, index, caller.user, now)


def report(
    draft: Draft,
    name: str,
    said: NodeReport,
    now: float,
    missing: Set[int] = frozenset(),
    over: Callable[[int], Job | None] = lambda number: None,
) -> list[TaskKey]:
    """Take a node's report; the tasks whose record the node may drop once this is durable.

    Tasks of another job store have numbers that mean nothing here: they only take up slots.  So do
    those of ``missing`` jobs and of epochs, which the store never had: it is an older copy of the
    one that they were placed from.  Their numbers are not given again.

    :param over: looks up a job that is over
    :raises Forbidden: the node is none of this cluster's
    """
    node = draft.base.nodes.get(name)
    if node is None:
        raise Forbidden(f"{name} is no node of cluster {draft.base.cluster}")
    ours, foreign = _ours_and_others(draft, said, missing, over)
    if node.foreign != foreign:
        draft.capacity = True
    losses.heed(draft, node, said)
    node.foreign = foreign  # before anything that looks at copies which the store does not know
    for each in ours:
        unfit.heed(draft, name, each, now)
        known = _known(draft, name, each)
        if known is not None:
            _follow(draft, *known, each, now)
        else:
            migrations.follow_copy(draft, name, each, now)
    migrations.follow(draft, name, said, now)
    checkpoints.follow(draft, name, said, now)
    _miss(draft, name, {(each.job, each.task, each.epoch) for each in ours}, now)
    orphans = _orphans(draft, name, ours, over, now)
    before, slots = draft.base.is_up(node), node.report.slots if node.report else 0
    if draft.base.unsure:
        draft.concerned.add(name)
    if node.orphans != orphans:
        draft.concerned.add(name)
        draft.capacity = True
    if not before or slots != said.slots:
        draft.capacity = True
    node.heard, node.silence, node.report, node.orphans = now, 0.0, said, orphans
    draft.base.processes.follow(name, _owned(draft, name, said), now)
    return [(each.job, each.task, each.epoch) for each in ours if each.phase in OVER_ON_NODE]


def _orphans(
    draft: Draft,
    name: str,
    ours: list[TaskReport],
    over: Callable[[int], Job | None],
    now: float,
) -> dict[TaskKey, Orphan]:
    """Tasks that run on a node and that nobody wants there.

    Where the job's last place is another, this is what a migration left: frozen, and not to be let
    go for a SIGTERM.
    """
    found: dict[TaskKey, Orphan] = {}
    earlier = draft.base.nodes[name].orphans
    for each in ours:
        key = (each.job, each.task, each.epoch)
        if each.phase in OVER_ON_NODE or each.job > draft.base.last_job:
            continue
        if _known(draft, name, each) or migrations.follow_copy(draft, name, each, now):
            continue
        if key in earlier:
            grace = earlier[key].grace
        else:
            job = draft.job(each.job) or over(each.job)
            placed = job is not None and bool(_place(job, name, key))
            grace = draft.base.rules.kill_grace if placed else 0.0
        found[key] = Orphan(grace, each.slots, each.memory)
    return found


def _owned(draft: Draft, name: str, said: NodeReport) -> list[tuple[Process, str]]:
    """The processes that a node may speak of: those of open tasks on it, with their users."""
    users = {key_of(job, task): job.user for job, task in draft.tasks_on(name)}
    return [
        (each, users[each.job, each.task, each.epoch])
        for each in said.processes
        if each.store == draft.base.store and (each.job, each.task, each.epoch) in users
    ]


def _ours_and_others(
    draft: Draft, said: NodeReport, missing: Set[int], over: Callable[[int], Job | None]
) -> tuple[list[TaskReport], tuple[TaskReport, ...]]:
    ours: list[TaskReport] = []
    others: list[TaskReport] = []
    for each in said.tasks:
        if each.store != draft.base.store:
            others.append(each)
            continue
        # A job may be over here alone, and go on where a newer copy of the store has put it.
        job = draft.job(each.job) or over(each.job)
        lacked = each.job in missing and job is None
        newer = job is not None and each.epoch >= migrations.next_epoch(job, each.task)
        (others if lacked or newer else ours).append(each)
        if (lacked or newer) and each.job - draft.base.last_job <= MOST_LACKED:
            draft.last_job = max(draft.last_job, each.job)
    return ours, tuple(others)


def _known(draft: Draft, name: str, said: TaskReport) -> tuple[Job, list[Task]] | None:
    """The active job and the open tasks of the unit that a report is about, unless it is about an
    older placement, or all of them were given up."""
    job = draft.job(said.job)
    if job is None or job.state.final:
        return None
    tasks = [t for t in _place(job, name, (said.job, said.task, said.epoch)) if t.open]
    return (job, tasks) if tasks else None


def _place(job: Job, name: str, key: TaskKey) -> list[Task]:
    """The job's tasks that are in that unit, when it was placed on that node last."""
    first = job.task(key[1])
    if first is None:
        return []
    tasks = job.tasks if job.job_class == "parallel" else (first,)
    return [task for task in tasks if (*key_of(job, task), task.node) == (*key, name)]


def _follow(draft: Draft, job: Job, tasks: list[Task], said: TaskReport, now: float) -> None:
    if said.phase == "launching":
        _launching(draft, job, tasks[0], said, now)
    elif said.phase == "running":
        _started(draft, job, tasks, said, now)
        ending.end(draft, job.id, _early(job, tasks, said), now)
    elif said.phase in OVER_ON_NODE:
        over = {task.index: ending.end_of(job, task, said) for task in tasks}
        ending.end(draft, job.id, over, now)


def _early(job: Job, tasks: list[Task], said: TaskReport) -> dict[int, ending.End]:
    """The ends of ranks whose unit runs on; its last one is over when the unit is, not before:
    until then its init and the site's epilogue are at work."""
    ends = {task.index: ending.end_of(job, task, said) for task in tasks if task.index in said.ends}
    if len(ends) == len(tasks):
        well = [index for index, end in ends.items() if end.state is State.COMPLETED]
        del ends[(well or list(ends))[-1]]
    return ends


def _launching(draft: Draft, job: Job, task: Task, said: TaskReport, now: float) -> None:
    """A node that has trouble to start a task says so, and the user should know."""
    reason = f"{task.node}: {said.message}" if said.message else "being started"
    if job.size > 1 and not said.message:
        return
    if not job.ending and task.start_time is None and job.reason != reason:
        draft.put(replace(job, reason=reason), now, "launch", node=task.node)


def _started(draft: Draft, job: Job, tasks: list[Task], said: TaskReport, now: float) -> None:
    reason = _why_so(job, said)
    late = [task for task in tasks if task.start_time is None]
    elsewhere = NOT_HEARD in job.reason and not job.reason.startswith(f"{tasks[0].node} ")
    if not late and (job.reason == reason or elsewhere):
        return
    began = [
        replace(restarting.begun(task, said.note), start_time=said.start_time or now)
        for task in late
    ]
    first = min((task.start_time for task in began if task.start_time), default=None)
    after = replace(
        job, tasks=job.with_tasks(*began), start_time=job.start_time or first, reason=reason
    )
    draft.put(after, now, "start", node=tasks[0].node, tasks=[task.index for task in late])


def _why_so(job: Job, said: TaskReport) -> str:
    """What is to be said of a job of which something runs, or stands still."""
    if job.killed_by:
        return f"being killed by {job.killed_by}"
    if job.fate is not None:
        return job.reason
    if job.size == 1 and any(restarting.is_asked(task) for task in job.open_tasks):
        return job.reason
    if job.size > 1:  # nothing that is so of one of its units alone, as they take turns in telling
        return f"suspended by {job.held_by}" if job.state is State.SUSPENDED else ""
    if said.cause == TIME_LIMIT:
        return "its time limit is reached"
    if job.state is State.SUSPENDED:
        return f"{'' if said.suspended else 'being '}suspended by {job.held_by}"
    return "being resumed" if said.suspended else ""


def _miss(draft: Draft, name: str, told: set[TaskKey], now: float) -> None:
    """A task that once ran and of which its node knows nothing any more is lost.

    Two reports in a row must lack it: a single one may be old, held up by the network.
    """
    node = draft.base.nodes[name]
    missing = set()
    for key, (job, tasks) in units(draft.tasks_on(name)).items():
        if key in told or all(task.start_time is None for task in tasks):
            continue
        missing.add(key)
        if key in node.missing:
            reason = f"{name}: the node has no record of the task any more"
            lost = ending.End(State.NODE_FAIL, reason, unheard=True)
            ending.end(draft, job.id, {task.index: lost for task in tasks}, now)
    node.missing = frozenset(missing)


def tick(draft: Draft, now: float, listened: float) -> None:
    """Let time pass: say of jobs on silent nodes why nothing moves, and in the end give them up.

    :param listened: seconds since the last tick in which reports could come in
    """
    rules = draft.base.rules
    draft.capacity = True
    for node in draft.base.nodes.values():
        node.silence += listened
    migrations.tick(draft, now, listened)
    checkpoints.tick(draft, now, listened)
    periodic.tick(draft, now, listened)
    restarting.tick(draft, listened, now)
    losses.tick(draft, listened)
    for name, node in sorted(draft.base.nodes.items()):
        silent = node.silence
        if silent <= rules.node_timeout:
            continue
        for job, tasks in units(draft.tasks_on(name)).values():
            _not_heard(draft, job.id, name, [task.index for task in tasks], silent, now)
        there = {key_of(job, task) for job, task in draft.tasks_on(name)}
        draft.base.processes.settle(name, there, now)


def _not_heard(
    draft: Draft, number: int, name: str, tasks: list[int], silent: float, now: float
) -> None:
    """Say of a job why nothing moves; in the end give up what it has on a silent node."""
    job, rules = draft.job(number), draft.base.rules
    limit = rules.node_lost
    leases = [task.lease for each in tasks if job and (task := job.task(each)) and task.lease]
    if leases:  # they have to have ended there before
        limit = max(limit, max(leases) + LEASE_MARGIN)
    if silent > limit:
        reason = f"{name} was not heard for {limit:g} s"
        end = ending.End(State.NODE_FAIL, reason, unheard=True)
        ending.end(draft, number, dict.fromkeys(tasks, end), now)
    elif job is not None and not job.ending and NOT_HEARD not in job.reason:
        where = "it may still run there" if job.size == 1 else "tasks of it may still run there"
        draft.put(replace(job, reason=f"{name} {NOT_HEARD}; {where}"), now, "silence", node=name)

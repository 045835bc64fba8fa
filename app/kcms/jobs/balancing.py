"""Which running tasks move from a crowded node to an idle one, and why.  Pure.

A node gives, or takes, by its pressure alone (:mod:`kcms.jobs.pressure`).  Of what could go from
one to the other, that goes of which most is gained:

- A task is expected to run for as long again as it has run.  Source: Harchol-Balter, Downey,
  "Exploiting process lifetime distributions for dynamic load balancing" (ACM Transactions on
  Computer Systems 15, 1997): of those that reached an age of T seconds about half reach 2 T.
- What it gains is the CPU time that is done more while it runs, where those that want more CPUs
  than a node has share them: as many CPUs are at work as are wanted, or as there are.
- What it costs is the time that it stands still (:mod:`kcms.jobs.freezing`), for each CPU that it
  would have used, and once more for the CPUs that carry it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kcms.jobs.freezing import Past, foretold
from kcms.jobs.pressure import GIVES, LISTENING, TAKES, Marks

AT_ONCE = 2
"""Moves of a cluster that are under way at the same time."""

LEAST_DEMAND = 0.25
"""CPUs that a task must want: one that mostly sleeps crowds nobody."""


@dataclass(frozen=True)
class Mover:
    """A task on a node that gives.

    ``demand`` is how many CPUs it wants, ``age`` the seconds for which it was seen to run, and
    ``limit`` those that its time limit leaves it, None for any number.  ``size`` are the bytes of
    its memory.  ``targets`` are the nodes with room for it that nothing is known against, the best
    first; ``against`` is why it stays in any case.
    """

    job: int
    task: int
    name: str
    demand: float
    age: float
    limit: float | None = None
    size: int = 0
    targets: tuple[str, ...] = ()
    against: str = ""

    @property
    def left(self) -> float:
        """Seconds for which it is expected to run on."""
        return max(0.0, self.age if self.limit is None else min(self.age, self.limit))


@dataclass(frozen=True)
class Seen:
    """A node: ``demand`` is how many CPUs are wanted there; ``busy`` that a move from or to it is
    under way; ``movers`` are its tasks, where it gives."""

    name: str
    cpus: int
    demand: float
    role: str
    busy: bool = False
    movers: tuple[Mover, ...] = ()

    @property
    def pressure(self) -> float:
        return self.demand / max(self.cpus, 1)


@dataclass(frozen=True)
class Move:
    """``gain`` and ``cost`` are CPU seconds."""

    job: int
    task: int
    source: str
    target: str
    gain: float
    cost: float
    message: str


@dataclass(frozen=True)
class Verdict:
    """What moves now, or in a sentence why nothing does; ``notes`` says of tasks on nodes that
    give why they stay."""

    moves: tuple[Move, ...]
    why: str
    notes: dict[tuple[int, int], str]


def gained(source: Seen, target: Seen, demand: float) -> float:
    """How many CPUs more are at work when a task that wants ``demand`` of them is moved."""
    before = min(source.demand, source.cpus) + min(target.demand, target.cpus)
    after = min(source.demand - demand, source.cpus) + min(target.demand + demand, target.cpus)
    return max(0.0, after - before)


def decide(
    nodes: Sequence[Seen],
    marks: Marks,
    past: Iterable[Past] = (),
    apart: AbstractSet[tuple[str, str]] = frozenset(),
    under_way: int = 0,
) -> Verdict:
    """What is to move now.

    :param past: earlier moves, for what one costs
    :param apart: pairs of nodes between which nothing moves in that direction for a while
    :param under_way: how many of our moves are
    """
    givers = [each for each in nodes if each.role == GIVES]
    takers = {each.name: each for each in nodes if each.role == TAKES and not each.busy}
    why = _why_none(nodes, givers, takers, marks)
    if not why and under_way >= AT_ONCE:
        why = f"{under_way} moves are under way, and no more are at once"
    deciding = _Deciding(marks, tuple(past), apart, takers)
    if why:
        return Verdict((), why, {})
    moves: list[Move] = []
    for giver in sorted(givers, key=lambda each: (-each.pressure, each.name)):
        move = None if giver.busy else deciding.best(giver)
        if move is None:
            continue
        if len(moves) + under_way < AT_ONCE:
            moves.append(move)
            del takers[move.target]
        else:
            deciding.notes[move.job, move.task] = "others go first"
    names = _names(each.name for each in givers)
    stays = "" if moves else f"of what runs on {names} nothing can go, or is worth it"
    return Verdict(tuple(moves), stays, deciding.notes)


def _why_none(
    nodes: Sequence[Seen], givers: Sequence[Seen], takers: dict[str, Seen], marks: Marks
) -> str:
    if not nodes:
        return "no node is up and in use"
    hold = f"for {marks.hold:g} s"
    if all(each.role == LISTENING for each in nodes):
        return f"no node was listened to {hold} yet, since this manager began or something moved"
    if not givers:
        return f"no node has stood above {marks.high:g} for each CPU {hold}"
    names = _names(each.name for each in givers)
    if all(each.busy for each in givers):
        return f"from or to {names} something moves already"
    if takers:
        return ""
    busy = [each.name for each in nodes if each.role == TAKES]
    if busy:
        return f"{names} would give, and from or to {_names(busy)} something moves already"
    return f"{names} would give, and no node has stood below {marks.low:g} for each CPU {hold}"


def _names(names: Iterable[str], shown: int = 4) -> str:
    known = sorted(names)
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return ", ".join(known[:shown]) + more


@dataclass
class _Choice:
    """A way that a task could go: what speaks for it in CPU seconds, or the word against it."""

    target: Seen
    gain: float = 0.0
    cost: float = 0.0
    against: str = ""

    @property
    def net(self) -> float:
        return self.gain - self.cost


class _Deciding:
    """One pass; ``takers`` shrinks as they are taken."""

    def __init__(
        self,
        marks: Marks,
        past: tuple[Past, ...],
        apart: AbstractSet[tuple[str, str]],
        takers: dict[str, Seen],
    ) -> None:
        self.marks = marks
        self.past = past
        self.apart = apart
        self.takers = takers
        self.notes: dict[tuple[int, int], str] = {}

    def best(self, giver: Seen) -> Move | None:
        """The move from a node of which most is gained."""
        found: list[tuple[float, Mover, _Choice]] = []
        for mover in giver.movers:
            choice = self._choice(giver, mover)
            if isinstance(choice, str):
                self.notes[mover.job, mover.task] = choice
            else:
                found.append((choice.net, mover, choice))
        if not found:
            return None
        found.sort(key=lambda each: (-each[0], each[1].job, each[1].task))
        for _, mover, _ in found[1:]:
            self.notes[mover.job, mover.task] = f"another goes first from {giver.name}"
        return self._move(giver, found[0][1], found[0][2])

    def _move(self, giver: Seen, mover: Mover, choice: _Choice) -> Move:
        target = choice.target
        message = (
            f"{mover.name} from {giver.name} ({giver.pressure:.2f} for each CPU) to {target.name} "
            f"({target.pressure:.2f}): expected to run for {mover.left:.0f} s more, in which "
            f"{choice.gain:.0f} CPU seconds more are done; the move costs {choice.cost:.1f}"
        )
        where = (giver.name, target.name)
        return Move(mover.job, mover.task, *where, choice.gain, choice.cost, message)

    def _choice(self, giver: Seen, mover: Mover) -> _Choice | str:
        """The best way of a task, or why it stays."""
        if mover.against:
            return mover.against
        if mover.demand < LEAST_DEMAND:
            return "it hardly uses a CPU"
        ways = list(self._ways(giver, mover))
        good = [each for each in ways if not each.against]
        if good:
            return max(good, key=lambda each: each.net)
        return ways[0].against if ways else "no node that takes has room for it and could have it"

    def _ways(self, giver: Seen, mover: Mover) -> Iterator[_Choice]:
        for name in mover.targets:
            target = self.takers.get(name)
            if target is not None and name != giver.name:
                yield self._way(giver, mover, target)

    def _way(self, giver: Seen, mover: Mover, target: Seen) -> _Choice:
        if (giver.name, target.name) in self.apart:
            told = f"something moved from {target.name} to {giver.name} lately"
            return _Choice(target, against=told)
        if target.demand + mover.demand > target.cpus * self.marks.full:
            return _Choice(target, against=f"it would crowd {target.name}")
        still = foretold(mover.size, giver.name, target.name, self.past)
        cost = (mover.demand + 1.0) * still
        gain = gained(giver, target, mover.demand) * mover.left
        if gain > self.marks.factor * cost:
            return _Choice(target, gain, cost)
        told = (
            f"expected to run for {mover.left:.0f} s more, it would gain {gain:.1f} CPU seconds on "
            f"{target.name}, not {self.marks.factor:g} times the {cost:.1f} that the move costs"
        )
        return _Choice(target, gain, cost, told)

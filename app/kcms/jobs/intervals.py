"""How often a task is saved when its owner leaves that to the cluster.  Pure.

The optimum between work that is lost with a node and work that checkpoints cost is, to the first
order, Young's (1974) sqrt(2 d M), and to a higher one Daly's ("A higher order estimate of the
optimum checkpoint interval for restart dumps", Future Generation Computer Systems 22, 2006):

    t = sqrt(2 d M) (1 + sqrt(d / 2M) / 3 + d / 18M) - d    for d < 2 M, and M otherwise

d is what one checkpoint costs the task and M the mean time between losses of its node, both in
seconds.  d is measured by the last checkpoint: the task stood still for its freeze, and while the
image was written it shared the node with the writer, see :data:`SHARE`.

M is measured by the manager: seconds in which nodes were up, over losses of nodes.  As a cluster
that is young has seen none, one loss in :data:`PRIOR_SECONDS` of one node is counted as if it had
been seen before.  (This is the mean of a gamma distribution of the rate with shape 1 as its prior.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kcms.jobs.spec import duration_text

PRIOR_SECONDS = 30 * 86400.0
"""Time up of one node in which one loss is taken as seen before anything was."""

SHARE = 0.25
"""The part of its speed that a task is taken to lose while its image is written: it is assumed, not
measured, and that the writer is one process of few makes it rather too much than too little."""

LEAST_SECONDS = 60.0
MOST_SECONDS = 86400.0
LEAST_COSTS = 20.0
"""The interval is at least so many times the cost, so that a twentieth of the time goes for it."""

FIRST_SECONDS = 300.0
"""After so long the first checkpoint is made, which measures the cost."""

OWN_COST = 30.0
"""Seconds that are taken as the cost of a checkpoint that the job makes itself."""


@dataclass(frozen=True)
class Losses:
    """What a manager has seen of its nodes: the seconds that they were up, summed, and losses."""

    up_seconds: float = 0.0
    count: int = 0

    @property
    def mean_seconds(self) -> float:
        """The mean time between losses of one node."""
        return (PRIOR_SECONDS + self.up_seconds) / (1 + self.count)


def cost(freeze_seconds: float, seconds: float) -> float:
    """What a checkpoint cost its task, in seconds."""
    return freeze_seconds + SHARE * max(0.0, seconds - freeze_seconds)


def optimum(spent: float, mean: float) -> float:
    """Daly's interval, for a cost and a mean time between losses in seconds."""
    if spent >= 2 * mean:
        return mean
    ratio = spent / (2 * mean)
    return math.sqrt(2 * spent * mean) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - spent


def interval(spent: float, losses: Losses) -> tuple[float, str]:
    """Seconds between two checkpoints within their bounds, and a sentence that says why."""
    mean = losses.mean_seconds
    best = optimum(spent, mean)
    least = max(LEAST_SECONDS, LEAST_COSTS * spent)
    chosen = min(max(best, least), max(MOST_SECONDS, least))
    told = (
        f"the best for a cost of {spent:.2g} s and a loss of a node in {mean / 86400:.3g} days "
        f"({losses.count} seen in {losses.up_seconds / 86400:.3g} node-days)"
    )
    if chosen != best:
        bound = f"at least {LEAST_COSTS:.0f} times the cost and {LEAST_SECONDS:.0f} s"
        told += f" were {duration_text(round(best))}; it is {bound}, and a day at the most"
    return chosen, told

"""Images of checkpoints that are to be removed, as values and as rows of the store's table."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

LitterKey = tuple[int, int]
"""Job, and the number of the move that removes the images."""


@dataclass(frozen=True)
class Litter:
    """Images of one task, until a node answered that they are gone.  ``user``, ``uid`` and ``gid``
    are the job's, which may be over."""

    job: int
    number: int
    task: int
    epoch: int
    paths: tuple[str, ...]
    time: float
    user: str
    uid: int
    gid: int

    @property
    def key(self) -> LitterKey:
        return self.job, self.number


def read(database: sqlite3.Connection) -> dict[LitterKey, Litter]:
    """Every row there is."""
    found = {}
    for row in database.execute(
        "SELECT job, number, task, epoch, paths, time, user, uid, gid"
        " FROM litter JOIN jobs ON id = job ORDER BY job, number"
    ):
        job, number, task, epoch, paths, *owner = row
        each = Litter(job, number, task, epoch, tuple(json.loads(paths)), *owner)
        found[each.key] = each
    return found


def write(database: sqlite3.Connection, litter: Mapping[LitterKey, Litter | None]) -> None:
    """Put rows on record; None: the images are gone."""
    for key, each in litter.items():
        if each is None:
            database.execute("DELETE FROM litter WHERE (job, number) = (?, ?)", key)
        else:
            database.execute(
                "INSERT OR REPLACE INTO litter VALUES (?, ?, ?, ?, ?, ?)",
                (*key, each.task, each.epoch, json.dumps(each.paths), each.time),
            )

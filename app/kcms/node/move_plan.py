"""What one step of a migration is told, and the shape of what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kcms.jobs.migration import WantedMove
from kcms.node import admit, durable
from kcms.node.move_error import MoveError
from kcms.node.moves import STEPS_HERE
from kcms.node.owner import Ids


@dataclass(frozen=True)
class Plan:
    """What ``wanted.json`` of a move's record holds.

    ``cgroup`` is of the task's processes, ``record`` the directory of the task's record and
    ``account`` the owner's, both of the source only.  ``runtime`` is where the node notes when it
    was heard, in the boot ``boot_id``.
    """

    move: WantedMove
    directory: Path
    host: str
    shared_directories: list[str]
    criu: str
    capability: dict[str, str]
    cgroup: str = ""
    record: str = ""
    account: dict[str, Any] = field(default_factory=dict)
    runtime: str = ""
    boot_id: str = ""

    @classmethod
    def read(cls, directory: Path) -> Plan:
        """What another release has put there besides is passed over."""
        document = durable.read(str(directory), "wanted.json") or {}
        own = {each.name for each in fields(cls)} - {"move", "directory"}
        known = {name: each for name, each in document.items() if name in own}
        return cls(
            move=WantedMove.parse(document["move"], STEPS_HERE), directory=directory, **known
        )

    @property
    def ids(self) -> Ids:
        """The owner's: as the task started with here, or as this host knows them."""
        known = self.account or admit.resolve(self.move, self.host).document()
        return Ids(self.move.uid, self.move.gid, tuple(known["groups"]))

    def watch(self) -> None:
        """:raises MoveError: nobody wants the move any more"""
        if (self.directory / "undone").exists():
            raise MoveError("the move is no longer wanted")


Outcome = tuple[str, bool, dict[str, Any]]
"""Why it did not come about, whether the job noticed, and what the next step is told."""

"""What a node's record of a task says of the site's prologue and epilogue.  Pure; see logue.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcms.config import NodeConfig

FILES = ("logue", "prologue", "epilogue", "unfit")


@dataclass(frozen=True)
class Logues:
    """``unfit``: why the node is to get nothing new.  ``begun`` is the boot in which the prologue
    began, ``preparing`` whether it is not over; ``owed``: the epilogue is not over, which at the
    boot time ``until`` (None: it has not begun) it is at the latest; it has ``seconds``.
    """

    unfit: str = ""
    begun: str = ""
    preparing: bool = False
    owed: bool = False
    until: float | None = None
    seconds: float = 0.0

    @classmethod
    def parse(cls, documents: Mapping[str, dict[str, Any] | None]) -> Logues:
        """:raises KeyError, TypeError, ValueError: not such documents"""
        logue, before, after, unfit = (documents[name] for name in FILES)
        if logue is None or before is None:
            return NONE
        owed = bool(logue["epilogue"]) and (after is None or "ended" not in after)
        return cls(
            unfit=str(unfit["message"]) if unfit else "",
            begun=str(before["boot_id"]),
            preparing="ended" not in before,
            owed=owed,
            until=float(after["until"]) if after and owed else None,
            seconds=float(logue["seconds"]) if owed else 0.0,
        )

    def why_unfit(self, job: int, boot_id: str) -> str:
        """Of a task that is over: also an epilogue that was cut off, unless by the host's end."""
        if self.unfit or not self.owed or self.begun != boot_id:
            return self.unfit
        return f"epilogue of job {job} was cut off"


NONE = Logues()


def plan(config: NodeConfig) -> dict[str, Any] | None:
    """What the record of a task is to say; None where the site has neither."""
    if not config.prologue and not config.epilogue:
        return None
    return {
        "prologue": config.prologue,
        "epilogue": config.epilogue,
        "seconds": config.logue_seconds,
    }

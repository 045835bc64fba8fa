"""What the pages are given: the tree, the graphs, the time, the way to the managers, the logins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from flask import current_app

from kcms.config import WebConfig
from kcms.web.gateway import Gateway
from kcms.web.graphs import Graphs
from kcms.web.nodestates import NodeStates
from kcms.web.sessions import Forms, Sessions
from kcms.web.tree import TreeSource

EXTENSION = "kcms"


@dataclass(frozen=True)
class Services:
    """The outside world of the pages; tests put fakes here.  ``now`` is in epoch seconds."""

    tree: TreeSource
    graphs: Graphs
    gateway: Gateway
    nodes: NodeStates
    sessions: Sessions = field(default_factory=lambda: Sessions(time.monotonic))
    forms: Forms = field(default_factory=Forms)
    now: Callable[[], float] = field(default=time.time)


def services() -> Services:
    """The services of the application that serves this request."""
    return cast(Services, current_app.extensions[EXTENSION][1])


def settings() -> WebConfig:
    """The settings of the application that serves this request."""
    return cast(WebConfig, current_app.extensions[EXTENSION][0])

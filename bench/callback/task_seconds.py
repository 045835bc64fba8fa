"""Callback: how long each task of a play took, all hosts together, as JSON lines.

The file is named by KCMS_TASK_SECONDS.  ansible-core ships no such callback.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: task_seconds
type: aggregate
short_description: Wall seconds of each task
description: Writes one JSON line a task to the file that KCMS_TASK_SECONDS names.
requirements: [enable in configuration]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """A task lasts until the next begins: with the linear strategy nothing overlaps."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_seconds"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.name = "start of Ansible"
        self.since = time.monotonic()
        self.path = Path(os.environ["KCMS_TASK_SECONDS"])

    def _next(self, name: str) -> None:
        now = time.monotonic()
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"task": self.name, "seconds": now - self.since}) + "\n")
        self.name, self.since = name, now

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._next(task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._next(task.get_name())

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._next("")

"""Action side of kcms.cluster.release: the wheel goes only to hosts that lack it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.plugin_utils.wheel import (
    Sources,
    WheelError,
    build_wheel,
)

APP = Path(__file__).resolve().parents[2] / "app"
MODULE = "kcms.cluster.release"


class ActionModule(ActionBase):  # type: ignore[misc]
    """One module run where the version is there, two where it has to be sent."""

    supports_raw_params = False
    TRANSFERS_FILES = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            sources = Sources.read(APP)
            version = sources.version
        except (WheelError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error
        args = {**self._task.args, "version": version}
        asked = self._execute_module(MODULE, args, task_vars=task_vars)
        if asked.get("missing") and not self._task.check_mode and not asked.get("failed"):
            wheel = base64.b64encode(build_wheel(sources)).decode()
            asked = self._execute_module(MODULE, {**args, "wheel": wheel}, task_vars=task_vars)
        result.update(asked)
        return result

"""Action kcms.cluster.preflight: judges what the hosts of the play said, once for all of them."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import lines
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_control import (
    bundle_problems,
    check_inventory,
    plain,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_hosts import (
    Seen,
    Target,
    host_problems,
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """Contacts no host and changes nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        facts = _facts(task_vars)
        if self._task.args.get("stage") == "inventory":
            found = check_inventory(task_vars)
        else:
            tolerance = float(self._task.args.get("clock_tolerance", 5))
            problems = host_problems(Seen(facts, tolerance)) + bundle_problems(facts)
            found = lines(problems)
        result.update(changed=False, problems=len(found))
        if found:
            for line in found:
                self._display.display(f"preflight: {line}", color=constants.COLOR_ERROR)
            many = "1 problem, named" if len(found) == 1 else f"{len(found)} problems, each named"
            result.update(failed=True, msg=f"{many} above; nothing was changed")
        return result


def _facts(task_vars: Any) -> dict[str, dict[str, Any]]:
    """What kcms.cluster.preflight_info found, of the hosts that are still in the play."""
    found = {}
    for host in task_vars["ansible_play_hosts"]:
        seen = task_vars["hostvars"].raw_get(host).get("kcms_preflight")
        if seen and "time" in seen:
            row = plain(seen)
            row["targets"] = [Target(**each) for each in row["targets"]]
            found[str(host)] = row
    return found

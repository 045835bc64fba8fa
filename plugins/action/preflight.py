"""Action kcms.cluster.preflight: judges what the hosts of the play said, once for all of them."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import Problem, lines
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_control import (
    bundle_problems,
    check_inventory,
    newest_schema,
    plain,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_hosts import (
    Seen,
    Target,
    host_problems,
    newer_store_problems,
    unreached_problems,
    unseen_problems,
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """Contacts no host and changes nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.args.get("stage") == "inventory":
            found = check_inventory(task_vars)
        else:
            found = lines(self._problems_of_hosts(task_vars))
        result.update(changed=False, problems=len(found))
        if found:
            for line in found:
                self._display.display(f"preflight: {line}", color=constants.COLOR_ERROR)
            many = "1 problem, named" if len(found) == 1 else f"{len(found)} problems, each named"
            result.update(failed=True, msg=f"{many} above; nothing was changed")
        return result

    def _problems_of_hosts(self, task_vars: Any) -> list[Problem]:
        """Also says who was not reached; without those the rollout goes on."""
        tolerance = float(self._task.args.get("clock_tolerance", 5))
        rows = _rows(task_vars)
        facts = {host: row for host, row in rows.items() if "time" in row}
        silent = [str(each) for each in task_vars["ansible_play_hosts_all"] if each not in rows]
        fatal = unreached_problems(silent, task_vars["kcms_site"]["manager_hosts"])
        for host in silent if not fatal else ():
            said = f"preflight: {host}: it cannot be reached and is left out"
            self._display.display(said, color=constants.COLOR_WARN)
        for row in facts.values():  # what is not there itself is no firewall's fault
            row["targets"] = [each for each in row["targets"] if each.other not in silent]
        judged = host_problems(Seen(facts, tolerance)) + bundle_problems(facts)
        if not boolean(task_vars.get("kcms_restore_replace", False), strict=False):
            judged += newer_store_problems(facts, newest_schema())
        return fatal + unseen_problems(rows) + judged


def _rows(task_vars: Any) -> dict[str, dict[str, Any]]:
    """What kcms.cluster.preflight_info registered, of the hosts that are still in the play."""
    found = {}
    for host in task_vars["ansible_play_hosts"]:
        row = plain(task_vars["hostvars"].raw_get(host).get("kcms_preflight") or {})
        if "time" in row:
            row["targets"] = [Target(**each) for each in row["targets"]]
        found[str(host)] = row
    return found

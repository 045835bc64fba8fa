"""Action of preflight_info: fills in what to ask, and measures the host's clock."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_control import (
    listeners,
    managed_by,
    targets_of,
)

MODULE = "kcms.cluster.preflight_info"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """One module run."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        settings = args.pop("settings", {})
        host, site = task_vars["inventory_hostname"], task_vars.get("kcms_site")
        ours: list[tuple[str, str, str]] = []
        is_node = False
        targets = []
        managers: dict[str, str] = {}
        if site and host in site["hosts"]:
            managers = {name: row["manager"] for name, row in site["clusters"].items()}
            ours = listeners(site, host, settings)
            is_node = "node" in site["hosts"][host]["roles"]
            targets = targets_of(site, host, task_vars["ansible_play_hosts_all"])
        asked = {place: name for place, _what, name in ours}
        args.setdefault("ports", list(asked))
        args.setdefault("targets", [f"{each.address} {each.port}" for each in targets])
        bundles = args.pop("bundle_directory", "")
        before = time.time()
        result.update(
            self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        )
        after = time.time()
        if "time" in result:
            result["clock"] = [result["time"] - after, result["time"] - before]
            result["asked"] = asked
            result["listeners"] = [list(each) for each in ours]
            result["wanted_users"] = list(args.get("users", [])) if is_node else []
            result["manager_hosts"] = managers
            result["managed"] = managed_by(site, result["managed"]) if site else {}
            result["targets"] = [asdict(each) for each in targets]
            result["bundle_directory"] = bundles if args.get("source") == "bundle" else ""
        return result

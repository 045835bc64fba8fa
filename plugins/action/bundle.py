"""Action kcms.cluster.bundle: builds bundles of OS packages on the control node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.module_utils import packages_apt, packages_bundle

ROLES = Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """Contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(changed=False, bundles=[])
        args = self._task.args
        names = args.get("names") or packages_bundle.names_of_roles(ROLES)
        directory = args.get("directory") or packages_apt.BUNDLE_DIRECTORY
        for target in args["targets"]:
            try:
                self._one(result, directory, str(target), names)
            except packages_bundle.BundleError as error:
                return {**result, "failed": True, "msg": str(error)}
        return result

    def _one(self, result: dict[str, Any], directory: str, target: str, names: list[str]) -> None:
        release, _, architecture = target.partition("-")
        if not architecture:
            raise packages_bundle.BundleError(f"target {target!r}: write it as trixie-amd64")
        path = packages_bundle.bundle_path(directory, release, architecture)
        result["bundles"].append(str(path))
        if self._task.check_mode:
            there = packages_bundle.read(path)
            result["changed"] |= there is None or not set(names) <= there.names
            return
        fresh = bool(self._task.args.get("fresh"))
        _bundle, built = packages_bundle.ensure(directory, release, architecture, names, fresh)
        result["changed"] |= built

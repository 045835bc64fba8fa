"""Action of os_packages: with a bundle, finds out what the host lacks of it and sends only that."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.module_utils import packages_apt, packages_bundle

MODULE = "kcms.cluster.os_packages"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """At most four round trips: what is missing, which files that takes, those files, apt."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if _all_there(args.get("names"), task_vars):
            return {"missing": [], "changed": False}
        if args.get("source") != "bundle" or args.get("bundle") or args.get("step"):
            return self._module(args, task_vars)
        plan = self._module({**args, "step": "plan"}, task_vars)
        if plan.get("failed") or not plan["missing"]:
            return plan
        if self._task.check_mode:
            return {"missing": plan["missing"], "changed": True}
        try:
            return self._install(args, plan, task_vars)
        except packages_bundle.BundleError as error:
            return {"failed": True, "msg": str(error)}

    def _module(self, args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        answer = self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        return dict(answer)

    def _install(
        self, args: dict[str, Any], plan: dict[str, Any], task_vars: Any
    ) -> dict[str, Any]:
        names = sorted({*args["names"], *(args.get("bundle_names") or [])})
        directory = args.get("bundle_directory") or packages_apt.BUNDLE_DIRECTORY
        bundle, _built = packages_bundle.ensure(
            directory, plan["release"], plan["architecture"], names
        )
        resolved = self._module(
            {**args, "step": "resolve", "index": bundle.packed_index()}, task_vars
        )
        if resolved.get("failed"):
            return resolved
        archive = self._send(bundle, resolved["files"])
        try:
            return self._module({**args, "bundle": archive}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir, force=True)

    def _send(self, bundle: packages_bundle.Bundle, files: list[str]) -> str:
        """Put a tar of ``files`` on the host; its path there, in the task's own directory."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "bundle.tar")
        handle, name = tempfile.mkstemp(prefix="part-", suffix=".tar", dir=bundle.path.parent)
        os.close(handle)
        try:
            bundle.part(files, Path(name))
            self._transfer_file(name, remote)
        finally:
            Path(name).unlink()
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        return str(remote)


def _all_there(names: Any, task_vars: Any) -> bool:
    """Whether the preflight of this very play has seen every package installed already.

    And nothing left by an installation that was broken off, which the module takes away.
    """
    seen = (task_vars or {}).get("kcms_preflight")
    if not isinstance(seen, dict) or not isinstance(names, list) or not names:
        return False
    if seen.get("interrupted"):
        return False
    return set(names) <= set(seen.get("installed") or [])

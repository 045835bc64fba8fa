"""Action kcms.cluster.site: the picture of the site, worked out on the control node once a run."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.plugin_utils.site import (
    Inventory,
    SiteError,
    survey,
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Contacts no host and changes nothing."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        try:
            site = survey(_inventory(known), _resolve)
        except SiteError as error:
            raise AnsibleActionFail(str(error)) from error
        result.update(site.document(), changed=False)
        return result


def _inventory(known: Mapping[str, Any]) -> Inventory:
    hostvars = known["hostvars"]
    groups = {str(name): [str(host) for host in hosts] for name, hosts in known["groups"].items()}
    seen: dict[str, Mapping[str, Any]] = {}

    def variable(host: str, name: str) -> Any:
        if host not in seen:
            seen[host] = hostvars[host]
        return seen[host].get(name)

    return Inventory(groups, variable)


def _resolve(name: str) -> str:
    return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])

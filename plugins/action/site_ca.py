"""Action kcms.cluster.site_ca: the CA is kept by the control node's own process.

No module is sent anywhere, so that neither the connection nor the privileges that a play or the
command line sets for hosts apply: the CA belongs to whoever runs the playbook.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import (
    AuthorityError,
    Request,
    end_of,
)
from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_store import Outcome, Store

STRINGS = {"type": "list", "elements": "str", "default": []}
WANTED = {
    "host": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "names": STRINGS,
    "addresses": STRINGS,
    "uris": STRINGS,
}
ARGUMENTS = {
    "directory": {"type": "path", "required": True},
    "grid": {"type": "str", "required": True},
    "certificates": {"type": "list", "elements": "dict", "options": WANTED, "required": True},
    "renew": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, params = self.validate_argument_spec(ARGUMENTS)
        requests = [Request(**each) for each in params["certificates"]]
        store = Store(Path(params["directory"]).expanduser().absolute(), self._task.check_mode)
        try:
            outcome = store.bring(params["grid"], requests, datetime.now(UTC), params["renew"])
        except AuthorityError as error:
            return result | {"failed": True, "msg": str(error)}
        except OSError as error:
            return result | {
                "failed": True,
                "msg": f"cannot use {error.filename}: {error.strerror}",
            }
        return result | answer(outcome)


def answer(outcome: Outcome) -> dict[str, Any]:
    """What the action returns."""
    certificates: dict[str, dict[str, dict[str, str]]] = {}
    for each in outcome.issued:
        certificates.setdefault(each.request.host, {})[each.request.service] = {
            "certificate": each.pair.certificate.decode(),
            "key": each.pair.key.decode(),
        }
    return {
        "changed": bool(outcome.reasons),
        "reasons": outcome.reasons,
        "ends": min((_end(each.pair.certificate) for each in outcome.issued), default=""),
        "ca_ends": _end(outcome.ca),
        "ca": outcome.ca.decode(),
        "certificates": certificates,
    }


def _end(certificate: bytes) -> str:
    return f"{end_of(certificate):%Y-%m-%d}"

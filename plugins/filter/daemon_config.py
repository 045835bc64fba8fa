"""Filter kcms.cluster.daemon_config: a daemon's settings as TOML, checked by its own schema."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.kcms.cluster.plugins.plugin_utils.toml import to_toml

DOCUMENTATION = r"""
name: daemon_config
short_description: Settings of a daemon as TOML, checked by the daemon's own schema
description:
  - Fails, before a host is touched, with the line the daemon would print.
positional: _input, daemon, overrides
options:
  _input:
    description: Settings.
    type: dict
    required: true
  daemon:
    description: Whose settings, as V(monitor).
    type: str
    required: true
  overrides:
    description: Settings of all daemons that override these, by daemon (C(kcms_config)).
    type: dict
    default: {}
author: KCMS maintainers
"""

EXAMPLES = r"""
content: "{{ {'gridname': 'lab'} | kcms.cluster.daemon_config('aggregator', kcms_config) }}"
"""

RETURN = r"""
_value:
  description: Text of the configuration file.
  type: str
"""

APP = Path(__file__).resolve().parents[2] / "app"


def daemon_config(
    settings: Mapping[str, Any], daemon: str, overrides: Mapping[str, Any] | None = None
) -> str:
    """The TOML of ``settings`` with this daemon's ``overrides``, checked."""
    if str(APP) not in sys.path:
        sys.path.append(str(APP))
    from kcms.config import SCHEMAS, parse
    from kcms.errors import ConfigError

    unknown = sorted(set(overrides or {}) - set(SCHEMAS))
    if unknown:
        raise AnsibleFilterError(
            f"kcms_config: no daemon {unknown[0]!r}; there are {', '.join(sorted(SCHEMAS))}"
        )
    merged = _plain({**settings, **((overrides or {}).get(daemon) or {})})
    try:
        parse(SCHEMAS[daemon], merged, f"kcms_config.{daemon}")
    except ConfigError as error:
        raise AnsibleFilterError(str(error)) from error
    return f"# Written by the rollout; change the inventory, not this file.\n{to_toml(merged)}"


def _plain(value: Any) -> Any:
    """Without Ansible's own kinds of strings and containers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"daemon_config": daemon_config}

"""What of kcms_config no daemon would take, or the rollout itself has to say.

Who a daemon is, where its files and ports are and what it trusts has one place, the variable of
the inventory: other hosts, the preflight, a removal and a backup go by that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from ansible_collections.kcms.cluster.plugins.module_utils.preflight import Problem, suggestion

APP = Path(__file__).resolve().parents[2] / "app"
FIXED = ""
"""Of a setting that is the same at every site."""

_TLS = dict.fromkeys(("tls_ca", "tls_certificate", "tls_key"), FIXED)
_PAGE = {"tls_certificate": FIXED, "tls_key": FIXED}
_HOST = "the host's name in the inventory"
OURS: dict[str, dict[str, str]] = {
    "monitor": {
        "host": _HOST,
        "address": "kcms_address",
        "cluster": "kcms_cluster",
        "owner": "kcms_grid",
        "channel": "kcms_channel",
        "port": "kcms_channel_port",
        "xml_port": "kcms_xml_port",
        "trusted_hosts": "kcms_trusted_hosts",
        "names": _HOST,
    },
    "aggregator": {
        "gridname": "kcms_grid",
        "xml_port": "kcms_aggregator_port",
        "trusted_hosts": "kcms_trusted_hosts",
        "rrd_directory": "kcms_rrd_directory",
    },
    "manager": {
        "cluster": "kcms_cluster",
        "address": "kcms_address",
        "port": "kcms_manager_port",
        "state_directory": FIXED,
        "hosts_file": FIXED,
        **_TLS,
        "web_root": "kcms_web_root",
        "balance": "kcms_balance",
        "text_port": "kcms_text_port",
        "text_bind": "kcms_text_bind",
        "text_allowed": "kcms_text_allowed",
        "partitions": "kcms_partitions",
    },
    "node": {
        "host": _HOST,
        "cluster": "kcms_cluster",
        "manager_address": "kcms_manager",
        "manager_port": "kcms_manager_port",
        "slots": "kcms_slots",
        "prologue": "kcms_prologue",
        "epilogue": "kcms_epilogue",
        "logue_seconds": "kcms_logue_seconds",
        "state_directory": FIXED,
        **_TLS,
        "shared_directories": "kcms_shared_directory",
        "gateway_user": FIXED,
        "gateway_socket": FIXED,
        "sessions_directory": FIXED,
    },
    "gateway": {
        "host": _HOST,
        "socket": FIXED,
        "address": "kcms_address",
        "port": "kcms_gateway_port",
        "sessions_directory": FIXED,
        "clusters": "kcms_manager",
        "shared_directories": "kcms_shared_directory",
        **_TLS,
    },
    "web": {
        "port": "kcms_web_port",
        "gridname": "kcms_grid",
        "aggregator_port": "kcms_aggregator_port",
        "rrd_directory": "kcms_rrd_directory",
        "default_range": "kcms_web_default_range",
        "gateway_socket": FIXED,
        "tls_port": "kcms_web_tls_port",
        **_PAGE,
        "results_directory": "kcms_results_directory",
    },
}
"""Daemon, setting, and the variable that is right instead."""


def config_problems(host: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the host's kcms_config."""
    overrides = given.get("kcms_config")
    if not isinstance(overrides, dict) or not overrides:
        return
    if str(APP) not in sys.path:
        sys.path.append(str(APP))
    from kcms import config

    for daemon, settings in overrides.items():
        schema = config.SCHEMAS.get(daemon)
        if schema is None or not isinstance(settings, dict):
            right = "write it as {DAEMON: {SETTING: VALUE}} with a daemon of "
            yield Problem(host, f"kcms_config has {daemon!r}", right + ", ".join(config.SCHEMAS))
            continue
        found = list(_of_daemon(host, daemon, schema, settings))
        yield from found or _contradiction(host, daemon, schema, settings)


def _of_daemon(
    host: str, daemon: str, schema: type, settings: Mapping[str, Any]
) -> Iterator[Problem]:
    """What is wrong with each of them by itself."""
    hints = get_type_hints(schema)
    for name, value in settings.items():
        wrong = f"kcms_config.{daemon}.{name}"
        if name not in hints:
            right = suggestion(name, hints, f"known: {', '.join(hints)}")
            yield Problem(host, f"{wrong} is no setting", right)
        elif name in OURS.get(daemon, {}):
            yield Problem(host, f"{wrong} is set by the rollout", _instead(OURS[daemon][name]))
        else:
            yield from _wrong_value(host, wrong, hints[name], value)


def _contradiction(
    host: str, daemon: str, schema: type, settings: Mapping[str, Any]
) -> Iterator[Problem]:
    """What is wrong with them together, whatever the rollout's own are."""
    from kcms.errors import ConfigError

    try:
        schema(**{**dict.fromkeys(OURS.get(daemon, {})), **settings})
    except ConfigError as error:
        yield Problem(host, f"kcms_config.{daemon}: {error}", "correct it in the inventory")


def _instead(variable: str) -> str:
    return f"set {variable} instead" if variable else "leave it out"


def _wrong_value(host: str, name: str, kind: Any, value: Any) -> Iterator[Problem]:
    from kcms import config
    from kcms.errors import ConfigError

    try:
        config.convert(kind, value, name)
    except ConfigError as error:
        yield Problem(host, str(error), "correct it in the inventory")
    else:
        if kind in (int, float) and value < 0:
            yield Problem(host, f"{name} is {value!r}", "it must not be below 0")

"""What the control node asks of each host."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.kcms.cluster.plugins.module_utils.preflight import lines
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_config import (
    OURS,
    config_problems,
)
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_control import (
    ROLES,
    known_options,
    listeners,
    newest_schema,
    ports_of,
    targets_of,
)

from kcms.config import SCHEMAS
from kcms.manager.schema import STEPS

SITE: dict[str, Any] = {
    "heads": ["head"],
    "hosts": {
        "head": {
            "address": "10.0.0.1",
            "cluster": None,
            "roles": ["gateway", "rrd", "aggregator", "web", "manager"],
            "managers": ["alpha", "beta"],
            "gateway_port": 8670,
        },
        "alpha1": {
            "address": "10.0.0.2",
            "cluster": "alpha",
            "roles": ["monitor", "node", "gateway"],
            "managers": [],
            "gateway_port": 8670,
        },
        "desk7": {
            "address": "10.0.0.3",
            "cluster": "beta",
            "roles": ["monitor", "node"],
            "managers": [],
            "gateway_port": 0,
        },
    },
    "clusters": {
        "alpha": {
            "hosts": ["alpha1"],
            "manager": "head",
            "manager_address": "10.0.0.1",
            "manager_port": 8660,
            "xml_port": 8649,
        },
        "beta": {
            "hosts": ["desk7"],
            "manager": "head",
            "manager_address": "10.0.0.1",
            "manager_port": 8661,
            "xml_port": 8700,
        },
    },
}
SETTING = {
    "kcms_channel_port": 8649,
    "kcms_xml_port": 8649,
    "kcms_aggregator_port": 8651,
    "kcms_web_port": 8080,
    "kcms_web_tls_port": 8443,
    "kcms_gateway_port": 8670,
}


def test_a_host_is_asked_for_the_ports_of_its_roles() -> None:
    assert ports_of(SITE, "alpha1", SETTING) == {
        "udp 8649": "kcms_channel_port",
        "tcp 8649": "kcms_xml_port",
        "tcp 8670": "kcms_gateway_port",
    }
    ports = {"tcp 8651", "tcp 8080", "tcp 8443", "tcp 8660", "tcp 8661", "tcp 8670"}
    assert set(ports_of(SITE, "head", SETTING)) == ports
    off = {**SETTING, "kcms_web_tls_port": 0}
    assert set(ports_of(SITE, "head", off)) == ports - {"tcp 8443"}


def test_all_that_listens_is_told_also_where_two_want_one_port() -> None:
    same = {**SETTING, "kcms_web_tls_port": 8651, "kcms_web_port": 8660}
    found = [(place, what) for place, what, _name in listeners(SITE, "head", same)]
    assert found == [
        ("tcp 8670", "the gateway"),
        ("tcp 8651", "the aggregator"),
        ("tcp 8660", "the page"),
        ("tcp 8651", "the page over TLS"),
        ("tcp 8660", "the manager of alpha"),
        ("tcp 8661", "the manager of beta"),
    ]


def test_a_host_with_users_reaches_every_manager_and_a_lent_one_its_own() -> None:
    play = ["head", "alpha1", "desk7"]
    assert [each.port for each in targets_of(SITE, "alpha1", play)] == [8660, 8661]
    assert [each.port for each in targets_of(SITE, "desk7", play)] == [8661]


def test_the_aggregator_reaches_the_monitors_of_this_play_alone() -> None:
    everyone = targets_of(SITE, "head", ["head", "alpha1", "desk7"])
    assert [(each.other, each.port) for each in everyone] == [
        ("alpha1", 8649),
        ("alpha1", 8670),
        ("desk7", 8700),
    ]
    assert [each.other for each in targets_of(SITE, "head", ["head", "desk7"])] == ["desk7"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"moniter": {}}, "h: kcms_config has 'moniter'; write it as {DAEMON: {SETTING: VALUE}}"),
        ({"monitor": 5}, "h: kcms_config has 'monitor'; write it as"),
        (
            {"monitor": {"host_tmaxx": 30}},
            "h: kcms_config.monitor.host_tmaxx is no setting; did you mean host_tmax?",
        ),
        (
            {"monitor": {"host_tmax": "soon"}},
            "h: kcms_config.monitor.host_tmax must be int, not 'soon'; correct it",
        ),
        (
            {"monitor": {"host_tmax": -1}},
            "h: kcms_config.monitor.host_tmax is -1; it must not be below 0",
        ),
        (
            {"aggregator": {"read_timeout": -0.5}},
            "h: kcms_config.aggregator.read_timeout is -0.5; it must not be below 0",
        ),
        (
            {"web": {"tls_port": 8444}},
            "h: kcms_config.web.tls_port is set by the rollout; set kcms_web_tls_port instead",
        ),
        (
            {"manager": {"state_directory": "/srv"}},
            "h: kcms_config.manager.state_directory is set by the rollout; leave it out",
        ),
        (
            {"manager": {"balance_low": 2}},
            "h: kcms_config.manager: balance_low must be below balance_high (1.2), not 2; correct",
        ),
    ],
)
def test_overrides_are_checked_against_the_daemons_settings(
    overrides: dict[str, Any], line: str
) -> None:
    (found,) = lines(config_problems("h", {"kcms_config": overrides}))
    assert found.startswith(line)


def test_right_overrides_pass() -> None:
    overrides = {"monitor": {"host_tmax": 30}, "aggregator": {"connect_timeout": 5}}
    assert lines(config_problems("h", {"kcms_config": overrides})) == []
    nothing: dict[str, dict[str, Any]] = {name: {} for name in SCHEMAS}
    assert lines(config_problems("h", {"kcms_config": nothing})) == []


def test_what_is_the_rollouts_is_a_setting_and_its_variable_exists() -> None:
    """Also of daemons that change: a name that is gone would forbid nothing."""
    for daemon, settings in OURS.items():
        assert settings.keys() <= {each.name for each in dataclasses.fields(SCHEMAS[daemon])}
        variables = {each for each in settings.values() if each.startswith("kcms_")}
        assert variables <= set(known_options())


def test_identity_files_and_ports_of_every_daemon_are_the_rollouts() -> None:
    """Of daemons that get new ones, too."""
    kinds = r"(.*_)?(host|cluster|address|file|port|ca|certificate|key)|rrd_directory"
    elsewhere = {"aggregator_address", "default_cluster"}  # another machine, and a convenience
    for daemon, schema in SCHEMAS.items():
        names = {each.name for each in dataclasses.fields(schema)}
        wanted = {name for name in names if re.fullmatch(kinds, name)}
        assert wanted - OURS[daemon].keys() - elsewhere == set()


def test_every_role_says_what_its_variables_are() -> None:
    """A variable with a default that no argument specification names would count as a typo."""
    named = set(known_options())
    for path in ROLES.glob("*/defaults/main.yml"):
        for name in yaml.safe_load(path.read_text()):
            ours = name.startswith("kcms_")
            assert name in named or not ours, (
                f"{path}: add {name} to a role's meta/argument_specs.yml"
            )


def test_the_example_inventory_uses_known_variables_only() -> None:
    text = (ROLES.parent / "inventory/sample/hosts.yml").read_text()
    known = set(known_options()) | {"kcms_head", "kcms_nodes"}
    words = {line.split(":")[0].strip() for line in text.splitlines()}
    assert {word for word in words if word.startswith("kcms_")} <= known


def test_options_carry_types_and_defaults(tmp_path: Path) -> None:
    role = tmp_path / "one"
    (role / "meta").mkdir(parents=True)
    (role / "defaults").mkdir()
    (role / "meta/argument_specs.yml").write_text(
        "argument_specs: {main: {options: {kcms_x: {type: int, required: true}, other: {}}}}"
    )
    (role / "defaults/main.yml").write_text("kcms_x: 7\n")
    option = known_options(tmp_path)["kcms_x"]
    assert set(known_options(tmp_path)) == {"kcms_x"}
    assert (option.kind, option.required, option.default) == ("int", True, 7)


def test_the_newest_job_store_is_that_of_the_manager_here() -> None:
    assert newest_schema() == len(STEPS)

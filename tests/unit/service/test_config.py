"""Settings that cannot be are one line, whichever daemon has them."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.config import SCHEMAS, WebConfig, parse
from kcms.errors import ConfigError
from kcms.web.daemon import check


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"threads": 0}, "web.toml: threads must be at least 1, not 0"),
        ({"refresh": -5}, "web.toml: refresh must be at least 0, not -5"),
        ({"port": 65536}, "web.toml: port must be at least 0 and at most 65535, not 65536"),
        ({"tls_port": True}, "web.toml: tls_port must be int, not True"),
    ],
)
def test_a_number_has_its_bounds(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        parse(SCHEMAS["web"], changes, "web.toml")


def test_a_number_that_is_none_is_out_of_bounds() -> None:
    with pytest.raises(ConfigError, match="xml_timeout must be at least 0, not nan"):
        parse(SCHEMAS["aggregator"], {"xml_timeout": float("nan")}, "aggregator.toml")


def test_a_node_takes_below_the_mark_above_which_it_gives() -> None:
    needed = dict.fromkeys(
        ("cluster", "address", "state_directory", "hosts_file", "tls_ca", "tls_certificate"), "x"
    )
    settings = {**needed, "tls_key": "x", "balance_low": 1.5}
    line = r"manager.toml: balance_low must be below balance_high \(1.2\), not 1.5"
    with pytest.raises(ConfigError, match=line):
        parse(SCHEMAS["manager"], settings, "manager.toml")


def test_passwords_without_tls_are_taken_from_a_proxy_alone() -> None:
    check(WebConfig(plain_login=True, bind="127.0.0.1"))
    with pytest.raises(ConfigError, match="plain_login takes passwords without TLS, so bind must"):
        check(WebConfig(plain_login=True))

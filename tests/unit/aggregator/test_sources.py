"""Lines of data sources, and which address is asked when."""

from __future__ import annotations

import pytest

from kcms.aggregator.sources import Address, DataSource, SourceState, parse_line, parse_lines
from kcms.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ('"alpha" 10.0.0.1:8649', DataSource("alpha", 15, (Address("10.0.0.1", 8649),))),
        ('"my lab" 30 a b:1', DataSource("my lab", 30, (Address("a", 8649), Address("b", 1)))),
        ("plain 2.5 a", DataSource("plain", 2.5, (Address("a", 8649),))),
        (
            '"6" [fd00::1]:8650 [::1]',
            DataSource("6", 15, (Address("fd00::1", 8650), Address("::1", 8649))),
        ),
        ('  "x"\t15\t10.0.0.1  ', DataSource("x", 15, (Address("10.0.0.1", 8649),))),
    ],
)  # fmt: skip
def test_lines(line: str, source: DataSource) -> None:
    assert parse_line(line) == source


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "begins with no name"),
        ('"alpha', "begins with no name"),
        ('"" 15 a', "has an empty name"),
        ('"alpha"', "names no host"),
        ('"alpha" 15', "names no host"),
        ('"alpha"a', "begins with no name"),
        ('"alpha" 0 a', "interval 0"),
        ('"alpha" -5 a', "interval -5"),
        ('"alpha" 86401 a', "interval 86401"),
        ('"alpha" a:0', "port 0"),
        ('"alpha" a:99999', "port 99999"),
        ('"alpha" a:http', "no host"),
        ('"alpha" fd00::1', "IPv6 address stands in brackets"),
        ('"alpha" a:', "no host"),
    ],
)
def test_lines_that_are_wrong(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_line(line)
    assert "\n" not in str(caught.value)
    assert 'as "alpha" 15 alpha1:8649' in str(caught.value)


def test_two_of_a_name() -> None:
    with pytest.raises(ConfigError, match="second of the name 'a'"):
        parse_lines(['"a" x', '"b" y', '"a" z'])


def state(*hosts: str) -> SourceState:
    return SourceState(DataSource("s", 15, tuple(Address(host, 1) for host in hosts)))


def order(source: SourceState) -> str:
    return "".join(address.host for address in source.order())


def test_the_address_that_answered_is_kept() -> None:
    source = state("a", "b", "c")
    assert order(source) == "abc"
    assert source.succeeded(Address("b", 1))
    assert order(source) == "bca"
    assert not source.succeeded(Address("b", 1))
    assert source.succeeded(Address("a", 1))
    assert order(source) == "abc"


def test_after_a_failure_another_address_comes_first() -> None:
    source = state("a", "b", "c")
    orders = []
    for _ in range(4):
        orders.append(order(source))
        source.failed()
    assert orders == ["abc", "bca", "cab", "abc"]


def test_dead_sources_are_asked_less_often_but_within_the_files_heartbeat() -> None:
    source = state("a")
    delays = []
    for _ in range(6):
        delays.append(source.delay(3.0))
        source.failed()
    assert delays == [12, 12, 27, 57, 57, 57]
    assert max(delays) < 8 * 15
    source.succeeded(Address("a", 1))
    assert source.delay(3.0) == 12
    assert source.delay(20.0) == 1  # a poll longer than its interval leaves a pause

"""What --via takes, and the way that an SSH configuration makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.errors import InvalidRequest
from kcms.via.route import included, route
from kcms.via.target import Target, parse


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("head", None, "head", None),
        ("alice@head.example", "alice", "head.example", None),
        ("alice@head:2222", "alice", "head", 2222),
        ("head:65535", None, "head", 65535),
        ("[::1]", None, "::1", None),
        ("a@[fe80::1%eth0]:22", "a", "fe80::1%eth0", 22),
        ("alice@site.example@head", "alice@site.example", "head", None),
    ],
)
def test_targets(text: str, user: str | None, host: str, port: int | None) -> None:
    found = parse(text)
    assert (found.user, found.host, found.port) == (user, host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "@head", "alice@", "head:", "head:0", "head:65536", "head:ssh", "head:1_0"),
        *("::1", "[::1", "[::1]22", "a b", "-oProxyCommand=x", "he\nad", "head/x", "a'b@head"),
        *("a$(id)", "x;id", "`id`", "a|b", "a&b", "$HOME@head", "a;b@head", "-l@head"),
        *("[a$(id)]:1", "head\n", "a\n@head", "hëad"),
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must (be|have)"):
        parse(text)


def way(text: str = "head", known_hosts: str | None = None, **told: Any) -> Any:
    return route(parse(text), told, "me", known_hosts)


def test_without_a_configuration() -> None:
    found = way()
    assert (found.host, found.port, found.user, found.key_name) == ("head", 22, "me", "head")
    assert found.known_hosts == (
        *("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
        "/etc/ssh/ssh_known_hosts",
    )
    assert (found.jumps, found.command, found.identities) == ((), None, ())


def test_the_configuration_says_the_rest() -> None:
    found = way(
        hostname="10.0.0.1",
        port="2222",
        user="alice",
        identityfile=["~/.ssh/grid"],
        identitiesonly="yes",
        userknownhostsfile="~/.grid_hosts /x",
    )
    assert (found.host, found.port, found.user) == ("10.0.0.1", 2222, "alice")
    assert found.key_name == "[10.0.0.1]:2222"
    assert (found.identities, found.only_identities) == (("~/.ssh/grid",), True)
    assert found.known_hosts[:2] == ("~/.grid_hosts", "/x")
    assert found.name == "alice@head"


def test_the_command_line_comes_first() -> None:
    found = way("bob@head:7", "mine", port="2222", user="alice", userknownhostsfile="/x")
    assert (found.user, found.port, found.known_hosts) == ("bob", 7, ("mine",))


def test_the_key_may_be_kept_under_another_name() -> None:
    assert way(hostname="10.0.0.1", hostkeyalias="Grid").key_name == "grid"
    assert way("head:2222", hostkeyalias="Grid").key_name == "grid"  # as ssh: without the port


def test_a_file_of_ones_own_does_not_hide_what_the_site_revoked() -> None:
    assert way(known_hosts="mine").revoking == ("/etc/ssh/ssh_known_hosts",)
    assert way().revoking == ()  # it is among those that are read whole


@pytest.mark.parametrize(
    ("told", "jumps", "command"),
    [
        ({"proxyjump": "none"}, [], None),
        ({"proxyjump": "gate,bob@inner:7"}, ["gate", "inner"], None),
        ({"proxycommand": "nc head 22"}, [], "nc head 22"),
        ({"proxycommand": "none"}, [], None),
        ({"proxyjump": "gate", "proxycommand": "nc"}, ["gate"], None),
    ],
)
def test_ways_through_others(told: dict[str, str], jumps: list[str], command: str | None) -> None:
    found = way(**told)
    assert [each.host for each in found.jumps] == jumps
    assert found.command == command


@pytest.mark.parametrize(
    ("told", "said"),
    [({"port": "ssh"}, "no port for head, but 'ssh'"), ({"proxyjump": "a:b"}, "ProxyJump of head")],
)
def test_a_configuration_that_cannot_be_is_one_line(told: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        route(Target("head"), told, "me")


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("Include a b/*", ["a", "b/*"]),
        ('  include = "~/x"', ["~/x"]),
        ("IncludeX y", []),
        ("Host include", []),
        ("", []),
    ],
)
def test_lines_that_take_in_others(line: str, files: list[str]) -> None:
    assert included(line) == files

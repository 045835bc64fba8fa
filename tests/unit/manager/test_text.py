"""The grammar of the text protocol of 2003, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.errors import ConfigError, ProtocolError
from kcms.manager.hosts import parse as parse_hosts
from kcms.manager.text import Kil, Mig, Req, answer, parse


def process(node: str, pid: int, name: str = "x", ended: float | None = None) -> dict[str, Any]:
    return {"node": node, "pid": pid, "name": name, "ended": ended, "job": 1, "user": "alice"}


def test_the_three_requests() -> None:
    assert parse(b"REQ|alice") == Req("alice")
    assert parse(b"MIG|4711|alpha1|10.0.0.2") == Mig(4711, "alpha1", "10.0.0.2")
    assert parse(b"KIL|4711|fd00::1") == Kil(4711, "fd00::1")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"REQ",
        b"REQ|",
        b"REQ|a|b",
        b"req|alice",
        b" REQ|alice",
        b"GET / HTTP/1.1",
        b"KIL|4711",
        b"KIL|4711|alpha1|alpha2",
        b"KIL|0|alpha1",
        b"KIL|-1|alpha1",
        b"KIL|1e3|alpha1",
        "KIL|٣|alpha1".encode(),
        b"KIL|12345678901|alpha1",
        b"KIL|" + b"9" * 5000 + b"|alpha1",
        b"KIL|1|",
        b"MIG|1|alpha1",
        b"MIG|1|alpha1|alpha2|",
        b"MIG|x|alpha1|alpha2",
        b"REQ|a\x1b[2J",
        b"REQ|\xff",
        b"REQ|" + b"a" * 256,
    ],
)
def test_what_is_no_request(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(line)
    assert caught.value.message.isprintable()


def test_the_answer_byte_for_byte() -> None:
    found = [
        process("alpha3", 902, "sort", ended=17.0),
        process("alpha1", 4713, "sleep"),
        process("alpha1", 4711, "sh"),
    ]
    assert answer(["alpha1", "alpha2", "alpha3"], found) == (
        b"alpha1|4711|sh|0&4713|sleep|0&alpha2|alpha3|902|sort|1&"
    )


def test_nodes_in_the_order_given_and_those_that_left_last() -> None:
    found = [process("gone", 5), process("b", 3), process("a", 4)]
    assert answer(["b", "a"], found) == b"b|3|x|0&a|4|x|0&gone|5|x|0&"
    assert answer([], []) == b""
    assert answer(["12"], [process("12", 7)]) == b"_12|7|x|0&"


def test_names_cannot_break_the_answer() -> None:
    names = ["a|b&c", "", "new\nline", "\x1b[2J", "grün", "12", "\udcff"]
    found = [process("n|1&", number, name) for number, name in enumerate(names, 1)]
    assert answer(["n|1&"], found).decode() == (
        "n_1_|1|a_b_c|0&2|_|0&3|new_line|0&4|_[2J|0&5|grün|0&6|12|0&7|_|0&"
    )


def read(content: str) -> dict[str, list[tuple[int, str, int]]]:
    """A reader by the rule of K8: a field of digits is a pid, any other begins a node."""
    nodes: dict[str, list[tuple[int, str, int]]] = {}
    while content:
        word, _, content = content.partition("|")
        if not word.isdigit():
            current = nodes.setdefault(word, [])
            continue
        name, _, content = content.partition("|")
        state, _, content = content.partition("&")
        current.append((int(word), name, int(state)))
    return nodes


def test_an_old_reader_finds_everything_again() -> None:
    found = [process("b", 2, "99"), process("a", 1, "|7|0&c|"), process("b", 3, ended=1.0)]
    assert read(answer(["a", "empty", "b", "last"], found).decode()) == {
        "a": [(1, "_7_0_c_", 0)],
        "empty": [],
        "b": [(2, "99", 0), (3, "x", 1)],
        "last": [],
    }


def hosts(**rows: Any) -> Any:
    return {"hosts": rows}


def test_the_list_of_hosts_keeps_its_order_and_knows_addresses() -> None:
    listing = parse_hosts(
        hosts(
            z={"roles": ["node", "submit"], "address": "10.0.0.9"},
            a={"roles": ["node"], "address": "FD00:0::1"},
            head={"roles": ["admin"], "address": "10.0.0.1"},
            b={"roles": ["node"]},
        )
    )
    assert listing.nodes == ("z", "a", "b")
    assert listing.addresses == {"10.0.0.9": "z", "fd00::1": "a"}
    assert len(listing.identities) == 5


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {},
        hosts(a=[]),
        hosts(a={}),
        hosts(a={"roles": ["king"]}),
        hosts(a={"roles": 1}),
        hosts(a={"roles": ["node"], "address": 7}),
    ],
)
def test_what_is_no_list_of_hosts(bad: Any) -> None:
    with pytest.raises(ConfigError):
        parse_hosts(bad)

"""Which host keys are believed."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from kcms.via import hostkeys
from kcms.via.errors import HostKeyError

KEY, OTHER = b"\0\0\0\x0bssh-ed25519 one", b"\0\0\0\x0bssh-ed25519 two"
FILES = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")


def line(hosts: str, key: bytes = KEY, kind: str = "ssh-ed25519", marker: str = "") -> str:
    return f"{marker} {hosts} {kind} {base64.b64encode(key).decode()} a comment".strip()


def hashed(name: str) -> str:
    salt = b"12345678901234567890"
    parts = (salt, hmac.new(salt, name.encode(), hashlib.sha1).digest())
    return "|1|" + "|".join(base64.b64encode(each).decode() for each in parts)


def judged(text: str, name: str = "head.example", key: bytes = KEY) -> str:
    """The refusal, or nothing."""
    try:
        hostkeys.check(hostkeys.entries(text), name, "ssh-ed25519", key, FILES)
    except HostKeyError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("head.example", "head.example"),
        ("HEAD.example", "head.example"),
        ("gate,head.example,10.0.0.1", "head.example"),
        ("*.example", "head.example"),
        ("hea?.example", "head.example"),
        ("[10.0.0.1]:2222", "[10.0.0.1]:2222"),
        ("[*.example]:2222", "[head.example]:2222"),
        (hashed("head.example"), "head.example"),
        (hashed("[head.example]:7"), "[head.example]:7"),
    ],
)
def test_a_known_key_is_believed(hosts: str, name: str) -> None:
    assert judged(line(hosts), name) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        line("another.example"),
        line("head"),
        line("*.example,!head.example"),
        line("[head.example]:2222"),
        line(hashed("another.example")),
        "# " + line("head.example"),
        line("*", marker="@cert-authority"),
        "head.example ssh-ed25519 no-base64!",
        "head.example ssh-ed25519",
        "|1|x ssh-ed25519 AAAA",
        "@",
    ],
)
def test_an_unknown_host_is_refused_with_its_fingerprint(text: str) -> None:
    said = judged(text)
    assert said.startswith("head.example is not known to this machine")
    assert hostkeys.fingerprint(KEY) in said
    assert "~/.ssh/known_hosts" in said


def test_a_changed_key_is_refused_loudly() -> None:
    said = judged(line("head.example"), key=OTHER)
    assert said.startswith("THE HOST KEY OF head.example HAS CHANGED")
    assert hostkeys.fingerprint(KEY) in said
    assert hostkeys.fingerprint(OTHER) in said


def test_a_key_of_another_type_than_the_known_one_has_changed() -> None:
    assert "HAS CHANGED" in judged(line("head.example", kind="ssh-rsa"), key=OTHER)


def test_a_host_may_have_several_keys_of_a_type() -> None:
    text = f"{line('head.example', OTHER)}\n{line('head.example')}"
    assert judged(text) == judged(text, key=OTHER) == ""


def test_a_revoked_key_is_refused_whatever_else_stands_there() -> None:
    text = f"{line('head.example')}\n{line('*', marker='@revoked')}"
    assert judged(text).startswith("THE HOST KEY OF head.example IS REVOKED")
    assert judged(f"{text}\n{line('head.example', OTHER)}", key=OTHER) == ""


def test_a_fingerprint_is_that_of_ssh_keygen() -> None:
    # ssh-keygen -lf of a key whose bytes are these
    assert hostkeys.fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


def test_a_host_is_asked_for_the_types_that_are_known_of_it() -> None:
    known = hostkeys.entries(
        "\n".join(
            [
                line("head", kind="ssh-rsa"),
                line("gate", kind="ecdsa-sha2-nistp256"),
                line("head"),
                line("head", marker="@revoked", kind="ssh-dss"),
            ]
        )
    )
    assert hostkeys.kinds(known, "head") == ["ssh-rsa", "ssh-ed25519"]

"""What a submission becomes before a manager sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcms.errors import InvalidRequest
from kcms.gateway.submission import parse
from kcms.gateway.users import User
from kcms.jobs.spec import SPEC_BYTES_LIMIT, check_spec

ALICE = User("alice", 2001, 2001, "/shared/home/alice")


def spec_of(**fields: Any) -> dict[str, Any]:
    return parse({"spec": {"executable": "/shared/x", **fields}}, ALICE).spec


def test_home_and_output_are_the_users() -> None:
    spec = spec_of()
    assert spec["base_directory"] == "/shared/home/alice"
    assert spec["output"] == spec["error"] == "/shared/home/alice/kcms-%j.out"
    assert spec["input"] is None


def test_output_follows_the_base_directory_and_error_the_output() -> None:
    assert spec_of(base_directory="/data/")["output"] == "/data/kcms-%j.out"
    assert spec_of(base_directory="/")["output"] == "/kcms-%j.out"
    assert spec_of(output="/data/o")["error"] == "/data/o"
    assert spec_of(output="/data/o", error="/data/e")["error"] == "/data/e"


def test_a_user_without_home_must_name_a_directory() -> None:
    homeless = User("svc", 999, 999, "")
    with pytest.raises(InvalidRequest, match="svc has no home"):
        parse({"spec": {"executable": "/shared/x"}}, homeless)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "must be an object"),
        ({"spec": {}}, "executable is missing"),
        ({"spec": {"executable": "x"}}, "executable must be an absolute path"),
        ({"spec": {"executable": "/x\ud800"}}, "executable must be UTF-8"),
        ({"spec": {"executable": "/x", "colour": 1}}, "unknown field 'colour'"),
        ({"spec": {"executable": "/x"}, "kye": 1}, "unknown member 'kye'"),
        ({"spec": {"executable": "/x"}, "key": ""}, "key must be"),
        ({"spec": {"executable": "/x"}, "key": 7}, "key must be"),
        ({"spec": {"executable": "/x"}, "key": "k" * 129}, "key must be"),
    ],
)
def test_what_is_no_submission_is_one_line(document: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse(document, ALICE)


def test_a_specification_is_small_enough_to_remember() -> None:
    room = SPEC_BYTES_LIMIT - len(json.dumps(spec_of(arguments=[""] * 16)))
    fits = ["a" * (room // 16)] * 15 + ["a" * (room - room // 16 * 15)]
    assert len(json.dumps(spec_of(arguments=fits))) == SPEC_BYTES_LIMIT
    with pytest.raises(InvalidRequest, match="65537 bytes of JSON, and 65536 is the most"):
        spec_of(arguments=[*fits[:-1], fits[-1] + "a"])


@pytest.mark.parametrize(
    ("executable", "name"),
    [("/s/a\u2028b\u202e", "a?b?"), ("/s/  ", "?"), ("/", "?"), ("/s/" + "n" * 200, "n" * 128)],
)
def test_a_derived_name_is_one_that_the_manager_takes(executable: str, name: str) -> None:
    spec = spec_of(executable=executable)
    assert spec["name"] == name
    assert check_spec(spec) == spec


def test_an_interactive_job_has_no_files_and_a_program_that_only_its_node_sees() -> None:
    made = parse({"spec": {"executable": "/bin/sh", "interactive": "terminal"}}, ALICE)
    assert (made.spec["output"], made.spec["error"]) == (None, None)
    assert made.spec["base_directory"] == "/shared/home/alice"
    assert {name: path for name, path in made.files().items() if path} == {
        "base_directory": "/shared/home/alice"
    }
    for each in ("input", "output", "error"):
        with pytest.raises(InvalidRequest, match=f"{each} cannot be set of an interactive job"):
            spec_of(interactive="pipes", **{each: "/shared/x"})
    for each in ("requeue", "restart_from_checkpoint"):
        with pytest.raises(InvalidRequest, match=f"{each} cannot be set of an interactive job"):
            spec_of(interactive="pipes", **{each: True})
    with pytest.raises(InvalidRequest, match="an interactive job is single, and this one is batch"):
        spec_of(interactive="pipes", total_tasks=2, **{"class": "batch"})
    with pytest.raises(InvalidRequest, match="interactive must be one of terminal, pipes"):
        spec_of(interactive="yes")
    assert "interactive" not in spec_of(interactive=None)

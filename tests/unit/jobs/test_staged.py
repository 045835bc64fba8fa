"""What a specification may say of staged files."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.jobs.model import ABILITIES, STAGE, Job
from kcms.jobs.needs import needs_of
from kcms.jobs.spec import SpecError, check_spec, given, same
from kcms.jobs.staged import SIZE_LIMIT, check_home, content_of, entry, placed

DIGEST = "0123456789abcdef" * 4
ENTRY = entry(DIGEST, 7)
HOME = "/home/alice"
PATH = f"{HOME}/.kcms/stage/{DIGEST[:32]}/prog"


def spec(**fields: Any) -> dict[str, Any]:
    return {"executable": PATH, "staged": {"executable": ENTRY}, **fields}


def test_a_staged_file_is_where_its_content_has_it() -> None:
    clean = check_spec(spec())
    assert clean["staged"] == {"executable": ENTRY}
    assert given(clean)["staged"] == {"executable": ENTRY}
    assert content_of(ENTRY) == (DIGEST, 7)
    check_home(clean, HOME)
    with pytest.raises(SpecError, match=r"must be below /home/bob/\.kcms/stage"):
        check_home(clean, "/home/bob")


def test_nothing_staged_is_no_member() -> None:
    assert "staged" not in check_spec({"executable": PATH})
    assert "staged" not in check_spec(spec(staged={}))
    assert not same(check_spec(spec()), check_spec({"executable": PATH}))


@pytest.mark.parametrize(
    "path",
    [
        f"{HOME}/.kcms/stage/{DIGEST[:32]}/",
        f"{HOME}/.kcms/stage/{DIGEST[:32]}/..",
        f"{HOME}/.kcms/stage/{DIGEST[:32]}/../../../.ssh/id_ed25519",
        f"{HOME}/.kcms/stage/{DIGEST[32:]}x/prog",
        f"{HOME}/.kcms/stage/prog",
        f"{HOME}/x.kcms/stage/{DIGEST[:32]}/prog",
        "/etc/shadow",
    ],
)
def test_no_other_path_is_staged(path: str) -> None:
    with pytest.raises(SpecError, match=r"staged says that executable is ~/\.kcms/stage/0123"):
        check_spec(spec(executable=path))


@pytest.mark.parametrize(
    "staged",
    [
        [],
        "x",
        {"output": ENTRY},
        {"executable": 7},
        {"executable": DIGEST},
        {"executable": f"{DIGEST.upper()}:7"},
        {"executable": f"{DIGEST}:-1"},
        {"executable": f"{DIGEST}:07"},
        {"executable": f"{DIGEST}:{SIZE_LIMIT + 1}"},
        {"executable": f"{DIGEST}:7\n"},
    ],
)
def test_what_is_no_content_is_refused_in_a_line(staged: Any) -> None:
    with pytest.raises(SpecError) as caught:
        check_spec(spec(staged=staged))
    assert str(caught.value).startswith("staged must ")
    assert "\n" not in str(caught.value)


def test_a_staged_input_has_no_marks_and_an_interactive_job_no_stage() -> None:
    marked = PATH.replace("prog", "in.%t")
    with pytest.raises(SpecError, match="cannot have %j, %t or %u"):
        check_spec(spec(input=marked, staged={"executable": ENTRY, "input": ENTRY}))
    with pytest.raises(SpecError, match="staged cannot be set of an interactive job"):
        check_spec(spec(interactive="pipes"))


def test_it_lies_below_the_home_that_the_user_has_on_a_host() -> None:
    assert placed("/export/alice/", PATH) == PATH.replace(HOME, "/export/alice")


def test_it_goes_to_nodes_that_can_bring_it() -> None:
    job = Job(1, "alpha", "alice", 1, 1, check_spec(spec()), "alpha1", 0.0)
    assert needs_of(job) == {STAGE}
    assert STAGE in ABILITIES

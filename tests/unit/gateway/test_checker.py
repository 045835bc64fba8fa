"""The child that looks at files: as whom it runs, and that it cannot hold the gateway up."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from kcms.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from kcms.gateway.checker import AT_ONCE, Checker, command
from kcms.gateway.users import User

ALICE = User("alice", 2001, 2002, "/shared/home/alice")
PROGRAM = Path("/opt/check.py")


def test_the_child_is_the_user_and_has_no_capability() -> None:
    assert command(ALICE, 998, PROGRAM) == [
        "/usr/bin/setpriv",
        "--reuid=2001",
        "--regid=2002",
        "--init-groups",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--no-new-privs",
        "/usr/bin/python3",
        "-I",
        "-S",
        "-E",
        "/opt/check.py",
    ]


def test_for_its_own_user_nothing_is_changed() -> None:
    assert command(ALICE, 2001, PROGRAM)[:2] == ["/usr/bin/python3", "-I"]


def scripted(code: str, seconds: float = 30.0) -> Checker:
    return Checker(["/shared"], seconds, lambda user, uid: [sys.executable, "-I", "-c", code])


async def test_a_problem_is_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest, match="input is bad"):
        await scripted("""print('{"problem": "input is bad"}')""").check(ALICE, {})


async def test_no_problem_passes_and_the_request_arrives() -> None:
    code = (
        "import json, sys; got = json.load(sys.stdin);"
        "assert got == {'shared': ['/shared'], 'files': {'executable': '/x'}};"
        """print('{"problem": null}')"""
    )
    await scripted(code).check(ALICE, {"executable": "/x"})


async def test_the_end_of_a_file_is_the_childs_answer() -> None:
    code = (
        "import json, sys; got = json.load(sys.stdin);"
        "assert got == {'tail': {'name': 'output', 'path': '/x', 'bytes': 5}};"
        """print('{"size": 9, "offset": 4, "text": "abcde"}')"""
    )
    found = await scripted(code).tail(ALICE, "output", "/x", 5)
    assert found == {"size": 9, "offset": 4, "text": "abcde"}


@pytest.mark.parametrize(("code", "kind"), [("not_found", NotFound), ("forbidden", Forbidden)])
async def test_problems_keep_their_code(code: str, kind: type[Exception]) -> None:
    answer = f"""print('{{"problem": "output /shared/x is so", "code": "{code}"}}')"""
    with pytest.raises(kind, match=r"output /shared/x is so$"):
        await scripted(answer).tail(ALICE, "output", "/shared/x", 5)


async def test_of_a_missing_file_elsewhere_it_is_said_who_may_have_it() -> None:
    answer = """print('{"problem": "output /tmp/x does not exist", "code": "not_found"}')"""
    with pytest.raises(NotFound, match=r"/tmp/x does not exist on this host; it is not on a sha"):
        await scripted(answer).tail(ALICE, "output", "/tmp/x", 5)


async def test_a_child_that_fails_is_not_the_callers_fault() -> None:
    with pytest.raises(Unavailable, match="could not look at the files of alice"):
        await scripted("raise SystemExit(3)").check(ALICE, {})
    missing = Checker(["/shared"], 30.0, lambda user, uid: ["/nonexistent/setpriv"])
    with pytest.raises(Unavailable, match="No such file"):
        await missing.check(ALICE, {})


async def test_hanging_children_are_bounded_and_others_go_on() -> None:
    hanging = {True: "import time; time.sleep(600)", False: """print('{"problem": null}')"""}
    started = []

    def either(user: User, uid: int) -> list[str]:
        started.append(user.name)
        return [sys.executable, "-I", "-c", hanging[user is ALICE]]

    checker = Checker(["/shared"], 1.5, either)
    calls = [asyncio.create_task(checker.check(ALICE, {})) for _ in range(AT_ONCE + 3)]
    await checker.check(User("bob", 2003, 2003, "/"), {})
    assert started.count("alice") == AT_ONCE
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in outcomes)
    assert "does the shared directory answer?" in str(outcomes[0])
    await asyncio.gather(*checker._children)

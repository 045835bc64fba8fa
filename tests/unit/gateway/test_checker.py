"""What is made of the answers of children, and that children cannot hold the gateway up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from kcms.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from kcms.gateway.checker import AT_ONCE, Checker
from kcms.gateway.children import Children
from kcms.gateway.users import User

ALICE = User("alice", 2001, 2002, "/shared/home/alice")
BOB = User("bob", 2003, 2003, "/")
CAROL = User("carol", 2004, 2004, "/")
WELL = {"problems": [None]}
Said = Callable[[Any], dict[str, Any] | bytes]


class Scripted(Children):
    """Children whose answers are made here; those of users in ``hang`` never end by themselves."""

    def __init__(self, said: Said, *hang: User) -> None:
        super().__init__()
        self.said = said
        self.hang = hang
        self.asked: list[str] = []
        self.end = asyncio.Event()

    async def ask(self, user: User, request: bytes, seconds: float) -> bytes:
        self.asked.append(user.name)
        if user in self.hang:
            await self.end.wait()
        answer = self.said(json.loads(request))
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


class Hanging(Scripted):
    """A child that comes to this program hangs."""

    def __init__(self, program: str) -> None:
        super().__init__(lambda request: {"problems": [None] * len(request["files"])})
        self.program = program

    async def ask(self, user: User, request: bytes, seconds: float) -> bytes:
        if self.program in request.decode():
            await self.end.wait()
        return await super().ask(user, request, seconds)


def scripted(answer: dict[str, Any] | bytes) -> Checker:
    return Checker(["/shared"], Scripted(lambda _: answer))


async def test_a_problem_is_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest, match="input is bad"):
        await scripted({"problems": ["input is bad"]}).check(ALICE, {})


async def test_no_problem_passes_and_the_request_arrives() -> None:
    got: list[Any] = []
    children = Scripted(lambda request: got.append(request) or WELL)
    await Checker(["/shared"], children).check(ALICE, {"executable": "/x"})
    assert got == [{"shared": ["/shared"], "files": [{"executable": "/x"}]}]


async def test_many_are_one_question_and_each_has_its_answer() -> None:
    got: list[Any] = []
    children = Scripted(lambda request: got.append(request) or {"problems": [None, "x is bad"]})
    many = [{"executable": each} for each in ("/a", "/b")]
    well, bad = await Checker(["/shared"], children).check_all(ALICE, many)
    assert well is None
    assert isinstance(bad, InvalidRequest)
    assert str(bad) == "x is bad"
    assert got == [{"shared": ["/shared"], "files": many}]


async def test_one_that_hangs_is_told_so_and_the_others_with_it_are_looked_at() -> None:
    children = Hanging("/hangs")
    checker = Checker(["/shared"], children, seconds=0.2)
    many = [{"executable": each} for each in ("/a", "/hangs", "/b")]
    first, hung, last = await checker.check_all(ALICE, many)
    assert (first, last) == (None, None)
    assert isinstance(hung, Unavailable)
    children.end.set()


async def test_an_answer_for_each_or_none() -> None:
    with pytest.raises(Unavailable, match="could not look at the files of alice"):
        await scripted({"problems": []}).check(ALICE, {})


async def test_the_end_of_a_file_is_the_childs_answer() -> None:
    got: list[Any] = []
    end = {"size": 9, "offset": 4, "text": "abcde"}
    children = Scripted(lambda request: got.append(request) or end)
    assert await Checker(["/shared"], children).tail(ALICE, "output", "/x", 5) == end
    assert got == [{"tail": {"name": "output", "path": "/x", "bytes": 5, "from": None}}]


@pytest.mark.parametrize(("code", "kind"), [("not_found", NotFound), ("forbidden", Forbidden)])
async def test_problems_keep_their_code(code: str, kind: type[Exception]) -> None:
    answer = {"problem": "output /shared/x is so", "code": code}
    with pytest.raises(kind, match=r"output /shared/x is so$"):
        await scripted(answer).tail(ALICE, "output", "/shared/x", 5)


async def test_of_a_missing_file_elsewhere_it_is_said_who_may_have_it() -> None:
    answer = {"problem": "output /tmp/x does not exist", "code": "not_found"}
    with pytest.raises(NotFound, match=r"/tmp/x does not exist on this host; it is not on a sha"):
        await scripted(answer).tail(ALICE, "output", "/tmp/x", 5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "it ended without an answer"),
        (b"[]", "check as alice: "),
        (b'{"problem": "x", "code": "none such"}', "none such"),
        ({"failed": "KeyError: 'alice'"}, "check as alice: KeyError: 'alice'"),
    ],
)
async def test_a_child_that_fails_is_not_the_callers_fault(
    answer: dict[str, Any] | bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable, match="could not look at the files of alice"):
        await scripted(answer).check(ALICE, {})
    assert said in caplog.text


async def waiting(checker: Checker, user: User, count: int) -> list[asyncio.Task[None]]:
    calls = [asyncio.create_task(checker.check(user, {})) for _ in range(count)]
    for _ in range(20):
        await asyncio.sleep(0)
    return calls


async def test_hanging_children_are_bounded_and_others_go_on() -> None:
    children = Scripted(lambda _: WELL, ALICE)
    checker = Checker(["/shared"], children, seconds=0.3)
    calls = await waiting(checker, ALICE, AT_ONCE + 3)
    await checker.check(BOB, {})
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in outcomes)
    assert "does the shared directory answer?" in str(outcomes[0])
    assert children.asked.count("alice") == AT_ONCE
    with pytest.raises(Unavailable):
        await checker.check(ALICE, {})  # they hang yet, and keep their places
    assert children.asked.count("alice") == AT_ONCE
    children.end.set()
    await checker.check(ALICE, {})
    assert children.asked.count("alice") == AT_ONCE + 1


async def test_all_together_are_bounded_and_one_who_waits_for_himself_keeps_nobody_out() -> None:
    children = Scripted(lambda _: WELL, ALICE, BOB)
    checker = Checker(["/shared"], children, at_once=2, in_all=4)
    calls = await waiting(checker, ALICE, 5)
    await checker.check(CAROL, {})
    calls += await waiting(checker, BOB, 2)
    assert children.asked == ["alice", "alice", "carol", "bob", "bob"]
    calls += await waiting(checker, CAROL, 1)
    assert len(children.asked) == 5
    children.end.set()
    await asyncio.gather(*calls)
    assert len(children.asked) == 9


async def test_one_who_gives_up_waiting_leaves_no_place_taken() -> None:
    children = Scripted(lambda _: WELL, BOB)
    checker = Checker(["/shared"], children, at_once=1, in_all=1)
    (first,) = await waiting(checker, BOB, 1)
    (second,) = await waiting(checker, ALICE, 1)
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    children.end.set()
    await first
    async with asyncio.timeout(10):
        await checker.check(ALICE, {})

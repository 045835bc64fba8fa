"""What waits to be handed on is taken in lots, and is bounded."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from kcms.errors import Unavailable
from kcms.gateway.desk import BULKS, LOT_JOBS, PILE_BYTES, Turns, _Handed, _Pile
from kcms.gateway.users import User
from kcms.http import BULK_BYTES


def handed(size: int, count: int = 1) -> list[_Handed]:
    return [_Handed(Mock(), b"x" * size, Mock()) for _ in range(count)]


def test_a_lot_is_what_one_call_takes() -> None:
    pile = _Pile()
    pile.add(handed(10, LOT_JOBS + 1))
    assert [len(pile.take()), len(pile.take())] == [LOT_JOBS, 1]
    pile.add(handed(BULK_BYTES // 4, 5))
    lots = [len(pile.take()), len(pile.take())]
    assert lots == [3, 2]
    assert pile.size == 0


def test_one_that_is_too_large_for_others_goes_alone() -> None:
    pile = _Pile()
    pile.add([*handed(BULK_BYTES), *handed(10)])
    assert [len(pile.take()), len(pile.take())] == [1, 1]


def test_more_than_so_much_does_not_wait() -> None:
    pile = _Pile()
    pile.add(handed(PILE_BYTES))
    with pytest.raises(Unavailable, match="too many submissions"):
        pile.add(handed(1))
    pile.take()
    pile.add(handed(1))


ALICE, BOB = User("alice", 1, 1, "/"), User("bob", 2, 2, "/")


async def test_two_calls_of_a_user_have_their_turn_and_little_waits() -> None:
    turns, began, end = Turns(), list[str](), asyncio.Event()

    async def call(user: User, size: int) -> None:
        async with turns.turn(user, size):
            began.append(user.name)
            await end.wait()

    calls = [asyncio.create_task(call(ALICE, PILE_BYTES // 4)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many submissions"):
        await call(ALICE, 1)
    calls.append(asyncio.create_task(call(BOB, 1)))
    await asyncio.sleep(0)
    assert began == ["alice"] * BULKS + ["bob"]
    calls[2].cancel()  # gives back what it waited with
    await asyncio.sleep(0)
    calls.append(asyncio.create_task(call(ALICE, 1)))
    await asyncio.sleep(0)
    end.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert began == ["alice"] * BULKS + ["bob"] + ["alice"] * 2
    assert turns._queues == {}

"""How many files of a user are read at one time, and how many wait for it."""

from __future__ import annotations

import asyncio

import pytest

from kcms.gateway import pourer
from kcms.gateway.pourer import Busy, Turn, Turns


async def test_who_reads_much_does_not_hold_what_others_wait_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pourer, "AT_ONCE", 2)
    monkeypatch.setattr(pourer, "WAITING", 2)
    turns, go = Turns({}, {}), asyncio.Event()

    async def read(uid: int) -> None:
        async with Turn(turns, uid):
            await go.wait()

    readers = [asyncio.create_task(read(1)) for _ in range(4)]
    await asyncio.sleep(0.01)
    assert turns == ({1: 2}, {1: 2})
    with pytest.raises(Busy):
        await asyncio.wait_for(read(1), 1)
    other = asyncio.create_task(read(2))
    await asyncio.sleep(0.01)
    assert turns.read == {1: 2, 2: 1}
    readers[3].cancel()
    go.set()
    await asyncio.gather(*readers, other, return_exceptions=True)
    assert turns == ({}, {})


async def test_a_wait_has_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pourer, "TURN_SECONDS", 0.1)
    turns = Turns(dict.fromkeys(range(8), pourer.AT_ONCE), {})
    with pytest.raises(Busy):
        async with Turn(turns, 9):
            pass
    assert turns.wait == {}

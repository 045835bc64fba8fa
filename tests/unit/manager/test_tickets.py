"""Tickets: good once, for a moment, between two hosts."""

from __future__ import annotations

import pytest

from kcms.errors import Forbidden, Unavailable
from kcms.manager import tickets
from kcms.manager.tickets import ATTACH, LIFE, Ticket, Tickets

TICKET = Ticket(ATTACH, "alpha1", "alpha2", {"job": 1})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_is_good_once() -> None:
    made = Tickets(Clock())
    secret = made.issue(TICKET)
    assert made.redeem(secret, "alpha1", "alpha2") == TICKET
    with pytest.raises(Forbidden):
        made.redeem(secret, "alpha1", "alpha2")


@pytest.mark.parametrize(("source", "target"), [("alpha3", "alpha2"), ("alpha1", "alpha3")])
def test_who_copies_one_gets_nothing_and_spoils_nothing(source: str, target: str) -> None:
    made = Tickets(Clock())
    secret = made.issue(TICKET)
    with pytest.raises(Forbidden):
        made.redeem(secret, source, target)
    assert made.redeem(secret, "alpha1", "alpha2") == TICKET


def test_none_is_good_for_long_and_no_other_text_is_one() -> None:
    clock = Clock()
    made = Tickets(clock)
    secret = made.issue(TICKET)
    clock.now = LIFE
    for each in (secret, "", "\ud800", "x" * 43):
        with pytest.raises(Forbidden):
            made.redeem(each, "alpha1", "alpha2")


def test_they_are_bounded_in_number_until_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MOST", 2)
    clock = Clock()
    made = Tickets(clock)
    of_jobs = [Ticket(ATTACH, "alpha1", "alpha2", {"job": each}) for each in range(3)]
    assert len({made.issue(each) for each in of_jobs[:2]}) == 2
    with pytest.raises(Unavailable, match="try again"):
        made.issue(of_jobs[2])
    clock.now = LIFE
    assert made.issue(of_jobs[2])


def test_who_asks_again_and_again_for_one_job_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tickets, "MOST", 3)
    made = Tickets(Clock())
    others = [
        Ticket(ATTACH, "alpha3", "alpha2", {"job": 1}),
        Ticket(ATTACH, "alpha1", "alpha2", {"job": 2}),
    ]
    good = [made.issue(each) for each in others]
    secrets = [made.issue(TICKET) for _ in range(10)]
    with pytest.raises(Forbidden):
        made.redeem(secrets[-2], "alpha1", "alpha2")
    assert made.redeem(secrets[-1], "alpha1", "alpha2") == TICKET
    assert [made.redeem(good[0], "alpha3", "alpha2"), made.redeem(good[1], "alpha1", "alpha2")] == (
        others
    )

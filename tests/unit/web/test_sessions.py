"""Logins of the page: ids, their ends, and the bounds."""

from __future__ import annotations

import pytest

from kcms.web import sessions
from kcms.web.sessions import Forms, Session, Sessions, Token


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begin(known: Sessions, user: str = "alice") -> str:
    return known.begin(user, {"alpha": Token(f"secret-{user}")}, {})[0]


def test_an_id_leads_to_its_login_and_to_no_other(clock: Clock) -> None:
    known = Sessions(clock)
    alice, bob = begin(known), begin(known, "bob")
    assert alice != bob
    found = known.find(alice)
    assert found is not None
    assert (found.user, found.tokens["alpha"].text) == ("alice", "secret-alice")
    assert known.find(alice[:-1]) is None
    assert known.find("") is None
    assert known.find("\ud800") is None


def test_a_login_is_over_when_idle_and_whatever_happens_after_its_life(clock: Clock) -> None:
    known = Sessions(clock, idle=100, life=250)
    number = begin(known)
    for _ in range(3):
        clock.now += 80
        assert known.find(number) is not None
    clock.now += 11
    assert known.find(number) is None
    idle = begin(known)
    clock.now += 99
    assert known.find(idle, counts=False) is not None  # a refresh by the page itself
    clock.now += 1
    assert known.find(idle) is None


def test_an_end_returns_the_tokens_once(clock: Clock) -> None:
    known = Sessions(clock)
    number = begin(known)
    ended = known.end(number)
    assert ended is not None
    assert ended.tokens["alpha"].text == "secret-alice"
    assert known.end(number) is None
    assert known.find(number) is None


def test_the_least_used_makes_room(clock: Clock) -> None:
    known = Sessions(clock, most=3)
    numbers = []
    for user in ("a", "b", "c"):
        numbers.append(begin(known, user))
        clock.now += 1
    known.find(numbers[0])
    newest = begin(known, "d")
    assert len(known) == 3
    assert [known.find(each) is not None for each in (*numbers, newest)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_one_user_pushes_nobody_else_out(clock: Clock) -> None:
    known = Sessions(clock, most=100)
    bob = begin(known, "bob")
    for _ in range(sessions.MOST_OF_A_USER + 5):
        clock.now += 1
        begin(known, "alice")
    assert known.find(bob) is not None
    assert len(known) == sessions.MOST_OF_A_USER + 1


def test_notes_are_said_once_and_the_last_ones() -> None:
    session = Session("alice", {}, {}, 0.0, 0.0, 0.0)
    for at in range(12):
        session.say("good", str(at))
    assert [note.text for note in session.take_notes()] == [str(at) for at in range(4, 12)]
    assert session.take_notes() == []


def test_a_token_that_died_leaves_the_others() -> None:
    session = Session("alice", {"a": Token("1"), "b": Token("2")}, {}, 0.0, 0.0, 0.0)
    session.lose("a", "over")
    assert (list(session.tokens), session.refusals) == (["b"], {"a": "over"})


def test_no_secret_is_in_a_repr() -> None:
    session = Session("alice", {"a": Token("s3cret")}, {}, 0.0, 0.0, 0.0)
    assert "s3cret" not in repr(session)
    assert session.form not in repr(session)


def test_a_form_fits_its_own_cookie_alone() -> None:
    forms = Forms()
    cookie = forms.begin()
    assert forms.fits(cookie, forms.seal(cookie))
    assert not forms.fits(forms.begin(), forms.seal(cookie))
    assert not forms.fits(cookie, Forms().seal(cookie))
    assert not forms.fits("", forms.seal(""))
    assert not forms.fits(cookie, "\udcff")

"""Tokens and failed logins over time, by a clock that the test turns."""

from __future__ import annotations

import pytest

from kcms.errors import TooMany, Unauthorized
from kcms.manager import sessions
from kcms.manager.sessions import MOST_OF_A_USER, Account, Sessions, Throttle

ALICE = Account("alice", 2001, 2001)
BOB = Account("bob", 2002, 2002)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Clock, idle: float = 100.0, life: float = 1000.0) -> Sessions:
    return Sessions(idle, life, clock)


def test_a_token_is_random_and_known_by_its_digest_alone(clock: Clock) -> None:
    logins = made(clock)
    tokens = {logins.begin(ALICE)[0] for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(each) == 43 for each in tokens)  # 256 bits in base 64
    assert not any(each in repr(vars(logins)) for each in tokens)


def test_a_token_is_its_users_and_nobody_elses(clock: Clock) -> None:
    logins = made(clock)
    alice, _ = logins.begin(ALICE)
    bob, _ = logins.begin(BOB)
    assert logins.use(alice)[0] == ALICE
    assert logins.use(bob)[0] == BOB
    for forged in ("", alice[:-1], alice + "x", alice.swapcase(), "\udcff", "\ud800"):
        with pytest.raises(Unauthorized, match="this login is over: log in again"):
            logins.use(forged)


def test_a_login_that_idles_is_over(clock: Clock) -> None:
    logins = made(clock)
    token, left = logins.begin(ALICE)
    assert left == 100
    clock.now += 99
    assert logins.use(token) == (ALICE, 100)
    clock.now += 100
    with pytest.raises(Unauthorized):
        logins.use(token)


def test_a_login_in_use_is_over_after_its_life(clock: Clock) -> None:
    logins = made(clock)
    token, _ = logins.begin(ALICE)
    for _ in range(11):
        clock.now += 90
        logins.use(token)
    assert logins.use(token)[1] == 10
    clock.now += 10
    with pytest.raises(Unauthorized):
        logins.use(token)


def test_logging_out_ends_one_and_a_password_all_of_a_user(clock: Clock) -> None:
    logins = made(clock)
    first, second = logins.begin(ALICE)[0], logins.begin(ALICE)[0]
    bob, _ = logins.begin(BOB)
    logins.end(first)
    with pytest.raises(Unauthorized):
        logins.use(first)
    assert logins.use(second)[0] == ALICE
    assert logins.end_all("alice") == 1
    with pytest.raises(Unauthorized):
        logins.use(second)
    assert logins.use(bob)[0] == BOB


def test_one_login_more_than_a_user_may_have_ends_the_least_used(clock: Clock) -> None:
    logins = made(clock, idle=900)
    bob, _ = logins.begin(BOB)
    tokens = []
    for _ in range(MOST_OF_A_USER):
        clock.now += 1
        tokens.append(logins.begin(ALICE)[0])
    clock.now += 1
    logins.use(tokens[0])
    tokens.append(logins.begin(ALICE)[0])
    with pytest.raises(Unauthorized):
        logins.use(tokens[1])
    assert all(logins.use(each)[0] == ALICE for each in [tokens[0], *tokens[2:]])
    assert logins.use(bob)[0] == BOB


def test_what_is_over_takes_no_memory(clock: Clock) -> None:
    logins = made(clock)
    for number in range(500):
        logins.begin(Account(f"u{number}", number + 1, 1))
    clock.now += 100
    logins.begin(ALICE)
    assert len(logins._sessions) == 1


def test_root_is_a_name_and_a_number() -> None:
    assert Account("root", 5, 5).root
    assert Account("toor", 0, 0).root
    assert not ALICE.root


def refused(throttle: Throttle, user: str) -> str:
    with pytest.raises(TooMany) as caught:
        throttle.begin(user)
    assert caught.value.status == 429
    return caught.value.message


def test_pauses_grow_and_say_how_long_they_are(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.begin("alice")
    for pause in (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300):
        assert refused(throttle, "alice") == f"too many failed logins as alice: wait for {pause} s"
        clock.now += pause - 0.25
        assert refused(throttle, "alice").endswith("wait for 1 s")
        clock.now += 0.25
        throttle.begin("alice")


def test_others_are_not_held_up_and_success_begins_anew(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.begin("alice")
    throttle.begin("bob")
    refused(throttle, "alice")
    throttle.succeed("alice")
    for _ in range(5):
        throttle.begin("alice")
    refused(throttle, "alice")


def test_failures_are_forgiven_after_a_while(clock: Clock) -> None:
    throttle = Throttle(clock)
    for _ in range(5):
        throttle.begin("alice")
    clock.now += sessions.FORGIVEN_AFTER
    for _ in range(5):
        throttle.begin("alice")
    refused(throttle, "alice")


@pytest.mark.parametrize("at_once", range(1, 30))
def test_waiting_to_be_forgiven_gives_no_more_guesses(clock: Clock, at_once: int) -> None:
    throttle, guesses, began = Throttle(clock), 0, clock.now
    while clock.now - began < 86400:
        for _ in range(at_once):
            clock.now += _wait(throttle, clock)
            throttle.begin("alice")
            guesses += 1
        clock.now += sessions.FORGIVEN_AFTER
    assert guesses <= 325


def _wait(throttle: Throttle, clock: Clock) -> float:
    """Seconds until the next guess is taken."""
    known = throttle._failures.get(throttle._bucket("alice"))
    if known is None or clock.now - known.last >= sessions.FORGIVEN_AFTER:
        return 0.0
    return max(0.0, known.last + sessions._pause(known.count) - clock.now)


def test_no_number_of_other_names_makes_a_name_free(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BUCKETS", 8)
    throttle = Throttle(clock, key=b"k")
    for _ in range(5):
        throttle.begin("alice")
    for number in range(1000):
        try:
            throttle.begin(f"nobody-{number}")
        except TooMany:
            continue
    refused(throttle, "alice")
    assert len(throttle._failures) == 8


def test_a_name_can_be_any_text(clock: Clock) -> None:
    Throttle(clock).begin("\ud800\udcff\0")

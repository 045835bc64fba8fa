"""Who is logged in on the page, and with which tokens.  Pure, and safe to share between threads.

A browser holds a random id in a cookie and nothing else; the tokens that the managers gave stay
here, in memory, so a copy of this machine's disk or of a cookie file opens no cluster by itself,
and a page that starts anew has forgotten every login.  Times are seconds of a clock that is handed
in and never set back.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

IDLE = 1800.0
LIFE = 43200.0
TOUCH = 300.0  # after so many seconds of use the managers are told that a login is in use
MOST = 1024
MOST_OF_A_USER = 16
MOST_NOTES = 8


@dataclass(frozen=True)
class Note:
    """A sentence to be shown once, on the next page: ``kind`` is good or bad."""

    kind: str
    text: str


@dataclass(frozen=True)
class Token:
    """What a cluster's manager gave for a login of ``user``; ``root``: it sees everybody's work."""

    text: str = field(repr=False)
    root: bool = False
    user: str = ""


@dataclass
class Session:
    """One login on the page.

    ``tokens`` are by cluster; ``refusals`` say of the other clusters why there is none.  ``form``
    stands in every form, so that no other site can send one.
    """

    user: str
    tokens: dict[str, Token]
    refusals: dict[str, str]
    began: float
    used: float
    touched: float
    form: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    notes: list[Note] = field(default_factory=list)

    def say(self, kind: str, text: str) -> None:
        """Have a sentence shown on the next page."""
        self.notes = [*self.notes, Note(kind, text)][-MOST_NOTES:]

    def take_notes(self) -> list[Note]:
        """The sentences that wait to be shown, once."""
        notes, self.notes = self.notes, []
        return notes

    def due(self, now: float) -> dict[str, Token]:
        """The tokens to be used again now, as a manager ends one that is not used for long."""
        if now - self.touched < TOUCH:
            return {}
        self.touched = now
        return self.tokens

    def lose(self, cluster: str, why: str) -> None:
        """The cluster's manager knows the token no more."""
        self.tokens = {name: each for name, each in self.tokens.items() if name != cluster}
        self.refusals = {**self.refusals, cluster: why}


class Sessions:
    """The logins under way, by the id that the browser holds.

    :param idle: seconds without a page after which a login is over
    :param life: seconds after which it is over whatever happens
    :param most: logins at the most; the least used one makes room for a new one
    """

    def __init__(
        self,
        clock: Callable[[], float],
        idle: float = IDLE,
        life: float = LIFE,
        most: int = MOST,
    ) -> None:
        self._clock = clock
        self._idle = idle
        self._life = life
        self._most = most
        self._lock = threading.Lock()
        self._sessions: dict[bytes, Session] = {}

    def begin(
        self, user: str, tokens: dict[str, Token], refusals: dict[str, str]
    ) -> tuple[str, list[Session]]:
        """A new login: the id for the browser, which was never used before, and the logins that
        made room for it, whose tokens should be ended, too."""
        number, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sweep(now)
            own = [key for key, each in self._sessions.items() if each.user == user]
            gone = self._make_room(own, MOST_OF_A_USER)
            gone += self._make_room(list(self._sessions), self._most)
            self._sessions[_digest(number)] = Session(user, tokens, refusals, now, now, now)
        return number, gone

    def find(self, number: str, counts: bool = True) -> Session | None:
        """The login that an id is of; ``counts`` says whether a person asked for this page."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_digest(number))
            if session is None or self._over(session, now):
                return None
            if counts:
                session.used = now
            return session

    def end(self, number: str) -> Session | None:
        """Forget a login; it is returned, as its tokens should be ended, too."""
        with self._lock:
            return self._sessions.pop(_digest(number), None)

    def now(self) -> float:
        """The time of the clock that logins are measured by."""
        return self._clock()

    def __len__(self) -> int:
        return len(self._sessions)

    def _over(self, session: Session, now: float) -> bool:
        return now >= min(session.used + self._idle, session.began + self._life)

    def _sweep(self, now: float) -> None:
        for key in [key for key, each in self._sessions.items() if self._over(each, now)]:
            del self._sessions[key]

    def _make_room(self, keys: list[bytes], most: int) -> list[Session]:
        """Drop the least used of ``keys`` until one more fits into ``most``; those dropped."""
        least = sorted(keys, key=lambda each: self._sessions[each].used)
        return [self._sessions.pop(key) for key in least[: max(0, len(keys) - most + 1)]]


class Forms:
    """What stands in the form of somebody who is not logged in yet.

    The browser holds a random text in a cookie, and the form holds this page's seal of it.  So
    another site can neither send the form nor bring its own pair.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def begin(self) -> str:
        """A random text for the cookie."""
        return secrets.token_urlsafe(32)

    def seal(self, text: str) -> str:
        """What the form holds for this cookie."""
        return hmac.new(self._key, text.encode("utf-8", "replace"), "sha256").hexdigest()

    def fits(self, text: str, seal: str) -> bool:
        """Is ``seal`` ours, of this cookie?"""
        return bool(text) and same(self.seal(text), seal)


def same(one: str, other: str) -> bool:
    """Equality that takes the same time wherever they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def clusters_without(session: Session) -> Iterator[tuple[str, str]]:
    """The clusters that a login does not reach, and why."""
    return iter(sorted(session.refusals.items()))


def _digest(number: str) -> bytes:
    return hashlib.sha256(number.encode("utf-8", "replace")).digest()

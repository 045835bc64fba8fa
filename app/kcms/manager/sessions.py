"""Logins that are under way, and how often a wrong password may be tried.  Pure.

A token is 256 random bits; only its SHA-256 is kept, and only in memory, so what a copy of this
machine's disk holds opens nothing, and a manager that starts anew has ended every login.  Times
are seconds of a clock that is handed in and never set back.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from kcms.errors import TooMany, Unauthorized

OVER = "this login is over: log in again"
MOST_OF_A_USER = 16
FREE_FAILURES = 5
LONGEST_PAUSE = 300.0
FORGIVEN_AFTER = 3600.0
"""Seconds; so long that to wait for it gives no more guesses than to go on with the pauses."""

BUCKETS = 65536


@dataclass(frozen=True)
class Account:
    """Who a login is of: as the kernel of the host where the password was set vouched for it."""

    user: str
    uid: int
    gid: int

    @property
    def root(self) -> bool:
        return self.user == "root" or self.uid == 0


@dataclass
class Session:
    """One login; ``used`` is when its token was last seen."""

    account: Account
    began: float
    used: float


class Sessions:
    """The logins under way.

    :param idle: seconds without a call after which a login is over
    :param life: seconds after which it is over whatever happens
    """

    def __init__(self, idle: float, life: float, clock: Callable[[], float]) -> None:
        self._idle = idle
        self._life = life
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}

    def begin(self, account: Account) -> tuple[str, float]:
        """A new token and the seconds it is good for; the user's least used login may end by it."""
        self._sweep()
        held = [(each.used, key) for key, each in self._of(account.user)]
        for _, key in sorted(held)[: max(0, len(held) - MOST_OF_A_USER + 1)]:
            del self._sessions[key]
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(account, now, now)
        self._sessions[_digest(token)] = session
        return token, self._left(session)

    def use(self, token: str) -> tuple[Account, float]:
        """Whose token it is, and the seconds it is good for now.

        :raises Unauthorized: it is nobody's, or its login is over
        """
        session = self._sessions.get(_digest(token))
        if session is None or self._left(session) <= 0:
            raise Unauthorized(OVER)
        session.used = self._clock()
        return session.account, self._left(session)

    def end(self, token: str) -> None:
        self._sessions.pop(_digest(token), None)

    def end_all(self, user: str) -> int:
        """End every login of a user; how many there were."""
        held = [key for key, _ in self._of(user)]
        for key in held:
            del self._sessions[key]
        return len(held)

    def _of(self, user: str) -> list[tuple[bytes, Session]]:
        return [item for item in self._sessions.items() if item[1].account.user == user]

    def _left(self, session: Session) -> float:
        ends = min(session.used + self._idle, session.began + self._life)
        return ends - self._clock()

    def _sweep(self) -> None:
        for key in [key for key, each in self._sessions.items() if self._left(each) <= 0]:
            del self._sessions[key]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass
class _Failures:
    count: int
    last: float


class Throttle:
    """How often a wrong password may be tried for a user, whoever tries it and from wherever.

    After :data:`FREE_FAILURES` there is a pause before the next attempt, 1 s and twice as long
    after each further failure, up to :data:`LONGEST_PAUSE`; so a user name takes some 300 guesses
    a day.  Attempts in the pause are not looked at and do not lengthen it.  The price: who keeps
    failing in another's name keeps that user off the page (not off the command line).

    Names share :data:`BUCKETS` counters by a keyed hash.  So memory is bounded, nobody can push a
    counter out by trying other names, and a name that has no password counts like one that has.
    """

    def __init__(self, clock: Callable[[], float], key: bytes | None = None) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(16) if key is None else key
        self._failures: dict[int, _Failures] = {}

    def begin(self, user: str) -> None:
        """Count an attempt as failed until :meth:`succeed`, so that many at once count, too.

        :raises TooMany: not yet
        """
        now, bucket = self._clock(), self._bucket(user)
        known = self._failures.get(bucket)
        if known is None or now - known.last >= FORGIVEN_AFTER:
            known = self._failures[bucket] = _Failures(0, now)
        left = known.last + _pause(known.count) - now
        if left > 0:
            seconds = math.ceil(left)
            raise TooMany(f"too many failed logins as {user}: wait for {seconds} s")
        known.count += 1
        known.last = now

    def succeed(self, user: str) -> None:
        self._failures.pop(self._bucket(user), None)

    def _bucket(self, user: str) -> int:
        name = user.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(name, key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") % BUCKETS


def _pause(failures: int) -> float:
    """Seconds after that many failures in a row before the next attempt."""
    over = failures - FREE_FAILURES
    return 0.0 if over < 0 else min(LONGEST_PAUSE, 2.0 ** min(over, 30))

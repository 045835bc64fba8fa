"""Setting passwords, logging in and out: what the API asks, beside the loop where it takes time.

Hashing is made to be slow, so it runs in threads, few at once; each who asks (a user of a host, the
page being one) has a few places in the line, so that no one of them fills it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from kcms.errors import Forbidden, Unauthorized, Unavailable
from kcms.manager.core import Caller
from kcms.manager.passwords import Cost, Entry, Passwords, check_password
from kcms.manager.sessions import OVER, Account, Sessions, Throttle

log = logging.getLogger("kcms.manager")

WRONG = "wrong user or password, or no password set: run kcms web-password on a host of the grid"
AT_ONCE = 2
NICE = 15
PLACES = 8
ALL_PLACES = 32
LONGEST_TOKEN = 128

T = TypeVar("T")


def boot_clock() -> float:
    """Seconds that go on while the machine sleeps, and are never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Asker:
    """Who hands a login or a password in; a user of several hosts is one."""

    user: str
    host: str

    def __str__(self) -> str:
        return f"{self.user} of {self.host}"


class Logins:
    """Passwords and tokens of one manager.

    :param web_root: whether root may log in
    :param cost: what new hashes are made with
    """

    def __init__(
        self,
        passwords: Passwords,
        sessions: Sessions,
        throttle: Throttle,
        web_root: bool,
        cost: Cost | None = None,
    ) -> None:
        self._passwords = passwords
        self._sessions = sessions
        self._throttle = throttle
        self._web_root = web_root
        self._cost = cost or Cost()
        self._nobody = Entry.nobody(self._cost)
        self._line = Line()

    def close(self) -> None:
        self._line.close()

    async def set_password(self, caller: Caller, password: Any) -> None:
        """Set the caller's password, or take it away with None; the user's logins end.

        :raises Forbidden: root, who may not log in
        """
        account = Account(caller.user, caller.uid, caller.gid)
        entry = None
        if password is not None:
            text = check_password(password)
            if account.root and not self._allowed_root(account, caller.grid_root):
                raise Forbidden(
                    "root may not log in on the page: web_root is off in this manager's settings"
                )
            entry = await self._line.run(caller.user, lambda: Entry.make(account, text, self._cost))
        self._passwords.put(caller.user, entry)
        done = "sets" if entry else "takes away"
        ended = self._sessions.end_all(caller.user)
        log.info("%s of %s %s the password, %d logins end", caller.user, caller.host, done, ended)

    async def login(self, asker: Asker, user: str, password: str) -> tuple[str, Account, float]:
        """A token, whose it is, and the seconds it is good for.

        Whatever is wrong costs the same time and has the same sentence.

        :param asker: who hands the login in
        :raises Unauthorized: wrong  :raises TooMany: not now
        """
        self._passwords.require()
        self._line.check_room(asker.user)
        self._throttle.begin(user)
        entry = self._passwords.get(user)
        tried = entry or self._nobody
        fits = await self._line.run(asker.user, lambda: tried.fits(password))
        if entry is None or not fits or not self._may(entry.account):
            # Who is unknown is not named: it may be a password in the wrong field.
            log.info("a login as %s by %s fails", user if entry else "an unknown user", asker)
            raise Unauthorized(WRONG)
        if entry.cost != self._cost:
            entry = await self._made_anew(asker, entry, password)
        if self._passwords.get(user) is not entry:  # changed while this one was looked at
            raise Unauthorized(WRONG)
        self._throttle.succeed(user)
        token, left = self._sessions.begin(entry.account)
        log.info("%s logs in by %s", user, asker)
        return token, entry.account, left

    def session(self, token: str) -> tuple[Account, float]:
        """:raises Unauthorized: the login is over"""
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized(OVER)
        return self._sessions.use(token)

    def caller(self, token: str, host: str) -> Caller:
        """Who acts with a token that ``host`` shows.  :raises Unauthorized: the login is over"""
        account = self.session(token)[0]
        return Caller(account.user, account.uid, account.gid, host, grid_root=account.root)

    def logout(self, token: str) -> None:
        account = self.session(token)[0]
        self._sessions.end(token)
        log.info("%s logs out", account.user)

    async def _made_anew(self, asker: Asker, entry: Entry, password: str) -> Entry:
        """The entry with the parameters that are in force now; as it is when that cannot be."""
        cost = self._cost
        try:
            made = await self._line.run(
                asker.user, lambda: Entry.make(entry.account, password, cost)
            )
            if self._passwords.get(entry.account.user) is not entry:
                return entry
            self._passwords.put(entry.account.user, made)
        except Unavailable:
            return entry
        return made

    def _may(self, account: Account) -> bool:
        return not account.root or self._web_root

    def _allowed_root(self, account: Account, grid_root: bool) -> bool:
        return grid_root and self._may(account)


class Line:
    """Runs what takes long in threads, :data:`AT_ONCE` at once, for those who have a place."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "password", _give_way)
        self._places: Counter[str] = Counter()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_room(self, asker: str) -> None:
        """:raises Unavailable: no place is free"""
        if self._places[asker] >= PLACES or self._places.total() >= ALL_PLACES:
            raise Unavailable("many log in at this moment: try again in a few seconds")

    async def run(self, asker: str, work: Callable[[], T]) -> T:
        """:raises Unavailable: no place is free"""
        self.check_room(asker)
        self._places[asker] += 1
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done.add_done_callback(lambda _: self._leave(asker))
        return await asyncio.shield(done)  # the place is taken until the thread is free

    def _leave(self, asker: str) -> None:
        self._places[asker] -= 1
        self._places += Counter()  # drops those that hold none


def _give_way() -> None:
    """On Linux a thread has a priority of its own: whoever tries passwords delays no job."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)

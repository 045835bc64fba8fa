"""The page's way to the managers: this host's gateway, with the tokens of those who logged in.

Every call has a time limit and a place: a cluster whose manager hangs holds a few threads of the
page for a while, and never all of them; nor does a user, or an address that keeps logging in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from kcms.client import Client, ClientError
from kcms.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    KcmsError,
    NotFound,
    TooMany,
    Unauthorized,
    Unavailable,
)
from kcms.web.sessions import Token
from kcms.web.shares import Shares

READ_SECONDS = 15.0
ACT_SECONDS = 45.0
LOGIN_SECONDS = 20.0
CLUSTERS_SECONDS = 8.0
LOGOUT_SECONDS = 5.0
NODES_SECONDS = 4.0
PLACES = 3  # pages that ask one cluster at once, each with up to four calls
OF_ONE_USER = 2  # of the pages that ask one cluster
PLACE_SECONDS = 3.0
LOGINS = 3
OF_ONE_ADDRESS = 2  # of the logins
WORKERS = 20  # a gateway takes 32 connections of one user

T = TypeVar("T")

_ERRORS: dict[int, type[KcmsError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    429: TooMany,
}


@dataclass(frozen=True)
class Logins:
    """What became of a login: ``tokens`` by cluster, and why the other clusters gave none."""

    tokens: Mapping[str, Token]
    refusals: Mapping[str, KcmsError]

    def sentences(self) -> dict[str, str]:
        return {name: error.message for name, error in self.refusals.items()}


class Gateway:
    """Calls through the gateway's socket at ``path``.  Safe to share between threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._clusters = Shares(PLACES)
        self._users = Shares(OF_ONE_USER)
        self._logins = Shares(LOGINS)
        self._addresses = Shares(OF_ONE_ADDRESS)
        self._workers = ThreadPoolExecutor(WORKERS, "gateway")

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def ask(self, cluster: str, token: Token, call: Callable[[Client], T]) -> T:
        """What ``call`` returns that reads something.  :raises KcmsError: its failure"""
        with self._place(cluster, token):
            return _translate(lambda: call(self._client(cluster, token.text, READ_SECONDS)))

    def act(self, cluster: str, token: Token, call: Callable[[Client], T]) -> T:
        """What ``call`` returns that changes something.  :raises KcmsError: its failure"""
        with self._place(cluster, token):
            return _translate(lambda: call(self._client(cluster, token.text, ACT_SECONDS)))

    def together(
        self, cluster: str, token: Token, *calls: Callable[[Client], Any]
    ) -> list[Any | KcmsError]:
        """Several calls that read, at once; a failure stands in its call's place."""
        client = self._client(cluster, token.text, READ_SECONDS)

        def bound(call: Callable[[Client], Any]) -> Callable[[], Any]:
            return lambda: _translate(lambda: call(client))

        with self._place(cluster, token):
            return self._all([bound(each) for each in calls])

    def nodes(self, cluster: str) -> list[dict[str, Any]]:
        """The nodes as the cluster's manager sees them; no login is needed for that.

        :raises KcmsError: no answer
        """
        return _translate(self._client(cluster, None, NODES_SECONDS).nodes)

    def login(self, user: str, password: str, address: str | None = None) -> Logins:
        """Ask every cluster's manager for a token.

        :param address: where the user is, if that is known
        :raises Unavailable: no gateway, no cluster, or too many log in at this moment
        """
        busy = "many log in at this moment: try again in a few seconds"
        with contextlib.ExitStack() as places:
            if address is not None:  # without waiting, as that would hold a thread of the page
                places.enter_context(self._addresses.one(address, 0.0, busy))
            places.enter_context(self._logins.one("", PLACE_SECONDS, busy))
            rows = _translate(self._client(None, None, CLUSTERS_SECONDS).clusters)
            names = [str(each["name"]) for each in rows]
            if not names:
                raise Unavailable("the gateway of this host knows no clusters")
            found = self._all([self._one_login(name, user, password) for name in names])
        pairs = list(zip(names, found, strict=True))
        return Logins(
            {name: each for name, each in pairs if isinstance(each, Token)},
            {name: each for name, each in pairs if isinstance(each, KcmsError)},
        )

    def keep_alive(self, tokens: Mapping[str, Token]) -> None:
        """Use logins, which a manager ends when they are not used for long; nothing is waited for.

        Whether one is over the next call with it tells.
        """
        for name, token in tokens.items():
            self._workers.submit(self._client(name, token.text, LOGOUT_SECONDS).session)

    def logout(self, tokens: Mapping[str, Token]) -> None:
        """End logins at their managers; what cannot be reached ends them by itself in time."""
        self._all([self._one_logout(name, token) for name, token in tokens.items()])

    def _one_login(self, cluster: str, user: str, password: str) -> Callable[[], Token]:
        def login() -> Token:
            client = self._client(cluster, None, LOGIN_SECONDS)
            answer = _translate(lambda: client.login(user, password))
            return Token(str(answer["token"]), answer.get("root") is True, user)

        return login

    def _one_logout(self, cluster: str, token: Token) -> Callable[[], None]:
        return lambda: _translate(self._client(cluster, token.text, LOGOUT_SECONDS).logout)

    @contextlib.contextmanager
    def _place(self, cluster: str, token: Token) -> Iterator[None]:
        """A place among those of the user, and one among those of the cluster."""
        yours = f"{cluster} has not answered earlier calls of yours yet: try again"
        busy = f"the manager of {cluster} has not answered earlier calls yet: try again"
        with (
            self._users.one((cluster, token.user), PLACE_SECONDS, yours),
            self._clusters.one(cluster, PLACE_SECONDS, busy),
        ):
            yield

    def _client(self, cluster: str | None, token: str | None, seconds: float) -> Client:
        return Client(self._path, cluster=cluster, token=token, timeout=seconds)

    def _all(self, calls: Iterable[Callable[[], Any]]) -> list[Any | KcmsError]:
        futures = [self._workers.submit(each) for each in calls]
        return [_outcome(each) for each in futures]


def _outcome(future: Future[Any]) -> Any | KcmsError:
    try:
        return future.result()
    except KcmsError as error:
        return error


def _translate(call: Callable[[], T]) -> T:
    """What ``call`` returns; the client's failures as errors of this package, word for word."""
    try:
        return call()
    except ClientError as error:
        raise _ERRORS.get(error.status, Unavailable)(error.message) from error

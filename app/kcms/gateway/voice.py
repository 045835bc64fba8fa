"""In whose name a call goes on to a manager: the kernel says who calls, or a token does.

A token speaks for the user who logged in for it, whichever local process shows it; only the manager
knows whose it is, so nothing here is decided by it but who may see which file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from kcms.config import ClusterAddress
from kcms.errors import Forbidden, InvalidRequest, ProtocolError, Unauthorized
from kcms.gateway.door import uid_of
from kcms.gateway.managers import Managers
from kcms.gateway.users import (
    Caller,
    User,
    UserDatabase,
    caller,
    in_time,
    local_user,
    require_person,
)
from kcms.http import Asked

TOKEN = "Kcms-Token"  # noqa: S105 - the name of a header
AS = "Kcms-As"
LOGIN = "/v1/login"  # with a password, so whoever may ask
FORM = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True)
class Voice:
    """The headers that tell a manager who asks; ``name`` is for the log.

    ``caller`` is None when a token speaks.
    """

    headers: Mapping[str, str] = field(repr=False)
    name: str
    caller: Caller | None = None


def voice_of(user: User, who: Caller) -> Voice:
    headers = {"Kcms-User": user.name, "Kcms-Uid": str(user.uid), "Kcms-Gid": str(user.gid)}
    return Voice(headers, user.name, who)


def peer_uid(request: Asked) -> int:
    """The uid of the process at the other end, as the kernel recorded it when it connected."""
    assert request.transport is not None
    return uid_of(request.transport.get_extra_info("socket"))


async def voice(request: Asked, users: UserDatabase) -> Voice:
    """:raises Forbidden: the caller has no name, or takes another's, or is a daemon and would act
    :raises Unauthorized: a token that can be none  :raises InvalidRequest: a token and a name"""
    token, wanted = request.headers.get(TOKEN), request.headers.get(AS)
    if token is None:
        uid, name = peer_uid(request), None if wanted is None else unquote(wanted)
        who = users.recent(uid, name)
        if who is None:
            who = await in_time(lambda: caller(uid, name, users))
            users.remember(uid, name, who)
        if request.method != "GET" and request.path != LOGIN:
            require_person(who)
        return voice_of(who.user, who)
    if wanted is not None:
        raise InvalidRequest(f"a call has {TOKEN} or {AS}, not both")
    if not FORM.fullmatch(unquote(token)):
        raise Unauthorized("this login is over: log in again")
    return Voice({TOKEN: unquote(token)}, "a login")


async def logged_in(
    token: Voice, cluster: ClusterAddress, managers: Managers, users: UserDatabase
) -> User:
    """The user of this host whom a token speaks for, who may submit.

    :raises Refused: by the manager, as the login is over  :raises Forbidden: no such user here
    """
    answer = await managers.call(cluster, "GET", "/v1/session", token.headers)
    said = answer.document()
    try:
        name, uid, gid = str(said["user"]), int(said["uid"]), int(said["gid"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError("the manager did not say whose login this is") from error
    if name == "root" or uid == 0:
        raise Forbidden("root submits no jobs by a login: log in as the user whose job it is")
    return await in_time(lambda: local_user(users, name, uid, gid))

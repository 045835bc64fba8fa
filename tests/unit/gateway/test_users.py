"""In whose name a local process may speak."""

from __future__ import annotations

import os
import pwd

import pytest

from kcms.errors import Forbidden, InvalidRequest
from kcms.gateway.users import (
    Caller,
    Lister,
    User,
    UserDatabase,
    caller,
    lister,
    local_user,
    require_person,
    submitter,
)

ROOT = User("root", 0, 0, "/root")
ALICE = User("alice", 2001, 2001, "/shared/home/alice")
BOB = User("bob", 2002, 2002, "/shared/home/bob")


class Users(UserDatabase):
    def __init__(self) -> None:
        super().__init__(overflow_uid=65534)

    def by_uid(self, uid: int) -> User | None:
        return {each.uid: each for each in (ROOT, ALICE, BOB)}.get(uid)

    def by_name(self, name: str) -> User | None:
        return {each.name: each for each in (ROOT, ALICE, BOB)}.get(name)


USERS = Users()


@pytest.mark.parametrize(
    ("uid", "wanted", "expected"),
    [(2001, None, ALICE), (2001, "alice", ALICE), (0, "bob", BOB), (0, None, ROOT)],
)
def test_who_speaks(uid: int, wanted: str | None, expected: User) -> None:
    assert caller(uid, wanted, USERS).user == expected


def test_only_root_names_another() -> None:
    with pytest.raises(Forbidden, match=r"only root.*alice is not root"):
        caller(2001, "bob", USERS)
    with pytest.raises(Forbidden, match="only root"):
        caller(2001, "root", USERS)
    with pytest.raises(Forbidden, match="only root"):
        caller(2001, "", USERS)


def test_a_uid_without_name_is_refused() -> None:
    with pytest.raises(Forbidden, match="uid 4711 has no name"):
        caller(4711, None, USERS)


def test_root_naming_nobody_there_is_told_so() -> None:
    with pytest.raises(InvalidRequest, match="no user 'carol' on this host"):
        caller(0, "carol", USERS)


def test_root_must_say_whose_job_it_is() -> None:
    with pytest.raises(Forbidden, match="root must say whose job this is: --user NAME"):
        submitter(caller(0, None, USERS))
    assert submitter(caller(0, "alice", USERS)) == ALICE
    assert submitter(caller(0, "root", USERS)) == ROOT
    assert submitter(caller(2001, None, USERS)) == ALICE


def test_a_daemon_is_no_person() -> None:
    require_person(caller(2001, None, USERS))
    for name in ("kcms-web", "kcms-manager"):
        with pytest.raises(Forbidden, match=f"{name} is a service of KCMS: it changes nothing"):
            require_person(Caller(User(name, 990, 990, "/"), 990, named=False))


def test_lists_of_others_are_roots_alone() -> None:
    root, alice = caller(0, None, USERS), caller(2001, None, USERS)
    assert lister(root, None, USERS) == Lister(ROOT)
    assert lister(root, "alice", USERS) == Lister(ALICE)
    assert lister(root, "unknown here", USERS) == Lister(ROOT, unknown="unknown here")
    assert lister(alice, "alice", USERS) == Lister(ALICE)
    with pytest.raises(Forbidden, match="only root may list"):
        lister(alice, "bob", USERS)
    with pytest.raises(Forbidden, match="only root may list"):
        lister(caller(0, "alice", USERS), "bob", USERS)


def test_a_user_of_the_grid_is_one_of_this_host_only_with_the_same_ids() -> None:
    assert local_user(USERS, "alice", 2001, 2001) == ALICE
    assert local_user(USERS, "alice", 2001) == ALICE
    with pytest.raises(Forbidden, match="carol has no account on this host"):
        local_user(USERS, "carol", 2003)
    with pytest.raises(Forbidden, match="alice has uid 2001 on this host, and 2002 where"):
        local_user(USERS, "alice", 2002, 2001)
    with pytest.raises(Forbidden, match=r"alice has group 2001 .*, and 50 .*kcms web-password"):
        local_user(USERS, "alice", 2001, 50)


def test_the_real_database_knows_this_process_and_not_the_overflow_uid() -> None:
    entry = pwd.getpwuid(os.getuid())
    mine = User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert UserDatabase().by_uid(os.getuid()) == mine
    assert UserDatabase(overflow_uid=os.getuid()).by_uid(os.getuid()) is None
    assert UserDatabase().by_name(entry.pw_name) == mine
    assert UserDatabase().by_name("no\0body") is None

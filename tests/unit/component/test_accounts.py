from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import (
    Accounts,
    User,
    plan_accounts,
)


def labels(steps):
    return [step.label for step in steps]


def test_missing_user_gets_its_group_first() -> None:
    steps = plan_accounts(["site"], [User("kcms-web", groups=("site",))], Accounts())
    assert labels(steps) == ["group site", "group kcms-web", "user kcms-web"]
    assert steps[2].command[:5] == ("useradd", "--system", "--no-create-home", "--gid", "kcms-web")
    assert steps[2].command[-3:] == ("--groups", "site", "kcms-web")


def test_what_is_there_needs_no_step() -> None:
    there = Accounts(frozenset({"kcms-web"}), {"kcms-web": frozenset({"kcms-web", "adm"})})
    assert plan_accounts([], [User("kcms-web")], there) == []


def test_only_missing_memberships_are_added() -> None:
    there = Accounts(frozenset({"w", "a", "b"}), {"w": frozenset({"w", "a"})})
    steps = plan_accounts(["a", "b"], [User("w", groups=("a", "b"))], there)
    assert [step.command for step in steps] == [("usermod", "--append", "--groups", "b", "w")]


def test_accounts_are_read_by_name() -> None:
    there = Accounts.read(["root", "no-such-group"], ["root", "no-such-user"])
    assert there.groups == {"root"}
    assert set(there.users) == {"root"}
    assert "root" in there.users["root"]

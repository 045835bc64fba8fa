"""A whole component against a fake systemd: the same answer in check mode and for real."""

import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_component import Component
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import (
    Systemd,
    UnitPlan,
    UnitState,
)

ME = pwd.getpwuid(os.getuid()).pw_name
US = grp.getgrgid(os.getgid()).gr_name
UNIT = "kcms-test.service"


class Fake(Systemd):
    """Units that start when told; ``log`` has what was asked, in order."""

    def __init__(self, marks: Path, running: set[str] | None = None) -> None:
        super().__init__(str(marks))
        self.running = running or set()
        self.log: list[str] = []

    def states(self, names: Any) -> dict[str, UnitState]:
        return {
            name: UnitState(name, "loaded", "active", "running", "enabled")
            for name in names
            if name in self.running
        }

    def carry_out(self, plan: UnitPlan) -> None:
        self.log += plan.labels
        self.running |= set(plan.start)

    def run_or_explain(self, verb: str, names: Any) -> None:
        self.log += [f"{verb} {name}" for name in names]


def params(**given: Any) -> dict[str, Any]:
    lists = ("groups", "users", "directories", "files", "links", "absent", "units")
    empty = {name: [] for name in (*lists, "inputs_of", "restarted")}
    return empty | {"secrets": {}} | given


def file(path: Path, content: str | None, **more: Any) -> dict[str, Any]:
    base = {"path": str(path), "owner": ME, "group": US, "mode": "0644"}
    return base | {"content": content} | more


def unit() -> dict[str, Any]:
    return {"name": UNIT, "enabled": True, "started": True}


def component(tmp_path: Path, fake: Fake, text: str = "a") -> Component:
    wanted = params(files=[file(tmp_path / "f", text)], units=[unit()])
    return Component.of(wanted, fake)


def test_first_run_starts_and_restarts_nothing(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "marks")
    first = component(tmp_path, fake)
    seen = first.examine()
    assert seen.changed_paths == [str(tmp_path / "f"), f"enable {UNIT}", f"start {UNIT}"]
    assert not (tmp_path / "f").exists()
    first.carry_out(seen)
    assert seen.stale == set()
    again = component(tmp_path, fake).examine()
    assert (again.changed, again.changed_paths) == (False, [])


def test_changed_input_makes_the_running_unit_stale(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "marks", {UNIT})
    changed = component(tmp_path, fake, "b")
    seen = changed.examine()
    assert seen.stale == {UNIT}
    assert not (tmp_path / "marks").exists()  # a look leaves no mark
    changed.carry_out(seen)
    assert fake.log == []


def test_a_restart_owed_by_a_broken_off_run_is_told_until_it_is_made(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "marks", {UNIT})
    changed = component(tmp_path, fake, "b")
    changed.carry_out(changed.examine())
    after = component(tmp_path, fake, "b").examine()
    assert (after.changed, after.stale) == (False, {UNIT})
    restart = Component.of(params(restarted=[UNIT]), fake)
    restart.carry_out(restart.examine())
    assert fake.log == [f"restart {UNIT}"]
    assert component(tmp_path, fake, "b").examine().stale == set()


def test_inputs_of_units_elsewhere(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "marks", {"other.service"})
    wanted = params(files=[file(tmp_path / "ca", "x")], inputs_of=["other.service", "gone.service"])
    assert Component.of(wanted, fake).examine().stale == {"other.service"}


def test_unknown_owner_refused_before_anything_is_touched(tmp_path: Path) -> None:
    files = [file(tmp_path / "one", "x"), file(tmp_path / "two", "x", owner="no-such-user")]
    whole = Component.of(params(files=files), Fake(tmp_path / "marks"))
    seen = whole.examine()
    assert len(seen.changed_paths) == 2
    with pytest.raises(HostError, match="this host has no no-such-user"):
        whole.carry_out(seen)
    assert list(tmp_path.iterdir()) == []


def test_owner_made_by_the_same_component_would_be_changed(tmp_path: Path) -> None:
    user = {"name": "kcms-x", "home": "/", "shell": "/bin/false", "comment": "", "groups": []}
    wanted = params(users=[user], files=[file(tmp_path / "f", "x", owner="kcms-x")])
    seen = Component.of(wanted, Fake(tmp_path / "marks")).examine()
    assert seen.changed_paths == ["group kcms-x", "user kcms-x", str(tmp_path / "f")]


@pytest.mark.parametrize("mode", ["644x", "99", "77777", ""])
def test_bad_mode_says_what_is_right(tmp_path: Path, mode: str) -> None:
    wanted = params(files=[file(tmp_path / "f", "x", mode=mode)])
    with pytest.raises(HostError, match="is no octal string as '0644'"):
        Component.of(wanted, Fake(tmp_path))


def test_relative_path_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="'f' is not an absolute path"):
        Component.of(params(files=[file(Path("f"), "x")]), Fake(tmp_path))


def test_secret_text_of_a_file_is_written_and_in_no_diff(tmp_path: Path) -> None:
    key = tmp_path / "key"
    wanted = params(files=[file(key, None, mode="0600")], secrets={str(key): "s3cret"})
    whole = Component.of(wanted, Fake(tmp_path / "marks"))
    seen = whole.examine()
    assert "s3cret" not in repr([each.diff() for each in seen.differences])
    whole.carry_out(seen)
    assert key.read_text() == "s3cret"
    assert key.stat().st_mode & 0o777 == 0o600


def test_file_without_any_text_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="has no content, and no text among the secrets"):
        Component.of(params(files=[file(tmp_path / "f", None)]), Fake(tmp_path))


def test_module_logs_no_secrets() -> None:
    from ansible_collections.kcms.cluster.plugins.modules.component import argument_spec

    spec = argument_spec()
    assert spec["secrets"]["no_log"] is True  # top level: nested ones do reach a host's log
    assert "secret" not in spec["files"]["options"]

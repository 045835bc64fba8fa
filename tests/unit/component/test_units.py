from pathlib import Path

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import (
    Systemd,
    Unit,
    UnitState,
    parse_show,
    plan_units,
)

# As systemd 257 printed it for a running, a failing and a missing unit.
SHOWN = """\
Id=kcms-monitor.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
Result=success

Id=kcms-web.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
UnitFileState=enabled
NeedDaemonReload=yes
Result=exit-code

Id=kcms-node.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
NeedDaemonReload=no
Result=success
"""
MONITOR, WEB, NODE = "kcms-monitor.service", "kcms-web.service", "kcms-node.service"


def test_states_are_read() -> None:
    states = parse_show(SHOWN)
    assert list(states) == [MONITOR, WEB, NODE]
    assert states[WEB].reload_needed
    assert {name: state.runs for name, state in states.items()} == {
        MONITOR: True,
        WEB: False,  # it waits to be started again after a failure
        NODE: False,
    }


def test_a_unit_between_two_failures_is_not_up() -> None:
    starting = UnitState(WEB, "loaded", "activating", "start", "enabled")
    assert plan_units([Unit(WEB)], {WEB: starting}, files_changed=False).start == (WEB,)


def test_plan_does_only_what_is_missing() -> None:
    plan = plan_units([Unit(MONITOR), Unit(NODE)], parse_show(SHOWN), files_changed=False)
    assert plan.labels == [f"enable {NODE}", f"start {NODE}"]
    assert not plan.reload


def test_unit_files_written_now_or_by_a_broken_off_run_are_reloaded() -> None:
    states = parse_show(SHOWN)
    assert plan_units([Unit(MONITOR)], states, files_changed=True).reload
    assert plan_units([Unit(WEB)], states, files_changed=False).reload


def test_a_unit_systemd_does_not_know_would_be_enabled_and_started() -> None:
    plan = plan_units([Unit("new.service")], {}, files_changed=True)
    assert plan.labels == ["enable new.service", "start new.service"]


def test_stop_and_disable() -> None:
    units = [Unit(MONITOR, enabled=False, started=False), Unit(NODE, enabled=None, started=False)]
    plan = plan_units(units, parse_show(SHOWN), files_changed=False)
    assert plan.labels == [f"disable {MONITOR}", f"stop {MONITOR}"]


def test_masked_unit_is_the_administrators_will() -> None:
    states = {MONITOR: UnitState(MONITOR, load="masked")}
    with pytest.raises(HostError, match=r"systemctl unmask kcms-monitor\.service"):
        plan_units([Unit(MONITOR)], states, files_changed=False)


def test_marks_last_until_the_restart(tmp_path: Path) -> None:
    systemd = Quiet(str(tmp_path / "marks"))
    systemd.mark([MONITOR])
    assert systemd.stale([MONITOR, NODE]) == {MONITOR}
    systemd.restart([MONITOR])
    assert systemd.commands == [("restart", "--", MONITOR)]
    assert systemd.stale([MONITOR]) == set()


def test_a_failed_restart_keeps_its_mark(tmp_path: Path) -> None:
    systemd = Quiet(str(tmp_path / "marks"), fails=True)
    systemd.mark([WEB])
    with pytest.raises(HostError):
        systemd.restart([WEB])
    assert systemd.stale([WEB]) == {WEB}


def test_of_several_only_what_did_not_restart_owes_it(tmp_path: Path) -> None:
    systemd = Quiet(str(tmp_path / "marks"), fails=True)
    systemd.mark([MONITOR, WEB])
    with pytest.raises(HostError):
        systemd.restart([MONITOR, WEB])
    assert systemd.stale([MONITOR, WEB]) == {WEB}


def test_a_start_that_systemd_itself_could_not_make_is_made_again(tmp_path: Path) -> None:
    systemd = Quiet(str(tmp_path), fails=True, shown=SHOWN.replace("=active\n", "=failed\n"))
    systemd.shown = systemd.shown.replace("Result=success", "Result=resources", 1)
    with pytest.raises(HostError, match=rf"^{MONITOR} did not restart: .*; {WEB} did not restart"):
        systemd.restart([MONITOR, WEB])
    assert systemd.commands == [("restart", "--", MONITOR, WEB), ("start", "--", MONITOR)]


def test_a_restart_that_came_right_after_all_is_none_to_complain_of(tmp_path: Path) -> None:
    systemd = Quiet(str(tmp_path), fails=True)
    systemd.mark([MONITOR])
    systemd.restart([MONITOR])
    assert systemd.stale([MONITOR]) == set()


def test_a_plan_is_carried_out_in_order_and_what_it_starts_owes_no_restart(tmp_path: Path) -> None:
    systemd = Quiet(str(tmp_path))
    systemd.mark([MONITOR, NODE])
    wanted = [Unit(MONITOR), Unit(NODE), Unit(WEB, enabled=False, started=False)]
    systemd.carry_out(plan_units(wanted, parse_show(SHOWN), files_changed=True))
    assert systemd.commands == [
        ("daemon-reload",),
        ("--quiet", "enable", "--", NODE),
        ("--quiet", "disable", "--", WEB),
        ("--quiet", "stop", "--", WEB),
        ("start", "--", NODE),
    ]
    assert systemd.stale([MONITOR, NODE]) == {MONITOR}  # which runs, and with old inputs


def test_loaded_units_are_those_that_systemd_has_something_of(tmp_path: Path) -> None:
    listed = (
        "kcms-node.service loaded active running KCMS node\n"
        "kcms-web.service not-found failed failed kcms-web.service\n"
        "kcms-monitor.service not-found inactive dead kcms-monitor.service\n"
    )
    systemd = Quiet(str(tmp_path))
    systemd._run = lambda *words: listed  # type: ignore[method-assign]
    assert systemd.loaded("kcms-*") == [NODE, WEB]


class Quiet(Systemd):
    """A systemd that notes commands and runs none."""

    def __init__(self, marks: str, fails: bool = False, shown: str = SHOWN) -> None:
        super().__init__(marks)
        self.shown = shown
        self.commands: list[tuple[str, ...]] = []
        self.fails = fails

    def _run(self, *words: str) -> str:
        if words[0] == "show":
            return self.shown
        self.commands.append(words)
        if self.fails:
            raise HostError("systemctl failed")
        return ""

"""systemd units of one host: their state, what to do about it, and which run old inputs.

A unit is *stale* while it runs with inputs (configuration, certificate, our code) that were
replaced since it was started.  The mark for that is a file under /run, made before the inputs are
touched and removed by the restart; so a rollout that is broken off between the two is taken up
again by the next one, whatever the clocks say, and a reboot clears the marks with the need.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError

MARKS = "/run/kcms-rollout/stale"
PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload"),
    "Result",
)
RUNNING = frozenset({"active", "activating", "reloading"})
LOG_LINES = 5


@dataclass(frozen=True)
class Unit:
    """What a unit should be; None leaves that side alone."""

    name: str
    enabled: bool | None = True
    started: bool | None = True


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit.  A unit it does not know has ``load`` not-found."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""
    reload_needed: bool = False
    result: str = "success"

    @property
    def runs(self) -> bool:
        """Whether a process of it may be there; waiting to be restarted after a failure is not."""
        return self.active in RUNNING and self.sub != "auto-restart"

    @property
    def lives(self) -> bool:
        """Whether a process of it is there, or about to be: not of one that is remembered."""
        return self.runs and self.sub != "exited"

    @property
    def up(self) -> bool:
        """Whether it has said that it is ready.  One that fails again and again never has."""
        return self.active in ("active", "reloading")


@dataclass(frozen=True)
class UnitPlan:
    """What to do, in this order."""

    reload: bool
    enable: tuple[str, ...]
    disable: tuple[str, ...]
    stop: tuple[str, ...]
    start: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """One line a step, for people and for ``changed_paths``."""
        steps = (
            ("enable", self.enable),
            ("disable", self.disable),
            ("stop", self.stop),
            ("start", self.start),
        )
        return [f"{verb} {name}" for verb, names in steps for name in names]


def parse_show(text: str) -> dict[str, UnitState]:
    """Read what ``systemctl show -p …`` printed of several units (blocks apart by blank lines)."""
    states = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            states[values["Id"]] = UnitState(
                name=values["Id"],
                load=values.get("LoadState", "not-found"),
                active=values.get("ActiveState", "inactive"),
                sub=values.get("SubState", "dead"),
                enabled=values.get("UnitFileState", ""),
                reload_needed=values.get("NeedDaemonReload") == "yes",
                result=values.get("Result", "success"),
            )
    return states


def plan_units(
    wanted: Sequence[Unit], states: dict[str, UnitState], files_changed: bool
) -> UnitPlan:
    """What brings the units from ``states`` to what is wanted.

    ``files_changed``: unit files were (or would be) written just before.

    :raises HostError: a unit is masked, which an administrator did on purpose
    """
    seen = {unit.name: states.get(unit.name, UnitState(unit.name)) for unit in wanted}
    for name, state in seen.items():
        if state.load == "masked":
            raise HostError(f"unit {name} is masked here: 'systemctl unmask {name}' and run again")
    on = {unit.name for unit in wanted if unit.enabled}
    off = {unit.name for unit in wanted if unit.enabled is False}
    return UnitPlan(
        reload=files_changed or any(state.reload_needed for state in seen.values()),
        enable=tuple(n for n, state in seen.items() if n in on and state.enabled != "enabled"),
        disable=tuple(n for n, state in seen.items() if n in off and state.enabled == "enabled"),
        stop=tuple(u.name for u in wanted if u.started is False and _present(seen[u.name])),
        start=tuple(u.name for u in wanted if u.started and not seen[u.name].up),
    )


def _present(state: UnitState) -> bool:
    return state.active not in ("inactive", "failed")


class Systemd:
    """The systemd of this host, by its command; ``marks`` is where stale units are noted."""

    def __init__(self, marks: str = MARKS) -> None:
        self.marks = Path(marks)

    def states(self, names: Iterable[str]) -> dict[str, UnitState]:
        names = sorted(set(names))
        if not names:
            return {}
        properties = [f"--property={','.join(PROPERTIES)}"]
        return parse_show(self._run("show", *properties, "--", *names))

    def loaded(self, pattern: str) -> list[str]:
        """Units by a pattern of names that are up, failed, or remembered by systemd."""
        columns = (
            line.split()
            for line in self._run(
                "list-units", "--all", "--plain", "--no-legend", "--full", "--", pattern
            ).splitlines()
        )
        return [row[0] for row in columns if len(row) > 2 and row[2] != "inactive"]

    def stop(self, names: Sequence[str]) -> None:
        """Stop units, in this order where that matters to systemd.  :raises HostError: one stays"""
        for name in names:
            self._run("stop", "--", name)

    def forget(self, pattern: str) -> None:
        """Let systemd see that unit files have gone, and forget failures of their units."""
        self._run("daemon-reload")
        self._run("reset-failed", "--", pattern)

    def carry_out(self, plan: UnitPlan) -> None:
        """:raises HostError: a step failed; a unit that did not start is named with its log"""
        if plan.reload:
            self._run("daemon-reload")
        for verb in ("enable", "disable", "stop"):
            names = getattr(plan, verb)
            if names:
                self._run("--quiet", verb, "--", *names)
        self.run_or_explain("start", plan.start)
        self._unmark(plan.start)

    def restart(self, names: Sequence[str]) -> None:
        """Restart units and take their marks away.  :raises HostError: one did not come up"""
        try:
            self.run_or_explain("restart", names)
        except HostError:
            self._unmark([name for name in names if name not in self._down(names)])
            raise
        self._unmark(names)

    def _unmark(self, names: Sequence[str]) -> None:
        """These have just begun with the inputs there are."""
        for name in names:
            (self.marks / name).unlink(missing_ok=True)

    def run_or_explain(self, verb: str, names: Sequence[str]) -> None:
        if not names:
            return
        try:
            self._run(verb, "--", *names)
        except HostError as error:
            self._again(names)
            failed = self._down(names).keys()
            if failed:
                lines = [f"{name} did not {verb}: {_log(name)}" for name in failed]
                raise HostError("; ".join(lines)) from error

    def _again(self, names: Sequence[str]) -> None:
        """Start what systemd itself could not: at times a cgroup goes just as a restart needs it.

        Such a unit has the result "resources", which no fault of a daemon gives.
        """
        again = [name for name, state in self._down(names).items() if state.result == "resources"]
        if again:
            with suppress(HostError):
                self._run("start", "--", *again)

    def _down(self, names: Sequence[str]) -> dict[str, UnitState]:
        states = self.states(names)
        seen = {name: states.get(name, UnitState(name)) for name in names}
        return {name: state for name, state in seen.items() if not state.up}

    def stale(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` that carry a mark."""
        return {name for name in names if (self.marks / name).exists()}

    def mark(self, names: Iterable[str]) -> None:
        """Note, before their inputs are replaced, that these running units need a restart."""
        for name in names:
            self.marks.mkdir(mode=0o755, parents=True, exist_ok=True)
            (self.marks / name).touch()

    def _run(self, *words: str) -> str:
        command = ["systemctl", "--no-pager", "--no-ask-password", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())
            raise HostError(f"systemctl {' '.join(words)} failed: {said}")
        return done.stdout


def _log(name: str) -> str:
    command = ["journalctl", "--no-pager", "-o", "cat", "-n", str(LOG_LINES), "-u", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " | ".join(done.stdout.split("\n")).strip(" |") or "its journal is empty"

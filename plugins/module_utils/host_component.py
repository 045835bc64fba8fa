"""One part of the product on one host: first look at all of it, then change what differs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import (
    Accounts,
    AccountStep,
    HostError,
    User,
    gid_of,
    plan_accounts,
    uid_of,
)
from ansible_collections.kcms.cluster.plugins.module_utils.host_files import (
    Difference,
    Wanted,
    differs,
    put,
)
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import (
    Systemd,
    Unit,
    UnitPlan,
    plan_units,
)

UNIT_DIRECTORY = "/etc/systemd/system/"


@dataclass(frozen=True)
class Outcome:
    """What differs on this host; the same whether it is then changed or only told."""

    accounts: list[AccountStep]
    differences: list[Difference]
    units: UnitPlan
    newly_stale: set[str]
    stale: set[str]
    restarted: list[str]

    @property
    def changed_paths(self) -> list[str]:
        return [
            *(step.label for step in self.accounts),
            *(difference.wanted.path for difference in self.differences),
            *self.units.labels,
            *(f"restart {name}" for name in self.restarted),
        ]

    @property
    def changed(self) -> bool:
        """A restart owed by a run that was broken off does not count: the release module tells it.

        It sees all units of the host, and before this run has made marks of its own.
        """
        return bool(self.changed_paths)


@dataclass(frozen=True)
class Component:
    """What is wanted of the host.  ``inputs_of``: units elsewhere that read these files."""

    groups: Sequence[str] = ()
    users: Sequence[User] = ()
    paths: Sequence[Wanted] = ()
    units: Sequence[Unit] = ()
    inputs_of: Sequence[str] = ()
    restarted: Sequence[str] = ()
    systemd: Systemd = field(default_factory=Systemd)

    @classmethod
    def of(cls, params: dict[str, Any], systemd: Systemd | None = None) -> Component:
        """Read a module's parameters.  :raises HostError: one has no sense"""
        users = [User(**{**each, "groups": tuple(each["groups"])}) for each in params["users"]]
        return cls(
            groups=params["groups"],
            users=users,
            paths=_paths(params),
            units=[Unit(**each) for each in params["units"]],
            inputs_of=params["inputs_of"],
            restarted=params["restarted"],
            systemd=systemd or Systemd(),
        )

    def examine(self) -> Outcome:
        """Look at the host, touching nothing."""
        there = Accounts.read(self.groups, (user.name for user in self.users))
        accounts = plan_accounts(self.groups, self.users, there)
        differences = [found for found in map(differs, self.paths) if found]
        names = {unit.name for unit in self.units} | set(self.inputs_of)
        states = self.systemd.states(names)
        unit_files = any(each.wanted.path.startswith(UNIT_DIRECTORY) for each in differences)
        plan = plan_units(self.units, states, unit_files)
        running = {name for name, state in states.items() if state.runs} - set(plan.stop)
        newly_stale = running if differences else set()
        stale = newly_stale | (self.systemd.stale(running))
        return Outcome(accounts, differences, plan, newly_stale, stale, list(self.restarted))

    def carry_out(self, outcome: Outcome) -> None:
        """Change what :meth:`examine` found.  :raises HostError: with the step that failed"""
        self._refuse_unknown_owners(outcome)
        self.systemd.mark(outcome.newly_stale)
        for step in outcome.accounts:
            _run(step)
        for difference in outcome.differences:
            put(difference.wanted)
        self.systemd.carry_out(outcome.units)
        self.systemd.restart(outcome.restarted)

    def _refuse_unknown_owners(self, outcome: Outcome) -> None:
        """Before anything is touched: half a component is worse than none."""
        made = {*self.groups, *(user.name for user in self.users)}
        for wanted in (difference.wanted for difference in outcome.differences):
            if wanted.kind in ("link", "absent"):
                continue
            unknown = [
                *([wanted.owner] if uid_of(wanted.owner) is None else []),
                *([wanted.group] if gid_of(wanted.group) is None else []),
            ]
            if set(unknown) - made:
                raise HostError(
                    f"{wanted.path} should belong to {wanted.owner}:{wanted.group}, "
                    f"but this host has no {unknown[0]}"
                )


def _paths(params: dict[str, Any]) -> list[Wanted]:
    paths = [
        Wanted(
            each["path"],
            "directory",
            mode=_mode(each),
            owner=each["owner"],
            group=each["group"],
            contents=each["contents"],
        )
        for each in params["directories"]
    ]
    for each in params["files"]:
        private = each["path"] in params["secrets"]
        text = params["secrets"][each["path"]] if private else each["content"]
        if text is None:
            raise HostError(f"file {each['path']} has no content, and no text among the secrets")
        paths.append(
            Wanted(
                each["path"],
                "file",
                content=text.encode(),
                mode=_mode(each),
                owner=each["owner"],
                group=each["group"],
                private=private,
            )
        )
    paths += [Wanted(each["path"], "link", target=each["target"]) for each in params["links"]]
    paths += [Wanted(path, "absent") for path in params["absent"]]
    for wanted in paths:
        if not wanted.path.startswith("/"):
            raise HostError(f"{wanted.path!r} is not an absolute path")
    return paths


def _mode(each: dict[str, Any]) -> int:
    try:
        mode = int(each["mode"], 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise HostError(f"mode {each['mode']!r} of {each['path']} is no octal string as '0644'")
    return mode


def _run(step: AccountStep) -> None:
    done = subprocess.run(step.command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"cannot make {step.label}: {' '.join(done.stderr.split())}")

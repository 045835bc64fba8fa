"""What a submission must be and what it becomes before a manager sees it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcms.errors import InvalidRequest
from kcms.gateway.users import User
from kcms.jobs.paths import default_output
from kcms.jobs.spec import SpecError, check_key, check_spec, is_interactive
from kcms.jobs.staged import check_home

FILES = ("executable", "base_directory", "input", "output", "error", "on_end")


@dataclass(frozen=True)
class Submission:
    """A complete specification, and the caller's key if there is one."""

    spec: dict[str, Any]
    key: str | None

    @property
    def program(self) -> str:
        return str(self.spec["executable"])

    def files(self) -> dict[str, str | None]:
        """The paths that the user must be able to use.

        Who is attached to a job sees at once when its node has no such program, and may well want
        one of the node's own.  Of a staged job ``staged`` names the files that nodes bring from
        this host.
        """
        unseen = ("executable",) if is_interactive(self.spec) else ()
        files = {name: None if name in unseen else self.spec[name] for name in FILES}
        staged = self.spec.get("staged")
        return {**files, "staged": " ".join(staged)} if staged else files


def parse(document: dict[str, Any], user: User) -> Submission:
    """:raises InvalidRequest: not a submission, in one line"""
    for name in document:
        if name not in ("spec", "key"):
            raise InvalidRequest(f"unknown member {name!r}; known are spec, key")
    try:
        # Completed first, as the manager checks what is sent there: that is what is looked at here.
        spec = check_spec(completed(document.get("spec"), user))
        check_home(spec, user.home)
        return Submission(spec, check_key(document.get("key")))
    except SpecError as error:
        raise InvalidRequest(str(error)) from error


def completed(spec: Any, user: User) -> Any:
    """``spec`` with the defaults that depend on the user: home, and where output goes; what can be
    no specification as it is."""
    if not isinstance(spec, dict):
        return spec
    base = spec.get("base_directory")
    if base is None:
        base = user.home
        if not base.startswith("/"):
            raise InvalidRequest(f"{user.name} has no home directory; name a base_directory")
    if is_interactive(spec):
        return {**spec, "base_directory": base}
    output = spec.get("output")
    if output is None and isinstance(base, str):
        output = f"{base.rstrip('/')}/{default_output(str(spec.get('class') or 'single'))}"
    error = spec.get("error")
    return {
        **spec,
        "base_directory": base,
        "output": output,
        "error": output if error is None else error,
    }

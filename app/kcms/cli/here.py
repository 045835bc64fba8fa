"""``kcms submit --stage`` on a host of the grid: a snapshot of each file, for nodes to bring."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from kcms.cli.away import STAGED
from kcms.cli.submit import absolute
from kcms.client import Client
from kcms.errors import InvalidRequest
from kcms.jobs import staged
from kcms.stage import walk
from kcms.stage.here import own_directory, snapshot
from kcms.stage.part import Place, clear
from kcms.via.staging import THERE, Local, brought, check_names, is_seen, place
from kcms.via.transfer import look


class Here:
    """The paths of one submission on a host of the grid, as :class:`kcms.cli.away.Away`."""

    def __init__(self, options: argparse.Namespace, caller: Client) -> None:
        self._to: str | None = options.stage_to
        self._caller = caller

    def is_local(self, field: str, path: str) -> bool:
        return field in STAGED and not path.startswith(THERE)

    def there(self, path: str) -> str:
        return absolute(path.removeprefix(THERE))

    def staged(self, spec: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
        """``spec`` with a snapshot of each file of ``given``, and what nodes need to bring it.

        :raises InvalidRequest: there can be none
        """
        files = [look(field, path) for field, path in given.items()]
        if os.geteuid() == 0:
            raise InvalidRequest("--stage takes a user's files as that user: runuser -u NAME -- …")
        if self._to is not None:
            check_names(files)
            return {**spec, **{each.field: self._put(each, absolute(self._to)) for each in files}}
        told = self._caller.places()
        home = str(told["home"])
        seen = is_seen(home, os.path.realpath(home), told["shared"])
        more: dict[str, Any] = {} if seen else {"staged": brought(files, home, told)}
        return {**spec, **{each.field: _snapshot(each, home) for each in files}, **more}

    def _put(self, local: Local, directory: str) -> str:
        goes = f"{directory.rstrip('/')}/{local.name}"
        try:
            stage = own_directory(directory)
            with Place(stage, stage, local.name, local.digest, local.size) as where:
                snapshot(local, where)
        except (OSError, walk.WalkError) as error:
            raise _cannot(local, goes, error) from error
        return goes


def _snapshot(local: Local, home: str) -> str:
    goes = place(local, f"{home.rstrip('/')}/{staged.STAGE}", by_content=True)
    try:
        with Place.below(home, local.name, local.digest, local.size) as where:
            snapshot(local, where)
            clear(where.stage, time.time())
    except (OSError, walk.WalkError) as error:
        raise _cannot(local, goes.path, error) from error
    return goes.path


def _cannot(local: Local, to: str, error: Exception) -> InvalidRequest:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidRequest(f"cannot stage {local.field} {local.path} as {to}: {why}")

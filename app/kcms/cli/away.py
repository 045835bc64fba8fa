"""``kcms --via HEAD submit``: which paths are the head's, and which files are brought there."""

from __future__ import annotations

import argparse
from typing import Any

from kcms.cli.options import session
from kcms.client import Client, ClientError
from kcms.errors import InvalidRequest
from kcms.via.staging import THERE, brought, check_names, is_seen, on_head, place, stage_directory
from kcms.via.transfer import clear, look, put

STAGED = ("executable", "input")


class Away:
    """The paths of one submission from a machine outside the grid."""

    def __init__(self, options: argparse.Namespace, caller: Client) -> None:
        self._options = options
        self._caller = caller
        self._told: dict[str, Any] | None = None

    def is_local(self, field: str, path: str) -> bool:
        return bool(self._options.stage) and field in STAGED and not path.startswith(THERE)

    def there(self, path: str) -> str:
        """``path`` on the head, where relative ones begin at the user's home."""
        bare = path.removeprefix(THERE)
        return bare if bare.startswith("/") else on_head(bare, str(self._places()["home"]))

    def staged(self, spec: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
        """``spec`` with each local file of ``given`` brought to the head, and named as it is there.

        :raises InvalidRequest: a file that cannot be staged  :raises ViaError: it did not get there
        """
        files = [look(field, path) for field, path in given.items()]
        if self._options.stage_to is not None:
            check_names(files)
        (stage, seen), head = self._stage(), session(self._options)
        changed = dict(spec)
        if not seen:
            told = self._places()
            changed["staged"] = brought(files, str(told["home"]), told)
        for each in files:
            goes = place(each, stage, by_content=self._options.stage_to is None)
            put(head, each, goes)
            changed[each.field] = goes.path
        clear(head, stage)
        return changed

    def _stage(self) -> tuple[str, bool]:
        """Where to stage, and whether every node sees it there."""
        given: str | None = self._options.stage_to
        if given is not None and given.startswith("/"):
            return stage_directory("", given), True
        told = self._places()
        home = str(told["home"])
        head = session(self._options)
        with head.explained(f"look at {home}"):
            real = str(head.files.normalize(home))
        seen = given is not None or is_seen(home, real, told["shared"])
        return stage_directory(home, given), seen

    def _places(self) -> dict[str, Any]:
        if self._told is None:
            try:
                self._told = self._caller.places()
            except ClientError as error:
                if error.status != 404:
                    raise
                raise InvalidRequest(
                    "the head's release does not say where your files may lie: "
                    "name absolute paths, and for --stage a --stage-to"
                ) from error
        return self._told

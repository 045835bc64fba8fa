"""Action kcms.cluster.backup: one archive on the control node, filled host by host.

A part comes as a file over the connection's own transfer of files, piece by piece to the disk:
neither ansible.builtin.slurp nor fetch with privileges does that, they hold it in memory as base64.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.plugin_utils import backup_ca
from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_archive import (
    ArchiveError,
    Making,
    Manifest,
    archive_name,
    prune,
    sweep,
    whole_or_nothing,
)
from ansible_collections.kcms.cluster.plugins.plugin_utils.wheel import Sources

MODULE = "kcms.cluster.backup_part"
APP = Path(__file__).resolve().parents[2] / "app"
ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["begin", "copy", "finish"], "required": True},
    "directory": {"type": "path"},
    "grid": {"type": "str"},
    "pki_directory": {"type": "path"},
    "path": {"type": "path"},
    "host": {"type": "str"},
    "clusters": {"type": "list", "elements": "str", "default": []},
    "rrd_directory": {"type": "str", "default": ""},
    "final": {"type": "bool", "default": False},
    "keep": {"type": "int", "default": 0},
    "time": {"type": "float"},
    "managers": {"type": "dict", "default": {}},
    "aggregators": {"type": "list", "elements": "str", "default": []},
}


class _Refused(Exception):
    """The module on the host failed; ``result`` is what it returned."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(str(result.get("msg")))
        self.result = result


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """``begin`` and ``finish`` contact no host."""

    TRANSFERS_FILES = True
    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(ARGUMENTS)
        self._vars = task_vars
        steps = {"begin": self._begin, "copy": self._copy, "finish": self._finish}
        try:
            return result | steps[given["step"]](given)
        except ArchiveError as error:
            return result | {"failed": True, "msg": str(error)}
        except OSError as error:
            said = f"cannot use {error.filename or given['path']}: {error.strerror}"
            return result | {"failed": True, "msg": said}
        except _Refused as error:
            return result | error.result

    def _begin(self, given: dict[str, Any]) -> dict[str, Any]:
        directory = Path(given["directory"]).expanduser().absolute()
        now = float(int(time.time()))
        making = Making(directory / archive_name(given["grid"], now), os.getppid())
        ca = backup_ca.pack(Path(given["pki_directory"]).expanduser().absolute())
        if not self._task.check_mode:
            with whole_or_nothing(making):
                making.begin()
                sweep(directory)
                making.add("ca.tar", io.BytesIO(ca), len(ca))
        return {"changed": True, "path": str(making.path), "time": now}

    def _copy(self, given: dict[str, Any]) -> dict[str, Any]:
        if self._task.check_mode:
            return {"changed": True}
        making = self._making(given)
        with whole_or_nothing(making):
            try:
                return {"changed": True, "files": self._copy_host(making, given)}
            finally:
                with suppress(AnsibleError, _Refused):
                    self._drop()

    def _copy_host(self, making: Making, given: dict[str, Any]) -> int:
        self._part = ""
        self._uid = self._login()
        if given["final"] and given["clusters"]:
            self._ask(step="stop", clusters=given["clusters"])
        files = 0
        for cluster in given["clusters"]:
            part = self._ask(step="store", clusters=[cluster])["part"]
            self._take(making, f"managers/{cluster}.tar.gz", part)
            files += part["files"]
        after, number = "", 0
        left_out: set[str] = set()
        while given["rrd_directory"] and (after or number == 0):
            number += 1
            part = self._ask(step="rrd", rrd_directory=given["rrd_directory"], after=after)["part"]
            self._take(making, f"rrd/{given['host']}/{number:05d}.tar.gz", part)
            after = part["after"]
            left_out.update(part["left_out"])
            files += part["files"]
        for each in sorted(left_out):
            self._display.warning(f"{given['host']}: {each} is no plain file: not in the backup")
        return files

    def _take(self, making: Making, name: str, part: dict[str, Any]) -> None:
        """Fetch a part and append it; it goes from the host with the next call there."""
        handle, local = tempfile.mkstemp(prefix=f"{making.part.name}.", dir=making.part.parent)
        os.close(handle)
        try:
            self._connection.fetch_file(part["path"], local)
            with Path(local).open("rb") as source:
                making.add(name, source, int(part["size"]))
        finally:
            Path(local).unlink(missing_ok=True)

    def _ask(self, **args: Any) -> dict[str, Any]:
        args = {**args, "uid": self._uid, "drop": self._part}
        answer = dict(
            self._execute_module(module_name=MODULE, module_args=args, task_vars=self._vars)
        )
        if answer.get("failed") or answer.get("unreachable"):
            raise _Refused(answer)
        self._part = str(answer.get("part", {}).get("path", ""))
        return answer

    def _drop(self) -> None:
        if self._part:
            self._ask(step="drop")

    def _login(self) -> int:
        """Who fetches: the user of the connection, not the one that its tasks become."""
        said = self._low_level_execute_command("id -u", sudoable=False)
        text = str(said.get("stdout", "")).strip().splitlines()
        if said.get("rc") != 0 or not text or not text[-1].isdigit():
            raise ArchiveError("it does not tell who is logged in there (id -u)")
        return int(text[-1])

    def _finish(self, given: dict[str, Any]) -> dict[str, Any]:
        making = self._making(given)
        if self._task.check_mode:
            return {"changed": True, "path": str(making.path), "removed": []}
        manifest = Manifest(
            given["grid"],
            Sources.read(APP).version,
            given["time"],
            given["final"],
            given["managers"],
            given["aggregators"],
        )
        with whole_or_nothing(making):
            done = making.finish(manifest)
        removed = prune(making.path, given["grid"], given["keep"])
        return {
            "changed": True,
            "path": str(making.path),
            "size": making.path.stat().st_size,
            "parts": len(done.parts),
            "removed": removed,
        }

    def _making(self, given: dict[str, Any]) -> Making:
        making = Making(Path(given["path"]), os.getppid())
        if not self._task.check_mode and not making.part.exists():
            raise ArchiveError(
                "the archive was given up, as another host above could not be copied"
            )
        return making

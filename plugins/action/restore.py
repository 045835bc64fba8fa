"""Action kcms.cluster.restore: an archive of backup.yml, checked first, then put in its places."""

from __future__ import annotations

import io
import os
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.kcms.cluster.plugins.plugin_utils import backup_ca
from ansible_collections.kcms.cluster.plugins.plugin_utils.backup_archive import (
    ArchiveError,
    Manifest,
    Part,
    extract,
    verify,
)
from ansible_collections.kcms.cluster.plugins.plugin_utils.wheel import Sources

MODULE = "kcms.cluster.restore_part"
APP = Path(__file__).resolve().parents[2] / "app"
GAP = 1000
PENDING = ("", "keep", "fail")
ARGUMENTS: dict[str, Any] = {
    "step": {"type": "str", "choices": ["open", "ca", "put"], "required": True},
    "archive": {"type": "path", "required": True},
    "grid": {"type": "str"},
    "pki_directory": {"type": "path"},
    "replace": {"type": "bool", "default": False},
    "pending": {"type": "str", "default": ""},
    "plan": {"type": "dict", "default": {}},
    "rrd_directory": {"type": "str", "default": ""},
}


class _Refused(Exception):
    """The module on the host failed; ``result`` is what it returned."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(str(result.get("msg")))
        self.result = result


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """``open`` and ``ca`` contact no host."""

    TRANSFERS_FILES = True
    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(ARGUMENTS)
        self._vars = task_vars
        steps = {"open": self._open, "ca": self._ca, "put": self._put}
        archive = Path(given["archive"]).expanduser().absolute()
        try:
            return result | steps[given["step"]](archive, given)
        except ArchiveError as error:
            return result | {"failed": True, "msg": str(error)}
        except OSError as error:
            said = f"cannot use {error.filename}: {error.strerror}"
            return result | {"failed": True, "msg": said}
        except _Refused as error:
            return result | error.result

    def _open(self, archive: Path, given: dict[str, Any]) -> dict[str, Any]:
        """Read all of it; what is to be done follows from it.  Nothing is touched."""
        manifest = verify(archive)
        check_fits(manifest, given["grid"], Sources.read(APP).version)
        if given["pending"] not in PENDING:
            raise ArchiveError(
                f"kcms_restore_pending is {given['pending']!r}: it must be keep or fail"
            )
        ca_part = next((part for part in manifest.parts if part.name == "ca.tar"), None)
        if ca_part is None:
            raise ArchiveError(f"{archive} has no CA")
        if ca_part.size > backup_ca.MOST:
            raise ArchiveError(f"the CA in {archive} is too large for one: {ca_part.size} bytes")
        ca = backup_ca.state(_directory(given), _ca_of(archive, ca_part))
        if ca == "other" and not given["replace"]:
            raise ArchiveError(
                f"another CA than the backup's is in {_directory(given)}: "
                "-e kcms_restore_replace=true keeps it aside"
            )
        keep = given["pending"] == "keep" or (manifest.final and not given["pending"])
        return {
            "changed": False,
            "stamp": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "made": manifest.utc,
            "taken": manifest.time,
            "keep": keep,
            "gap": gap(manifest, keep),
            "ca": ca,
            "ca_part": vars(ca_part),
            "hosts": targets(manifest, self._vars["kcms_site"]),
        }

    def _ca(self, archive: Path, given: dict[str, Any]) -> dict[str, Any]:
        files = _ca_of(archive, Part(**given["plan"]["ca_part"]))
        if backup_ca.state(_directory(given), files) == "same":
            return {"changed": False, "aside": ""}
        aside = ""
        if not self._task.check_mode:
            aside = backup_ca.put(_directory(given), files, f"before-{given['plan']['stamp']}")
        return {"changed": True, "aside": aside}

    def _put(self, archive: Path, given: dict[str, Any]) -> dict[str, Any]:
        """Bring the host its parts; nothing half-done stays but what the last step had begun."""
        self._plan = given["plan"]
        here = self._plan["hosts"][self._vars["inventory_hostname"]]
        self._rrd = given["rrd_directory"] if here["rrd"] else ""
        self._replace = given["replace"]
        if self._task.check_mode:
            return {"changed": True, "settled": {}}
        try:
            for cluster, part in here["stores"].items():
                self._bring(archive, Part(**part), clusters=[cluster])
            for part in here["rrd"]:
                self._bring(archive, Part(**part), rrd_directory=self._rrd)
            return self._ask(
                step="place",
                clusters=list(here["stores"]),
                rrd_directory=self._rrd,
                taken=self._plan["taken"],
                keep=self._plan["keep"],
                gap=self._plan["gap"],
            )
        except BaseException:
            with suppress(AnsibleError, _Refused):
                self._ask(step="drop", rrd_directory=self._rrd)
            raise
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir, force=True)

    def _bring(self, archive: Path, part: Part, **args: Any) -> None:
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "part")
        handle, local = tempfile.mkstemp(prefix="kcms-restore-")
        try:
            with os.fdopen(handle, "wb") as target:
                extract(archive, part, target)
            self._transfer_file(local, remote)
        finally:
            Path(local).unlink()
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        self._ask(step="unpack", part=str(remote), **args)

    def _ask(self, **args: Any) -> dict[str, Any]:
        args = {**args, "stamp": self._plan["stamp"], "replace": self._replace}
        answer = dict(
            self._execute_module(module_name=MODULE, module_args=args, task_vars=self._vars)
        )
        if answer.get("failed") or answer.get("unreachable"):
            raise _Refused(answer)
        return answer


def _directory(given: Mapping[str, Any]) -> Path:
    return Path(given["pki_directory"]).expanduser().absolute()


def _ca_of(archive: Path, part: Part) -> dict[str, bytes]:
    packed = io.BytesIO()
    extract(archive, part, packed)
    return backup_ca.unpack(packed.getvalue())


def gap(manifest: Manifest, keep: bool) -> int:
    """Job numbers to leave out: none where nothing went on, as the managers had been stopped."""
    return 0 if manifest.final and keep else GAP


def check_fits(manifest: Manifest, grid: str, release: str) -> None:
    """:raises ArchiveError: it is another grid's, or a newer release's"""
    if manifest.grid != grid:
        raise ArchiveError(
            f"the archive is of grid {manifest.grid!r}, and kcms_grid is {grid!r}: use that grid's"
        )
    if numbers(manifest.release) > numbers(release):
        raise ArchiveError(
            f"the archive is of release {manifest.release}, newer than this one, {release}: "
            "restore with that release or a newer one"
        )


def numbers(release: str) -> tuple[int, ...]:
    """``0.1.0+3f2a…`` as (0, 1, 0): what follows tells contents apart, not which is newer."""
    return tuple(int(each) for each in re.findall(r"\d+", release.partition("+")[0]))


def targets(manifest: Manifest, site: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Host to its parts: stores go where the inventory has the manager, files to the aggregator.

    :raises ArchiveError: the inventory has no place for something
    """
    hosts: dict[str, dict[str, Any]] = {}

    def place(host: str) -> dict[str, Any]:
        return hosts.setdefault(host, {"stores": {}, "rrd": []})

    for part in manifest.of("managers"):
        cluster = part.name.split("/", 1)[1].removesuffix(".tar.gz")
        if cluster not in site["clusters"]:
            raise ArchiveError(f"the archive has cluster {cluster}, and the inventory has not")
        place(site["clusters"][cluster]["manager"])["stores"][cluster] = vars(part)
    only = len(manifest.aggregators) == 1 == len(site["aggregators"])
    for part in manifest.of("rrd"):
        host = site["aggregators"][0] if only else part.name.split("/")[1]
        if host not in site["aggregators"]:
            raise ArchiveError(f"the archive has files of aggregator {host}, the inventory has not")
        place(host)["rrd"].append(vars(part))
    return hosts

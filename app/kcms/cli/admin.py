"""``kcms admin``: what root looks after where managers are."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from kcms.cli import complain, tables
from kcms.cli.options import Parser, name
from kcms.cli.store import STATE
from kcms.errors import ConfigError
from kcms.manager import backup

CANNOT = 2
SHOWN = 100
"""Findings that are printed; a lost disk may make one of every job."""


def admin(words: list[str]) -> int:
    action = words[0] if words else ""
    if action != "check":
        parser = Parser("admin", "Look after the managers of this host.")
        parser.add_argument("action", metavar="check", choices=["check"])
        parser.parse_args(words[:1])
    return _check(words[1:])


def _check(words: list[str]) -> int:
    parser = Parser(
        "admin check",
        "Check the job stores of this host, be their managers running or not; nothing is changed. "
        "Status 0: all is well, 1: something is wrong, 2: it cannot be told.",
    )
    parser.add_argument("--cluster", metavar="NAME", type=name, help="only this cluster's")
    parser.add_argument(
        "--from",
        dest="state",
        metavar="DIRECTORY",
        help=f"where the store of --cluster is, {STATE.format('CLUSTER')} by default",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    if options.state is not None and options.cluster is None:
        parser.error("--from takes --cluster: whose store is it?")
    stores = {options.cluster: options.state} if options.cluster else _here()
    found = [_checked(each, state or STATE.format(each)) for each, state in stores.items()]
    if options.json:
        print(json.dumps({"stores": found}, indent=2))
    else:
        for each in found:
            _say(each)
    if any("trouble" in each for each in found):
        return CANNOT
    return 1 if any(each["findings"] for each in found) else 0


def _here() -> dict[str, str | None]:
    """The clusters whose stores are on this host.  :raises ConfigError: there are none"""
    before, after = STATE.rsplit("/", 1)
    prefix = after.format("")
    try:
        names = sorted(each.name.removeprefix(prefix) for each in Path(before).glob(f"{prefix}*"))
    except OSError as error:
        raise ConfigError(f"cannot look into {before}: {error.strerror}") from error
    if not names:
        complain(f"there is no job store on this host: none is {before}/{prefix}CLUSTER")
    return dict.fromkeys(names)


def _checked(cluster: str, state: str) -> dict[str, Any]:
    """What :func:`kcms.manager.audit.audit` finds with the rights of the store's owner alone."""
    from kcms.manager.audit import audit

    with tempfile.TemporaryFile() as file:

        def work() -> None:
            file.write(json.dumps(audit(state, cluster)).encode())
            file.flush()

        try:
            backup.as_owner(backup.owner_of(state), work)
        except ConfigError as error:
            return {"cluster": cluster, "store": state, "trouble": str(error)}
        file.seek(0)
        return dict(json.load(file))


def _say(found: dict[str, Any]) -> None:
    if "trouble" in found:
        complain(f"{found['cluster']} cannot be checked: {found['trouble']}")
        return
    findings = found["findings"]
    for each in findings[:SHOWN]:
        told = f"{found['cluster']}: {each['about']}: {each['message']}; {each['todo']}"
        print(tables.printable(told))
    if len(findings) > SHOWN:
        print(f"{found['cluster']}: {len(findings) - SHOWN} findings more; --json has them all")
    print(f"{found['cluster']}: {_summary(found)}")


def _summary(found: dict[str, Any]) -> str:
    wrong = f"{len(found['findings'])} findings" if found["findings"] else "all is well"
    if "jobs" not in found:
        return wrong
    sizes = ", ".join(
        f"{tables.size(found[key])} {word}"
        for key, word in (("bytes", "of store"), ("wal_bytes", "of log"), ("free_bytes", "free"))
    )
    told = (
        f"{found['jobs']} jobs, {found['open']} of them open, the last number {found['last_job']}"
    )
    if found["left_out"]:
        told += f" ({found['left_out']} left out)"
    if found["unsure"]:
        told += f", {found['unsure']} tasks unsure since a restore"
    return f"{wrong}: schema {found['schema']}, {told}; {sizes}"

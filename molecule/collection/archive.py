"""A control node without the checkout: the collection's archive is all it has.

archive.py roll-out    build it, install it into a directory of its own, roll out from there
archive.py prove       use the grid from there; then the checkout has nothing to change

The programs get no configuration, no home and nothing of the environment but where programs are,
and work in the root directory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PLACE = Path("/var/tmp/kcms-molecule-collection")  # noqa: S108 - of root, as the labs are
LAB = os.environ.get("LAB", "mole")
INVENTORY = f"/var/lib/kcms-lab/{LAB}/inventory/hosts.yml"
PROGRAM = "/shared/home/alice/true"
ALONE = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "HOME": str(PLACE / "home"),
    "ANSIBLE_CONFIG": str(PLACE / "empty.cfg"),
    "ANSIBLE_COLLECTIONS_PATH": str(PLACE / "collections"),
    "ANSIBLE_NOCOLOR": "1",
}


def run(*command: str, environment: dict[str, str] | None = None, where: str = "/") -> str:
    """What a program prints; the end of this one when it fails."""
    done = subprocess.run(
        command,
        env=environment or ALONE,
        cwd=where,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def roll_out() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(mode=0o700)
    for name in ("archive", "home"):
        (PLACE / name).mkdir()
    (PLACE / "empty.cfg").touch()
    archive = run(str(PROJECT / "tools/archive"), str(PLACE / "archive")).splitlines()[-1]
    where = str(PLACE / "collections")
    run("ansible-galaxy", "collection", "install", "--offline", "-p", where, archive)
    print(run("ansible-playbook", "-i", INVENTORY, "kcms.cluster.site"))


def prove() -> None:
    listed = json.loads(run("ansible-galaxy", "collection", "list", "--format", "json"))
    places = [place for place, found in listed.items() if "kcms.cluster" in found]
    assert places == [str(PLACE / "collections/ansible_collections")], places
    proved = run("ansible-playbook", "-i", INVENTORY, "kcms.cluster.verify")
    assert "its output is right" in proved, proved
    copy = f"runuser -u alice -- cp /bin/true {PROGRAM}"
    run("ansible", "-i", INVENTORY, "alpha1", "-m", "ansible.builtin.command", "-a", copy)
    submitted = adhoc("alpha1", "job_submit", executable=PROGRAM, output="/dev/null", wait=True)
    assert '"state": "COMPLETED"' in submitted, submitted
    assert '"COMPLETED"' in adhoc("head", "job_info", limit=1)
    assert "job_submit" in run("ansible-doc", "-t", "module", "kcms.cluster.job_submit")
    run("ansible-playbook", "-i", INVENTORY, "kcms.cluster.upgrade", "--check")
    same_from_the_checkout()
    shutil.rmtree(PLACE)


def adhoc(host: str, module: str, **options: object) -> str:
    arguments = json.dumps({**options, "user": "alice"})
    name = f"kcms.cluster.{module}"
    return run("ansible", "-i", INVENTORY, host, "-m", name, "-a", arguments)


def same_from_the_checkout() -> None:
    """The archive brings byte for byte what the checkout does."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
    environment["ANSIBLE_NOCOLOR"] = "1"
    again = run(
        *("ansible-playbook", "-i", INVENTORY, "playbooks/site.yml"),
        environment=environment,
        where=str(PROJECT),
    )
    counts = re.findall(r"changed=(\d+)", again)
    assert len(counts) >= 3, again
    assert set(counts) == {"0"}, again


if __name__ == "__main__":
    {"roll-out": roll_out, "prove": prove}[sys.argv[1]]()

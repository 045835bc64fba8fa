"""What the user's program is given: file names, environment, account."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace

import pytest

from kcms.errors import Forbidden
from kcms.jobs.model import WantedTask
from kcms.node import account, program

WANTED = {"job": 12, "task": 3, "user": "alice", "uid": 2001, "gid": 2001}


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("/home/a/out", "/home/a/out"),
        ("/h/%j-%j.out", "/h/12-12.out"),
        ("/h/%u.%t.%J", "/h/alice.3.%J"),
        ("/h/100%%-%j", "/h/100%%-12"),
        ("/h/%%j", "/h/%12"),
        ("/h/%x%", "/h/%x%"),
    ],
)
def test_file_names(path, expanded):
    assert program.expand(path, 12, 3, "alice") == expanded


def test_files_have_job_task_and_user_in_their_names(monkeypatch):
    opened = []
    for name in ("for_reading", "for_writing"):
        monkeypatch.setattr(program.files, name, lambda path: opened.append(path) or 100)
    monkeypatch.setattr(program, "_redirect", lambda *_: None)
    files = {"input": "/in/%j", "output": "o%j%u", "error": "/e/%j%t"}
    program._open_files({**WANTED, "spec": files}, 5, "/home/alice")
    assert opened == ["/in/12", "/home/alice/o12alice", "/e/125"]


def test_environment_is_a_logins_plus_the_jobs_and_ours_win():
    spec = {"environment": {"OMP_NUM_THREADS": "2", "PATH": "/opt/x", "KCMS_JOB_ID": "forged"}}
    plan = {
        "wanted": {**WANTED, "spec": spec},
        "account": {"home": "/home/alice", "shell": "/bin/zsh", "groups": []},
        "cluster": "alpha",
        "node": "alpha1",
    }
    assert program.environment(plan, 3) == {
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "SHELL": "/bin/zsh",
        "PATH": "/opt/x",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "2",
        "KCMS_JOB_ID": "12",
        "KCMS_TASK_INDEX": "3",
        "KCMS_TASK_COUNT": "1",
        "KCMS_CPUS_PER_TASK": "1",
        "KCMS_RESTART_COUNT": "0",
        "KCMS_CLUSTER": "alpha",
        "KCMS_NODE": "alpha1",
    }


ME = pwd.getpwuid(os.getuid())
MINE = WantedTask(1, 0, 1, "run", ME.pw_name, ME.pw_uid, ME.pw_gid, {})


def test_same_person_is_let_in():
    found = account.resolve(MINE, "alpha1")
    assert found.home == ME.pw_dir
    assert ME.pw_gid in found.groups


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (replace(MINE, user="no-such-user"), "user no-such-user is unknown on alpha1"),
        (replace(MINE, uid=ME.pw_uid + 7), f"uid {ME.pw_uid} on alpha1 but {ME.pw_uid + 7} where"),
        (replace(MINE, gid=ME.pw_gid + 7), f"gid {ME.pw_gid} on alpha1 but {ME.pw_gid + 7} where"),
        (replace(MINE, uid=65534), "has no id of its own"),
        (replace(MINE, user="", uid=0), "is unknown"),
    ],
)
def test_anybody_else_is_refused(wanted, line):
    with pytest.raises(Forbidden, match=line):
        account.resolve(wanted, "alpha1")


def test_another_name_of_root_is_refused(monkeypatch):
    toor = pwd.struct_passwd(("toor", "x", 0, 0, "", "/root", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: toor)
    with pytest.raises(Forbidden, match="another name of root"):
        account.resolve(replace(MINE, user="toor", uid=0, gid=0), "alpha1")


@pytest.mark.parametrize("content", ["/nope\0y", "/nope\x1b[1m", "/n\u202e", "/" + "\u00e4" * 120])
def test_what_a_file_has_is_one_printable_line_of_a_message(tmp_path, content):
    script = tmp_path / "job"
    script.write_text(f"#!{content}\necho hi\n")
    script.chmod(0o755)
    hint = program._hint(str(script))
    assert hint.isprintable()
    assert hint.startswith(" (is /")
    assert hint.endswith(" installed on this node?)")
    assert len(hint) <= 200
    script.write_text("#!" + "/x" * 500)
    assert len(program._hint(str(script))) <= 200

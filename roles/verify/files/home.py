"""Runs as the user whose jobs are tried: prepare and remove what they need in the home.

home.py prepare [SHARED ...]  make a directory with the program; prints what a job needs, as JSON
home.py remove DIRECTORY      remove it again

A home that is on none of the SHARED directories gets a staged program, which nodes bring from here.
"""

import hashlib
import json
import os
import pwd
import shutil
import sys
import tempfile

PREFIX = ".kcms-verify-"
PROGRAM = """#!/bin/sh
# What `say` prints tells whose job it was; `stay` is hard to kill, with a child in another session.
case $1 in
  say) echo "$(id -un) $2" ;;
  stay) trap '' TERM; setsid sleep 600 & sleep 600 & wait; wait ;;
esac
"""
DIGEST = hashlib.sha256(PROGRAM.encode()).hexdigest()

home = pwd.getpwuid(os.getuid()).pw_dir
stage = os.path.join(home, ".kcms", "stage", DIGEST[:32])


def prepare(shared):
    real = os.path.realpath(home) + "/"
    if any(real.startswith(os.path.realpath(each).rstrip("/") + "/") for each in shared):
        directory, staged = tempfile.mkdtemp(prefix=PREFIX, dir=home), {}
        output = os.path.join(directory, "%j.out")
    else:
        os.umask(0o077)
        os.makedirs(stage, exist_ok=True)
        directory, staged = stage, {"executable": f"{DIGEST}:{len(PROGRAM)}"}
        output = os.path.join(directory, "said")  # one file on each node, written over each time
    program = os.path.join(directory, "job.sh")
    with open(program, "w", encoding="utf-8") as target:
        target.write(PROGRAM)
    os.chmod(program, 0o700)
    print(json.dumps({"directory": directory, "staged": staged, "output": output}))


if sys.argv[1] == "prepare":
    prepare(sys.argv[2:])
elif sys.argv[2] == stage or (
    os.path.basename(sys.argv[2]).startswith(PREFIX) and os.path.dirname(sys.argv[2]) == home
):
    shutil.rmtree(sys.argv[2])

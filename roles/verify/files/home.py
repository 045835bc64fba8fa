"""Runs as the user whose jobs are tried: prepare, read and remove what they need in the home.

home.py prepare            make a directory with the program; prints its path
home.py read DIRECTORY ID  print what job ID wrote there
home.py remove DIRECTORY   remove it again
"""

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

home = pwd.getpwuid(os.getuid()).pw_dir
word = sys.argv[1]
if word == "prepare":
    directory = tempfile.mkdtemp(prefix=PREFIX, dir=home)
    program = os.path.join(directory, "job.sh")
    with open(program, "w", encoding="utf-8") as target:
        target.write(PROGRAM)
    os.chmod(program, 0o700)
    print(directory)
elif os.path.basename(sys.argv[2]).startswith(PREFIX) and os.path.dirname(sys.argv[2]) == home:
    if word == "read":
        with open(os.path.join(sys.argv[2], sys.argv[3] + ".out"), encoding="utf-8") as source:
            sys.stdout.write(source.read())
    else:
        shutil.rmtree(sys.argv[2])

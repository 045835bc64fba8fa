"""The program of a task's PID 1: ``python3 -I -S -E begin.py DIRECTORY BOOT_ID``, see init.py.

So short because Python compiles the file of a program each time it is run, and keeps what it made
of a module.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH120

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

from kcms.node import init

os._exit(init.main(sys.argv[1], sys.argv[2]))  # an orderly end of Python would take some ms

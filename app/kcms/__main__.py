"""``python3 -m kcms`` is the command ``kcms``."""

import sys

from kcms.cli import main

sys.exit(main())

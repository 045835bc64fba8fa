"""docs/variables.md says what the roles' specifications say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "variables")],
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs" / "variables.md").read_text(encoding="utf-8")
    assert page == made.stdout, "run: .venv/bin/python tools/variables > docs/variables.md"

"""docs/configuration.md says what app/kcms/config.py says."""

from __future__ import annotations

from pathlib import Path

from kcms.cli.document import document

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run: PYTHONPATH=app python3 -m kcms config document > docs/configuration.md"
    )


def test_kinds_and_defaults() -> None:
    lines = document().splitlines()
    assert "| `clusters` | list of tables (below) | required | " in "\n".join(lines)
    assert any(line.startswith("| `host` | text | required |") for line in lines)
    assert any(line.startswith("| `xml_timeout` | number | `10.0` |") for line in lines)
    assert any(line.startswith("| `names` | table of text | `{}` |") for line in lines)

"""The grid of the end-to-end tests, for a longer and rougher run."""

from __future__ import annotations

from tests.e2e.conftest import grid, quiet

__all__ = ["grid", "quiet"]

"""The desk's own fixture: a desk over a small live state."""

from __future__ import annotations

from tests.desk.conftest import desk

__all__ = ["desk"]

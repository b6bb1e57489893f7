"""The worlds of the pipeline's tests serve here too."""

from __future__ import annotations

from tests.pipelines.conftest import shop_on_sqlite, sqlite_world

__all__ = ["shop_on_sqlite", "sqlite_world"]

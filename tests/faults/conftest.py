"""The worlds of the pipeline's tests serve here too."""

from __future__ import annotations

from tests.pipelines.conftest import postgres_world, shop_on_sqlite, sqlite_world

__all__ = ["postgres_world", "shop_on_sqlite", "sqlite_world"]

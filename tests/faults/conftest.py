"""The worlds of the pipeline's tests serve here too."""

from __future__ import annotations

from tests.pipelines.conftest import sqlite_world

__all__ = ["sqlite_world"]

from __future__ import annotations

import pytest
from sqlalchemy.engine import Engine

from tests.oms_ops.shop import Shop


@pytest.fixture
def shop(database: Engine) -> Shop:
    """Return a small shop, once on SQLite and once on PostgreSQL."""
    return Shop(database)

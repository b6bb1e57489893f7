from __future__ import annotations

from collections.abc import Iterator

import pytest

from oms_ops.reconcile import reconcile
from tests.oms_ops.care.desk import Desk
from tests.oms_ops.shop import Shop


@pytest.fixture
def desk(shop: Shop) -> Iterator[Desk]:
    """Return the help desk of a shop; its ledgers agree afterwards."""
    yield Desk(shop)
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []

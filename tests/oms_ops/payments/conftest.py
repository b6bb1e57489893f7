from __future__ import annotations

from collections.abc import Iterator

import pytest

from oms_ops.payments.gateways.registry import gateway
from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import Shop


@pytest.fixture
def till(shop: Shop) -> Iterator[Till]:
    """Return a shop whose cards go through the fake gateway; its ledgers agree afterwards."""
    yield Till(shop)
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []
    gateway.cache_clear()

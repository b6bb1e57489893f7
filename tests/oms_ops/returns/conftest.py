from __future__ import annotations

from collections.abc import Iterator

import pytest

from oms_ops.reconcile import reconcile
from tests.oms_ops.payments.conftest import _play_money as _play_money
from tests.oms_ops.payments.conftest import till as till
from tests.oms_ops.returns.desk import Desk
from tests.oms_ops.shop import Shop


@pytest.fixture
def desk(shop: Shop) -> Iterator[Desk]:
    """Return a shop's returns desk; its ledgers agree afterwards."""
    yield Desk(shop)
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []

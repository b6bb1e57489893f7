"""Every table of the operational database, in one metadata."""

from __future__ import annotations

from oms_ops.access import tables as _access
from oms_ops.care import tables as _care
from oms_ops.catalog import tables as _catalog
from oms_ops.customers import tables as _customers
from oms_ops.database import Base
from oms_ops.exchange import tables as _exchange
from oms_ops.feed import tables as _feed
from oms_ops.fulfilment import tables as _fulfilment
from oms_ops.notifications import tables as _notifications
from oms_ops.orders import tables as _orders
from oms_ops.payments import tables as _payments
from oms_ops.purchasing import tables as _purchasing
from oms_ops.returns import tables as _returns
from oms_ops.rules import tables as _rules
from oms_ops.stock import tables as _stock

#: Importing the rooms' tables registers them here.
ROOMS = (
    _access, _care, _catalog, _customers, _exchange, _feed, _fulfilment, _notifications,
    _orders, _payments, _purchasing, _returns, _rules, _stock,
)  # fmt: skip
metadata = Base.metadata

"""The hold rules: which orders wait for a person to look at them."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy.engine import Connection

from oms_ops.database import execute
from oms_ops.money import EXPONENTS, to_minor
from oms_ops.orders.intake import OrderIn
from oms_ops.rules.document import HoldRule, Rules, place_names


def reason(
    connection: Connection,
    rules: Rules,
    order: OrderIn,
    total: int,
    customer_id: int | None,
    *,
    unpaid: int | None = None,
) -> str | None:
    """Return the codes of the rules that hold an order of ``total`` minor units, None for none.

    ``unpaid`` is the number of the customer's unpaid orders where it is known already.
    """
    fitting = [rule for rule in rules.holds if _concerns(rule, order)]
    if not fitting:
        return None
    rate = rules.rate_of(order.currency) or Decimal(1)
    scale = Decimal(10) ** (EXPONENTS[rules.base_currency] - EXPONENTS[order.currency])
    worth = total * rate * scale
    if unpaid is None:
        asks_history = customer_id is not None and any(rule.unpaid_orders for rule in fitting)
        unpaid = _unpaid_orders(connection, customer_id) if asks_history else 0
    codes = [
        rule.code
        for rule in fitting
        if (rule.total_above is None or worth >= to_minor(rule.total_above, rules.base_currency))
        and (rule.unpaid_orders is None or unpaid >= rule.unpaid_orders)
    ]
    return f"rule: {', '.join(codes)}" if codes else None


def _concerns(rule: HoldRule, order: OrderIn) -> bool:
    places = place_names(order.ship_to.country, order.ship_to.region)
    return (not rule.channels or order.channel in rule.channels) and (
        not rule.places or any(place in rule.places for place in places)
    )


#: Counts the shipped orders of a customer ``{customer}`` whose captured payments do not cover
#: what is owed.
UNPAID_SQL = (
    "SELECT count(*) FROM orders AS o WHERE o.customer_id = {customer}"
    " AND EXISTS (SELECT 1 FROM shipments AS s"
    "  WHERE s.order_id = o.id AND s.shipped_at IS NOT NULL)"
    " AND o.total_minor - o.cancelled_minor > coalesce((SELECT sum(p.captured_minor)"
    "  FROM payments AS p WHERE p.order_id = o.id), 0)"
)


def asks_history(rules: Rules) -> bool:
    """Tell whether any rule looks at what a customer left unpaid."""
    return any(rule.unpaid_orders for rule in rules.holds)


def _unpaid_orders(connection: Connection, customer_id: int | None) -> int:
    row = execute(
        connection, UNPAID_SQL.format(customer=":customer_id"), {"customer_id": customer_id}
    ).fetchone()
    return int(row[0])

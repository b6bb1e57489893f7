"""What a line still costs when units of it are cancelled: one rule, in Python and in SQL.

The gross price of the units that are kept is exact. Of the line's discount, rounding and tax they
keep their share, rounded down to the minor unit; a line that is cancelled whole keeps nothing. What
is cancelled is the rest, so kept and cancelled amounts always sum to the line's.
"""

from __future__ import annotations

from collections.abc import Mapping

#: SQL for what came back of an order ``o`` before it was paid.
_FORGIVEN = (
    "coalesce((SELECT CAST(sum(x.forgiven_minor) AS bigint) FROM returns AS x"
    " WHERE x.order_id = o.id), 0)"
)


def kept(amount: int, quantity: int, units: int) -> int:
    """Return the part of a line's ``amount`` (minor units) that ``units`` of ``quantity`` keep."""
    return amount * units // quantity


def kept_sql(amount: str, quantity: str, units: str) -> str:
    """Return :func:`kept` as SQL; its division would round a negative amount towards zero."""
    product = f"{amount} * ({units})"
    return f"(({product} - (({product}) % {quantity} + {quantity}) % {quantity}) / {quantity})"


def owed(line: Mapping[str, int], units: int, *, tax_included: bool) -> int:
    """Return what is owed for ``units`` of a line, in minor units, tax and all.

    ``line`` has the amounts of ``order_lines``.
    """
    quantity = line["quantity"]
    shares = (
        line["unit_price_minor"] * units
        - kept(line["discount_minor"], quantity, units)
        + kept(line["rounding_minor"], quantity, units)
    )
    return shares + (0 if tax_included else kept(line["tax_minor"], quantity, units))


def owed_sql(line: str, units: str, tax_included: str) -> str:
    """Return :func:`owed` as SQL over the columns of ``line``."""
    quantity = f"{line}.quantity"
    discount = kept_sql(f"{line}.discount_minor", quantity, units)
    rounding = kept_sql(f"{line}.rounding_minor", quantity, units)
    tax = kept_sql(f"{line}.tax_minor", quantity, units)
    return (
        f"({line}.unit_price_minor * ({units}) - {discount} + {rounding}"
        f" + CASE WHEN {tax_included} THEN 0 ELSE {tax} END)"
    )


def cancelled_sql(line: str, cancelled: str, tax_included: str) -> str:
    """Return SQL for what ``cancelled`` units take off what is owed for a line."""
    everything = f"({line}.net_minor + CASE WHEN {tax_included} THEN 0 ELSE {line}.tax_minor END)"
    return f"({everything} - {owed_sql(line, f'{line}.quantity - ({cancelled})', tax_included)})"


def went_back_sql(chosen: str) -> str:
    """Return SQL for what was refunded of an order ``o`` beyond what its lines still cost.

    Units were cancelled that had been refunded before: what is too much of that went back already.
    ``chosen`` holds for the ids of all orders that are asked for (``IN (...)``).
    """
    still = owed_sql("l", "l.quantity - l.cancelled", "o.tax_included")
    return (
        "coalesce((SELECT CAST(sum("
        f"CASE WHEN i.amount > {still} THEN i.amount - {still} ELSE 0 END) AS bigint)"
        " FROM order_lines AS l JOIN (SELECT x.order_line_id,"
        "  CAST(sum(x.amount_minor) AS bigint) AS amount FROM refund_items AS x"
        "  JOIN refunds AS r ON r.id = x.refund_id AND r.status <> 'failed'"
        f"  WHERE r.order_id {chosen} AND x.kind = 'line'"
        "  GROUP BY x.order_line_id) AS i ON i.order_line_id = l.id"
        " WHERE l.order_id = o.id), 0)"
    )


def owed_by_order_sql(chosen: str) -> str:
    """Return SQL for what an order ``o`` costs now: without what came back unpaid.

    What went back of lines before their units were cancelled is not to go back again. ``chosen``
    holds for the ids of all orders that are asked for.
    """
    return f"(o.total_minor - o.cancelled_minor + {went_back_sql(chosen)} - {_FORGIVEN})"


def earned_sql(chosen: str) -> str:
    """Return a query of ``id`` and ``earned`` of the ``chosen`` orders of which something has left.

    That is what has left is worth, tax and all. What the order costs beyond its lines (shipping,
    its rounding) is earned with the first parcel, so that the last one brings it to exactly what is
    owed.
    """
    shipped = f"CAST(sum({owed_sql('l', 'l.shipped', 'o.tax_included')}) AS bigint)"
    lines = f"CAST(sum({owed_sql('l', 'l.quantity', 'o.tax_included')}) AS bigint)"
    return (
        f"SELECT o.id, {shipped} + o.total_minor - {lines} - {_FORGIVEN} AS earned"
        " FROM orders AS o JOIN order_lines AS l ON l.order_id = o.id"
        f" WHERE o.id {chosen} AND o.status <> 'cancelled'"
        " GROUP BY o.id, o.total_minor, o.tax_included HAVING sum(l.shipped) > 0"
    )

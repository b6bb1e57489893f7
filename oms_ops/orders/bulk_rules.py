"""What a bulk capture refuses by what the database knows: the catalogue, earlier orders, stock."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.errors import FieldError
from oms_ops.orders.bulk_shape import Fault
from oms_ops.orders.routing import available_words

#: The channels of a SKU as rows of ``value``.
_CHANNELS = {
    "sqlite": "SELECT value FROM json_each(k.channels)",
    "postgresql": "SELECT value FROM json_array_elements_text(k.channels) AS c(value)",
}

#: field, code, message and the query that finds the refs (and line numbers) it is true of.
_RULES: tuple[tuple[str, str, str, str], ...] = (
    ("warehouse", "unknown_warehouse", "there is no such active warehouse",
     "SELECT ref, NULL FROM bulk_orders WHERE warehouse_id IS NULL AND (warehouse IS NOT NULL"
     " OR NOT EXISTS (SELECT 1 FROM warehouses WHERE is_active))"),
    ("external_id", "duplicate", "this order is already captured",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN orders AS o"
     " ON o.channel = b.channel AND o.external_id = b.external_id"),
    ("external_id", "duplicate", "this order is in the batch before",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN (SELECT channel, external_id,"
     " min(ref) AS first_ref FROM bulk_orders GROUP BY channel, external_id"
     " HAVING count(*) > 1) AS f ON f.channel = b.channel AND f.external_id = b.external_id"
     " WHERE b.ref > f.first_ref"),
    ("sku", "unknown_sku", "there is no such SKU",
     "SELECT ref, line_no FROM bulk_lines WHERE sku_id IS NULL AND sku IS NOT NULL"),
    ("sku", "inactive_sku", "this SKU is not sold any more",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE NOT k.is_active"),
    ("sku", "not_in_channel", "this SKU is not sold in that channel",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN bulk_orders AS b ON b.ref = l.ref"
     " JOIN skus AS k ON k.id = l.sku_id AND k.channels IS NOT NULL"
     " WHERE b.channel NOT IN ({channels})"),
    ("quantity", "below_minimum", "less than the SKU's minimum quantity",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " WHERE l.quantity >= 1 AND l.quantity < k.min_quantity"),
    ("quantity", "not_a_multiple", "no multiple of the SKU's quantity multiple",
     "SELECT l.ref, l.line_no FROM bulk_lines AS l JOIN skus AS k ON k.id = l.sku_id"
     " AND k.quantity_multiple > 1 WHERE l.quantity % k.quantity_multiple <> 0"),
    ("quantity", "above_maximum", "more than the SKU's maximum quantity in one order",
     "SELECT ref, line_no FROM (SELECT l.ref, l.line_no, k.max_quantity, sum(l.quantity) OVER ("
     "PARTITION BY l.ref, l.sku_id ORDER BY l.line_no) AS ordered FROM bulk_lines AS l"
     " JOIN skus AS k ON k.id = l.sku_id AND k.max_quantity IS NOT NULL"
     " WHERE l.quantity BETWEEN 1 AND 1000000) AS o"
     " WHERE ordered > max_quantity"),
)  # fmt: skip

#: What is asked of the orders that nothing else is wrong with: which of two of them is the other's.
_CUSTOMER_RULES: tuple[tuple[str, str, str, str], ...] = (
    ("customer_external_id", "of_another_customer", "belongs to a customer with another e-mail",
     "SELECT b.ref, NULL FROM bulk_orders AS b JOIN customers AS c"
     " ON c.external_id = b.customer_external_id WHERE c.email <> b.email"),
    ("customer_external_id", "of_another_customer", "an order before has it with another e-mail",
     "SELECT ref, NULL FROM (SELECT ref, email, first_value(email) OVER ("
     "PARTITION BY customer_external_id ORDER BY placed_at, ref) AS first_email FROM bulk_orders"
     " WHERE customer_external_id IS NOT NULL) AS b WHERE email <> first_email"),
)  # fmt: skip


def database_faults(connection: Connection) -> list[Fault]:
    """Ask of the staged batch what the catalogue, the warehouses and earlier orders object to."""
    return _found(connection, _RULES)


def customer_faults(connection: Connection) -> list[Fault]:
    """Ask of the orders that are left whether two customers say to be the same."""
    return _found(connection, _CUSTOMER_RULES)


def _found(connection: Connection, rules: tuple[tuple[str, str, str, str], ...]) -> list[Fault]:
    channels = _CHANNELS[connection.dialect.name]
    faults: list[Fault] = []
    for name, code, message, query in rules:
        found = connection.execute(sa.text(query.replace("{channels}", channels)))
        for row in found:
            where = name if row[1] is None else f"lines[{row[1] - 1}].{name}"
            faults.append((row[0], FieldError(where, code, message)))
    return faults


def short_faults(rows: list[Any]) -> list[Fault]:
    """Name the lines that are short in orders that may not wait."""
    return [
        (
            ref,
            FieldError(
                f"lines[{line_no - 1}].quantity",
                "out_of_stock",
                available_words(take, quantity, reserve),
            ),
        )
        for ref, line_no, take, quantity, reserve in rows
    ]

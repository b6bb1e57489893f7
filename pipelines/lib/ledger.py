"""What the operational tables sum to at exactly the place in the feed that has landed.

SQLite: the read transaction that landed the last batch sees nothing newer than it, so plain sums
are sums at the cursor.

PostgreSQL: a snapshot also shows transactions that committed behind one still in flight; the feed
holds those back, so plain sums could run ahead of the lake. For the few rows that such changes
touch, each table is therefore shadowed by itself with those rows set back to their last landed
state, which the change log knows. The sums are then exact under any load, and nobody is locked out.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.engine import Connection

from oms_ops.feed.reader import Cursor, after_sql

#: FROM clause -> total -> aggregate, in minor units or units; one scan serves a whole clause.
TOTALS = {
    "orders AS o": {
        "orders": "count(*)",
        "order_totals": "sum(o.total_minor)",
        "shipping": "sum(o.shipping_minor)",
        "tax": "sum(o.tax_minor)",
    },
    "order_lines AS l": {
        "order_lines": "count(*)",
        "units_ordered": "sum(l.quantity)",
        "units_shipped": "sum(l.shipped)",
        "units_allocated": "sum(l.allocated)",
        "units_backordered": "sum(l.backordered)",
        # A first cut cancels whole lines only, so a line counts fully or not at all.
        "gross_sales": "sum(CASE WHEN l.cancelled < l.quantity THEN l.gross_minor ELSE 0 END)",
        "discounts": "sum(CASE WHEN l.cancelled < l.quantity THEN l.discount_minor ELSE 0 END)",
    },
    "payments AS p": {
        "captured": "sum(p.captured_minor)",
        "refunded": "sum(p.refunded_minor)",
    },
    "refunds AS r": {
        "returns": "sum(CASE WHEN r.status = 'settled' AND r.return_id IS NOT NULL"
        " THEN r.amount_minor ELSE 0 END)",
    },
    # The moves, not the levels: on PostgreSQL a level that landed can carry the effect of a move
    # that has not (its writer drew the smaller xid, yet touched the row later).
    "stock_moves AS m JOIN locations AS f ON f.id = m.from_location_id"
    " JOIN locations AS t ON t.id = m.to_location_id": {
        "stock_on_hand": "sum(CASE WHEN t.kind = 'storage' THEN m.quantity ELSE 0 END"
        " - CASE WHEN f.kind = 'storage' THEN m.quantity ELSE 0 END)",
    },
    "purchase_order_lines AS pl JOIN purchase_orders AS po ON po.id = pl.purchase_order_id": {
        "purchased_units": "sum(pl.quantity)",
        "purchased_units_received": "sum(pl.received)",
        "purchased_units_open": "sum(CASE WHEN po.status IN ('closed', 'cancelled')"
        " OR pl.received >= pl.quantity THEN 0 ELSE pl.quantity - pl.received END)",
    },
}

#: Tables that the clauses above read.
TABLES = (
    "orders",
    "order_lines",
    "payments",
    "refunds",
    "stock_moves",
    "locations",
    "purchase_order_lines",
    "purchase_orders",
)


def totals(connection: Connection, cursor: Cursor) -> dict[str, int]:
    """Return every total at ``cursor``, which the snapshot of ``connection`` must have reached."""
    shadows = _shadows(connection, cursor)
    found: dict[str, int] = {}
    for clause, measures in TOTALS.items():
        columns = ", ".join(f"{aggregate} AS {name}" for name, aggregate in measures.items())
        statement = f"{shadows} SELECT {columns} FROM {clause}"
        row = connection.exec_driver_sql(statement).mappings().one()
        found.update({name: int(row[name] or 0) for name in measures})
    return found


def _shadows(connection: Connection, cursor: Cursor) -> str:
    """Return the WITH clause that hides what is committed but has not landed; mostly empty."""
    if connection.dialect.name == "sqlite":
        return ""
    ahead = after_sql("postgresql", cursor)
    touched: Iterable[str] = connection.exec_driver_sql(
        f"SELECT DISTINCT c.entity FROM change_log AS c WHERE {ahead}"
    ).scalars()
    names = [name for name in touched if name in TABLES]
    if not names:
        return ""
    parts = [
        # The greatest (epoch, seq) of a row is its latest state: a writer draws seq under its lock.
        "landed AS (SELECT DISTINCT ON (c.entity, c.entity_id) c.entity, c.op, c.payload"
        " FROM change_log AS c"
        f" WHERE NOT {ahead} AND (c.entity, c.entity_id) IN"
        f" (SELECT c.entity, c.entity_id FROM change_log AS c WHERE {ahead})"
        " ORDER BY c.entity, c.entity_id, c.epoch DESC, c.seq DESC)"
    ]
    # Inside its own definition a WITH name still means the table: the rest reads the shadow.
    parts += [
        f"{name} AS (SELECT t.* FROM {name} AS t WHERE t.id NOT IN (SELECT c.entity_id"
        f" FROM change_log AS c WHERE c.entity = '{name}' AND {ahead})"
        f" UNION ALL SELECT was.* FROM landed, jsonb_populate_record(NULL::{name}, landed.payload)"
        f" AS was WHERE landed.entity = '{name}' AND landed.op <> 'D')"
        for name in names
    ]
    return "WITH " + ", ".join(parts)

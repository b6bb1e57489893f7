"""The one order in which rows are locked, so that actions on one order meet instead of crossing.

Orders first (by id), then their shipments and lines, then the stock levels (by id). Whoever changes
where an order's units are holds the order's row from the start; each later statement then reads
what the one before it left. On SQLite the write lock does all of this.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_ids, as_rows, for_update, ids, rowset


def lock_orders(connection: Connection, order_ids: Iterable[int]) -> dict[int, str]:
    """Lock orders for the rest of the transaction; return the status of each that exists."""
    rows = connection.execute(
        sa.text(
            f"SELECT id, status FROM orders WHERE id IN ({ids(connection, 'ids')})"
            f" ORDER BY id {for_update(connection)}"
        ),
        {"ids": as_ids(order_ids)},
    )
    return {row.id: row.status for row in rows}


def lock_orders_and_waiting(connection: Connection, order_ids: Iterable[int]) -> dict[int, str]:
    """Lock orders, and in the same turn those that wait for a SKU which they hold or wait for too.

    For actions that give units back: locked one after the other, two of them that wait for each
    other's units would deadlock. Returns what :func:`lock_orders` does.
    """
    wanted = set(order_ids)
    mine = f"IN ({ids(connection, 'ids')})"
    rows = connection.execute(
        sa.text(
            "SELECT id, status FROM orders WHERE id IN ("
            f"SELECT o.id FROM orders AS o WHERE o.id {mine}"
            " UNION SELECT l.order_id FROM ("
            "SELECT x.sku_id FROM shipments AS s"
            f" JOIN shipment_lines AS x ON x.shipment_id = s.id WHERE s.order_id {mine}"
            " AND s.status = 'allocated' UNION SELECT l.sku_id FROM order_lines AS l"
            f" WHERE l.order_id {mine} AND l.backordered > 0"
            ") AS p JOIN order_lines AS l ON l.sku_id = p.sku_id AND l.backordered > 0"
            f") ORDER BY id {for_update(connection)}"
        ),
        {"ids": as_ids(wanted)},
    )
    return {row.id: row.status for row in rows if row.id in wanted}


def lock_orders_of_shipments(connection: Connection, shipment_ids: Iterable[int]) -> dict[int, str]:
    """Lock the orders of shipments; return their statuses by order id."""
    return lock_orders(
        connection,
        connection.execute(
            sa.text(
                f"SELECT DISTINCT order_id FROM shipments WHERE id IN ({ids(connection, 'ids')})"
            ),
            {"ids": as_ids(shipment_ids)},
        ).scalars(),
    )


def lock_orders_and_those_waiting(
    connection: Connection, order_ids: Iterable[int], pairs: Iterable[tuple[int, int]]
) -> dict[int, str]:
    """Lock orders, and in the same turn those that wait for SKUs of ``pairs`` (warehouse, SKU).

    For goods that come back: two returns whose orders wait for each other's units would deadlock.
    Returns what :func:`lock_orders` does.
    """
    wanted = set(order_ids)
    rows = connection.execute(
        sa.text(
            f"SELECT id, status FROM orders WHERE id IN ({ids(connection, 'ids')}"
            " UNION SELECT l.order_id FROM order_lines AS l"
            f" WHERE l.sku_id IN ({ids(connection, 'skus')}) AND l.backordered > 0)"
            f" ORDER BY id {for_update(connection)}"
        ),
        {"ids": as_ids(wanted), "skus": as_ids(sorted({sku_id for _, sku_id in pairs}))},
    )
    return {row.id: row.status for row in rows if row.id in wanted}


def lock_order_and_rivals(connection: Connection, order_id: int, codes: Iterable[str]) -> None:
    """Lock an order, and in the same turn those that wait for its SKUs or for those of ``codes``.

    For changes that may give units back or make the order wait for more: the days of the others
    follow, and two such changes of orders that wait for one SKU would deadlock.
    """
    connection.execute(
        sa.text(
            "SELECT id FROM orders WHERE id IN (SELECT CAST(:id AS bigint)"
            " UNION SELECT l.order_id FROM order_lines AS l WHERE l.backordered > 0"
            " AND l.sku_id IN (SELECT m.sku_id FROM order_lines AS m WHERE m.order_id = :id"
            " UNION SELECT k.id FROM skus AS k"
            f" JOIN ({rowset(connection, 'codes', {'code': 'text'})}) AS c ON c.code = k.code))"
            f" ORDER BY id {for_update(connection)}"
        ),
        {"id": order_id, "codes": as_rows({"code": code} for code in sorted(set(codes)))},
    ).all()


def lock_waiting(connection: Connection, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Lock the orders that wait for SKUs of ``pairs`` (warehouse, SKU), held or not; return ids.

    At whatever home they wait: those that may be split are filled from the pair's warehouse too,
    and whoever waits at the same home as one of them is then promised an earlier day.
    """
    rows = connection.execute(
        sa.text(
            "SELECT id FROM orders WHERE id IN ("
            "SELECT l.order_id FROM order_lines AS l"
            f" WHERE l.sku_id IN ({ids(connection, 'skus')}) AND l.backordered > 0)"
            f" ORDER BY id {for_update(connection)}"
        ),
        {"skus": as_ids(sorted({sku_id for _, sku_id in pairs}))},
    )
    return list(rows.scalars())

"""Give stock that came in to the lines that wait for it, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import Retry, as_ids, as_rows, as_time, ids, rowset
from oms_ops.notifications import outbox
from oms_ops.orders import promises, shipments
from oms_ops.orders.locks import lock_waiting
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity

_PAIR = {"warehouse_id": "bigint", "sku_id": "bigint"}


def fill(
    connection: Connection,
    actor: Actor,
    pairs: Iterable[tuple[int, int]],
    *,
    from_supply: bool = False,
) -> int:
    """Allocate what is available of ``pairs`` (warehouse id, SKU id) to backordered lines.

    Call it in the transaction that raised the levels, after it did: their rows are then locked, so
    the units seen are the units there are. The caller has locked the waiting orders before the
    levels (:func:`oms_ops.orders.locks.lock_waiting`); those that came since are locked here.
    Returns the units allocated; customers are told. The promises of those that wait on follow: with
    ``from_supply``, when the units are those of purchase orders, they may come later, too.
    """
    wanted_pairs = sorted(set(pairs))
    waiting = lock_waiting(connection, wanted_pairs)
    if not waiting:
        return 0
    takes = _takes(connection, wanted_pairs, waiting)
    if takes:
        _allocate(connection, actor, takes)
    promises.update(
        connection,
        actor,
        wanted_pairs,
        order_ids={take["order_id"] for take in takes},
        only_sooner=not from_supply,
    )
    return sum(take["take"] for take in takes)


def _allocate(connection: Connection, actor: Actor, takes: Sequence[dict[str, Any]]) -> None:
    stamp = {"actor": actor.name, "now": as_time(connection, clock.now())}
    columns = {"order_line_id": "bigint", "take": "bigint"}
    updated = connection.execute(
        sa.text(
            "UPDATE order_lines AS l SET backordered = l.backordered - r.take,"
            " allocated = l.allocated + r.take, version = l.version + 1,"
            " changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r"
            " WHERE l.id = r.order_line_id AND l.backordered >= r.take"
        ),
        {"rows": as_rows(takes), **stamp},
    ).rowcount
    if updated != len(takes):
        raise Retry("a backordered line was cancelled meanwhile")
    shipments.add(connection, takes, stamp)
    wanted = [Quantity(t["warehouse_id"], t["sku_id"], t["take"]) for t in takes]
    if not ledger.allocate(connection, actor, wanted):
        raise Retry("stock moved between the plan and the claim")
    _tell(connection, takes)


def _takes(
    connection: Connection, pairs: Sequence[tuple[int, int]], waiting: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what each line of the waiting orders gets: what those that waited longer leave."""
    rows = connection.execute(
        sa.text(
            "WITH waiting AS ("
            " SELECT l.id, l.order_id, l.sku_id, o.warehouse_id, o.number, l.backordered, c.email,"
            " v.on_hand - v.allocated AS available, sum(l.backordered) OVER ("
            "  PARTITION BY v.id ORDER BY o.placed_at, l.id) - l.backordered AS claimed_before"
            f" FROM ({rowset(connection, 'pairs', _PAIR)}) AS p"
            " JOIN order_lines AS l ON l.sku_id = p.sku_id AND l.backordered > 0"
            " JOIN orders AS o ON o.id = l.order_id AND o.warehouse_id = p.warehouse_id"
            f" AND o.status = 'open' AND o.id IN ({ids(connection, 'waiting')})"
            " JOIN customers AS c ON c.id = o.customer_id"
            " JOIN stock_levels AS v ON v.sku_id = p.sku_id AND v.warehouse_id = p.warehouse_id)"
            " SELECT id AS order_line_id, order_id, sku_id, warehouse_id, number, email,"
            " CASE WHEN available - claimed_before < backordered"
            " THEN available - claimed_before ELSE backordered END AS take"
            " FROM waiting WHERE available > claimed_before ORDER BY id"
        ),
        {
            "pairs": as_rows({"warehouse_id": w, "sku_id": s} for w, s in pairs),
            "waiting": as_ids(waiting),
        },
    )
    return [{**row, "take": int(row["take"])} for row in rows.mappings()]


def _tell(connection: Connection, takes: Sequence[dict[str, Any]]) -> None:
    told = {(t["number"], t["email"]) for t in takes}
    outbox.post_many(
        connection,
        "order.backorder_filled",
        [(email, {"order": number}) for number, email in sorted(told)],
    )
